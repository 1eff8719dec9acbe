#include "pair_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "numeric.h"

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;
// Source positions whose t is loaded together: the processor cannot forward many narrow stores to one wide load, so a
// row is best not added up as soon as it is loaded.
constexpr std::size_t kRows = 8;

// Spreads the row of the table for one source token over the target positions: t[target length][directions].
template <int kDirections>
void load_row(const TTable& table, const CellIndex& index, std::size_t token, Word word, std::size_t length, float* t) {
  if (word == kUnknown) {
    std::fill(t, t + length * kDirections, kUnseen);
    return;
  }
  const float* const row = table.t.data() + table.rows[word] * kDirections;
  index.list(token, word, [&](const auto* numbers, auto missing) {
    for (std::size_t j = 0; j < length; ++j, t += kDirections) {
      if (numbers[j] == missing) {
        std::fill(t, t + kDirections, kUnseen);
      } else {
        std::memcpy(t, row + static_cast<std::size_t>(numbers[j]) * kDirections, kDirections * sizeof *t);
      }
    }
  });
}

// Adds source position i to the sums of every target position (the forward direction).
template <int kDirections, bool kBest>
WEAM_INLINE void add_forward(const PairView& pair, std::size_t i, const float* __restrict t, Scratch& scratch) {
  const float up_i = pair.source.up[0][i], down_i = pair.source.down[0][i], position = pair.source.position[i];
  const float* __restrict up = pair.target.up[0];
  const float* __restrict down = pair.target.down[0];
  const float* __restrict before = pair.target.before;
  float* __restrict z = scratch.sums[0].z.data();
  float* __restrict feature = scratch.sums[0].feature.data();
  float* __restrict joint = scratch.joint.data();
  const std::size_t length = padded(pair.target.length);
  for (std::size_t j = 0; j < length; ++j) {
    const float w = prior(up_i, down_i, up[j], down[j]) * t[j * kDirections];
    z[j] += w;
    feature[j] += w * std::fabs(position - before[j]);
    if (kBest) joint[j] = w;
  }
  if (!kBest) return;
  float* __restrict best = scratch.sums[0].best.data();
  std::int32_t* __restrict partner = scratch.sums[0].partner.data();
  for (std::size_t j = 0; j < length; ++j) {  // apart, or it would be compiled to branches
    partner[j] = joint[j] > best[j] ? static_cast<std::int32_t>(i) : partner[j];
    best[j] = joint[j] > best[j] ? joint[j] : best[j];
  }
}

// Sums over the target positions for source position i (the backward direction).
template <bool kBest>
WEAM_INLINE void add_backward(const PairView& pair, std::size_t i, const float* __restrict t, Scratch& scratch) {
  const float up_i = pair.source.up[1][i], down_i = pair.source.down[1][i], before = pair.source.before[i];
  const float* __restrict up = pair.target.up[1];
  const float* __restrict down = pair.target.down[1];
  const float* __restrict position = pair.target.position;
  float* __restrict joint = scratch.joint.data();
  float z[kLanes] = {}, feature[kLanes] = {}, best[kLanes] = {};
  const std::size_t length = padded(pair.target.length);
  for (std::size_t j = 0; j < length; j += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float w = prior(up_i, down_i, up[j + lane], down[j + lane]) * t[(j + lane) * 2 + 1];
      z[lane] += w;
      feature[lane] += w * std::fabs(position[j + lane] - before);
      if (kBest) {
        joint[j + lane] = w;
        best[lane] = w > best[lane] ? w : best[lane];
      }
    }
  }
  Sums& sums = scratch.sums[1];
  sums.z[i] = add_lanes(z);
  sums.feature[i] = add_lanes(feature);
  if (!kBest) return;
  sums.best[i] = *std::max_element(best, best + kLanes);
  if (sums.best[i] > 0) {
    sums.partner[i] = static_cast<std::int32_t>(std::find(joint, joint + length, sums.best[i]) - joint);
  }
}

template <int kDirections, bool kBest>
WEAM_INLINE void add_rows(const PairView& pair, std::size_t first, std::size_t rows, Scratch& scratch) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* const t = scratch.t.data() + row * padded(pair.target.length) * kDirections;
    add_forward<kDirections, kBest>(pair, first + row, t, scratch);
    if (kDirections == 2) add_backward<kBest>(pair, first + row, t, scratch);
  }
}

WEAM_CLONES void add_rows_1(const PairView& pair, std::size_t first, std::size_t rows, Scratch& scratch) {
  add_rows<1, false>(pair, first, rows, scratch);
}
WEAM_CLONES void add_rows_2(const PairView& pair, std::size_t first, std::size_t rows, Scratch& scratch) {
  add_rows<2, false>(pair, first, rows, scratch);
}
WEAM_CLONES void best_rows_1(const PairView& pair, std::size_t first, std::size_t rows, Scratch& scratch) {
  add_rows<1, true>(pair, first, rows, scratch);
}
WEAM_CLONES void best_rows_2(const PairView& pair, std::size_t first, std::size_t rows, Scratch& scratch) {
  add_rows<2, true>(pair, first, rows, scratch);
}

// Sum of the unnormalised prior over the words that may generate each word.
void sum_prior(const SideView& generated, const SideView& given, int d, std::vector<float>& sums) {
  for (std::uint32_t k = 0; k < generated.length; ++k) {
    const std::size_t below = (k + std::uint64_t{1}) * given.length / generated.length;
    sums[k] = generated.down[d][k] * given.up_sum[d][below] + generated.up[d][k] * given.down_sum[d][below];
  }
}

}  // namespace

AlignedCorpus::AlignedCorpus(const Corpus& source, const Corpus& target, const CellIndex& index, int directions,
                             const double* tension)
    : source(source), target(target), index(index), lengths(source, target) {
  for (int d = 0; d < directions; ++d) lengths.set_tension(d, tension[d]);
  std::vector<std::uint64_t> visits{0};
  for (const CellIndex::Pair& pair : index.pairs) {
    visits.push_back(visits.back() + std::uint64_t{pair.source.length} * pair.target.length);
  }
  chunks = split_evenly(visits, kChunks);
}

void Sums::begin(std::size_t length) {
  for (std::vector<float>* values : {&prior, &z, &feature, &best}) values->assign(padded(length), 0.0f);
  partner.assign(padded(length), -1);
}

void Scratch::begin(const PairView& pair) {
  const std::size_t width = padded(pair.target.length);
  t.resize(std::max(t.size(), kRows * width * 2), kUnseen);
  joint.resize(std::max(joint.size(), width));
  for (int d = 0; d < 2; ++d) sums[d].begin(pair.generated(d).length);
}

void sum_pair(const TTable& table, const AlignedCorpus& corpus, const PairView& pair, bool uniform, bool best,
              Scratch& scratch) {
  const bool both = table.directions == 2;
  const auto add = both ? best ? best_rows_2 : add_rows_2 : best ? best_rows_1 : add_rows_1;
  const auto load = both ? load_row<2> : load_row<1>;
  const std::size_t width = padded(pair.target.length) * table.directions;
  scratch.begin(pair);
  for (std::size_t first = 0; first < pair.source.length; first += kRows) {
    const std::size_t rows = std::min<std::size_t>(kRows, pair.source.length - first);
    for (std::size_t row = 0; row < rows && !uniform; ++row) {
      const std::size_t token = pair.source.begin + first + row;
      corpus.index.prefetch_list(token + kRows);
      load(table, corpus.index, token, corpus.source.words[token], pair.target.length, scratch.t.data() + row * width);
    }
    add(pair, first, rows, scratch);
  }
  for (int d = 0; d < table.directions; ++d) {
    sum_prior(pair.generated(d), pair.given(d), d, scratch.sums[d].prior);
  }
}

}  // namespace weam
