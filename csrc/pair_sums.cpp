#include "pair_sums.h"

#include <numeric>

namespace weam {

namespace {

// Source positions whose t is loaded together: the processor cannot forward many narrow stores to one wide load, so a
// row is best not added up as soon as it is loaded.
constexpr std::size_t kRows = 8;

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
    const std::int32_t position = static_cast<std::int32_t>(i);
    const bool first = joint[j] > best[j] || (joint[j] == best[j] && position < partner[j]);
    partner[j] = first ? position : partner[j];
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
WEAM_INLINE void add_rows_of(const PairView& pair, const std::uint32_t* positions, std::size_t rows, Scratch& scratch) {
  for (std::size_t row = 0; row < rows; ++row) {
    const float* const t = scratch.t.data() + row * padded(pair.target.length) * kDirections;
    add_forward<kDirections, kBest>(pair, positions[row], t, scratch);
    if (kDirections == 2) add_backward<kBest>(pair, positions[row], t, scratch);
  }
}

// Adds up to kRows source positions, whose t are in scratch.t.
WEAM_CLONES void add_rows(const PairView& pair, int directions, bool best, const std::uint32_t* positions,
                          std::size_t rows, Scratch& scratch) {
  if (directions == 2) {
    best ? add_rows_of<2, true>(pair, positions, rows, scratch) : add_rows_of<2, false>(pair, positions, rows, scratch);
  } else {
    best ? add_rows_of<1, true>(pair, positions, rows, scratch) : add_rows_of<1, false>(pair, positions, rows, scratch);
  }
}

// load(k, t) writes t[target length][directions] for the k-th of `count` source words, which stands at position[k].
template <class Load>
void add_words(const PairView& pair, int directions, bool best, const std::uint32_t* position, std::size_t count,
               Load load, Scratch& scratch) {
  const std::size_t width = padded(pair.target.length) * directions;
  for (std::size_t first = 0; first < count; first += kRows) {
    const std::size_t rows = std::min<std::size_t>(kRows, count - first);
    for (std::size_t row = 0; row < rows; ++row) load(first + row, scratch.t.data() + row * width);
    add_rows(pair, directions, best, position + first, rows, scratch);
  }
}

template <int kDirections, bool kComplete>
void add_tile_words(const TTable& table, const Tile& tile, const PairView& pair, bool best, Scratch& scratch) {
  static constexpr float unseen[2] = {kUnseen, kUnseen};
  const Range entries = tile.entries_of(pair.number);
  const auto load = [&](std::size_t n, float* t) {
    const std::uint64_t entry = entries.begin + n;
    tile.prefetch_list(entry + kRows);
    const Word word = pair.source.words[tile.position[entry]];
    const float* const row = table.t.data() + table.rows[word] * kDirections;
    tile.numbers(tile.list[entry], word - tile.words.begin, [&](auto numbers) {
      for (std::size_t j = 0; j < pair.target.length; ++j, t += kDirections) {
        const bool missing = !kComplete && numbers[j] == numbers.kMissing;
        const float* const from = missing ? unseen : row + static_cast<std::size_t>(numbers[j]) * kDirections;
        std::memcpy(t, from, kDirections * sizeof *t);
      }
    });
  };
  add_words(pair, kDirections, best, tile.position.data() + entries.begin, entries.size(), load, scratch);
}

// Adds the positions in scratch.order, where every t is kUnseen.
void add_unseen(const PairView& pair, int directions, bool best, Scratch& scratch) {
  const std::size_t width = padded(pair.target.length) * directions;
  const auto load = [&](std::size_t, float* t) { std::fill(t, t + width, kUnseen); };
  add_words(pair, directions, best, scratch.order.data(), scratch.order.size(), load, scratch);
}

// Sum of the unnormalised prior over the words that may generate each word.
void sum_prior(const SideView& generated, const SideView& given, int d, std::vector<float>& sums) {
  for (std::uint32_t k = 0; k < generated.length; ++k) {
    const std::size_t below = (k + std::uint64_t{1}) * given.length / generated.length;
    sums[k] = generated.down[d][k] * given.up_sum[d][below] + generated.up[d][k] * given.down_sum[d][below];
  }
}

}  // namespace

void Sums::begin(std::size_t length) {
  for (std::vector<float>* values : {&prior, &z, &feature, &best, &null}) values->assign(padded(length), 0.0f);
  partner.assign(padded(length), -1);
}

void begin_sums(const PairView& pair, int directions, Scratch& scratch) {
  const std::size_t width = padded(pair.target.length);
  scratch.t.resize(std::max(scratch.t.size(), kRows * width * directions), kUnseen);
  scratch.joint.resize(std::max(scratch.joint.size(), width));
  for (int d = 0; d < directions; ++d) {
    scratch.sums[d].begin(pair.generated(d).length);
    sum_prior(pair.generated(d), pair.given(d), d, scratch.sums[d].prior);
  }
}

void add_uniform(const PairView& pair, int directions, Scratch& scratch) {
  scratch.order.resize(pair.source.length);
  std::iota(scratch.order.begin(), scratch.order.end(), 0);
  add_unseen(pair, directions, false, scratch);
}

void add_tile(const TTable& table, const Tile& tile, const PairView& pair, bool best, Scratch& scratch) {
  (table.directions == 2 ? add_tile_words<2, true> : add_tile_words<1, true>)(table, tile, pair, best, scratch);
}

void add_new_text(const TTable& table, const Tile& tile, const PairView& pair, Scratch& scratch) {
  (table.directions == 2 ? add_tile_words<2, false> : add_tile_words<1, false>)(table, tile, pair, true, scratch);
  scratch.order.clear();
  for (std::uint32_t i = 0; i < pair.source.length; ++i) {
    if (pair.source.words[i] == kUnknown) scratch.order.push_back(i);
  }
  add_unseen(pair, table.directions, true, scratch);
}

void add_looked_up(const TTable& table, const PairView& pair, Scratch& scratch) {
  const Word* const source = pair.source.words;
  std::vector<std::uint32_t>& order = scratch.order;
  order.resize(pair.source.length);
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return std::pair(source[i], i); });
  const int directions = table.directions;
  scratch.cells.resize(std::max<std::size_t>(scratch.cells.size(), pair.target.length));
  const auto load = [&](std::size_t n, float* t) {
    table.find(source[order[n]], pair.target.words, pair.target.length, scratch.cells.data());
    for (std::size_t j = 0; j < pair.target.length; ++j, t += directions) {
      const std::uint64_t cell = scratch.cells[j];
      for (int d = 0; d < directions; ++d) t[d] = cell == TTable::kNoCell ? kUnseen : table.t_of(cell)[d];
    }
  };
  add_words(pair, directions, true, order.data(), order.size(), load, scratch);
}

}  // namespace weam
