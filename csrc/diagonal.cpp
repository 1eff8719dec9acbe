#include "diagonal.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "numeric.h"

namespace weam {

namespace {

// Less than this (times 2^-96) counts as this, so that its reciprocal, times a prior, is a number.
constexpr float kLeastEvidence = 1e-30f;
// So few pairs are looked up word by word: an index would cost more.
constexpr std::size_t kFewPairs = 64;

float null_probability(const TTable& table, int d, Word word) {
  return word == kUnknown ? kUnseen : table.null_row[d][word];
}

// z comes as the sum of prior * t, null as t(word | NULL).
WEAM_CLONES void normalize_sums(std::size_t length, Mixture mix, const float* __restrict prior, float* __restrict z,
                                float* __restrict null, float* __restrict gain) {
  for (std::size_t k = 0; k < length; ++k) {
    const float weight = mix.words / prior[k];
    const float sum = weight * z[k] + mix.null * null[k];
    z[k] = sum > kLeastEvidence ? sum : kLeastEvidence;
    gain[k] = weight / z[k];
    null[k] = mix.null * null[k] / z[k];
  }
}

LengthTables length_tables(const DiagonalModel& model, const Bitext& bitext) {
  LengthTables lengths(bitext);
  for (int d = 0; d < model.table.directions; ++d) lengths.set_tension(d, model.tension[d]);
  return lengths;
}

// What links and their posteriors need of one pair.
struct Decoder {
  const DiagonalModel& model;
  const Bitext& bitext;
  const LengthTables& lengths;
  Scratch scratch;
  std::vector<float> null, gain[2];

  // Returns the logarithm of the pair's probability in direction d; `links`, if any, receives its best links.
  double decode(std::size_t k, int d, const PairView& pair, Links* links) {
    const Word* const generated = bitext.sentence(1 - d, k);
    const std::size_t size = pair.generated(d).length;
    null.resize(std::max(null.size(), size));
    gain[d].resize(std::max(gain[d].size(), size));
    if (links) append_links(model, d, pair, generated, scratch.sums[d], *links);
    return finish_sums(model, d, pair, generated, scratch.sums[d], null.data(), gain[d].data());
  }

  void sum(std::size_t k, const PairView& pair, const Tile* tile) {
    begin_sums(pair, model.table.directions, scratch);
    if (tile) {
      add_new_text(model.table, *tile, bitext, k, pair, scratch);
    } else {
      add_looked_up(model.table, bitext, k, pair, scratch);
    }
  }

  float posterior(std::size_t k, int d, const PairView& pair, Link link) const {
    const Word source = bitext.sentence(0, k)[link.source], target = bitext.sentence(1, k)[link.target];
    std::uint64_t cell;
    model.table.find(source, &target, 1, &cell);
    const float t = cell == TTable::kNoCell ? kUnseen : model.table.t[cell * model.table.directions + d];
    const SideView &s = pair.source, &f = pair.target;
    return gain[d][d == 0 ? link.target : link.source] * t *
           prior(s.up[d][link.source], s.down[d][link.source], f.up[d][link.target], f.down[d][link.target]);
  }
};

}  // namespace

Mixture::Mixture(const DiagonalSettings& settings, std::size_t length) {
  const double uniform = 1.0 / (static_cast<double>(length) + settings.null_word);
  const double all = settings.favor_diagonal ? 1.0 - settings.p0 : uniform * static_cast<double>(length);
  const double p0 = settings.favor_diagonal ? settings.p0 : uniform;
  words = static_cast<float>(all);
  null = settings.null_word ? static_cast<float>(p0) : 0.0f;
}

double finish_sums(const DiagonalModel& model, int d, const PairView& pair, const Word* generated, Sums& sums,
                   float* null, float* gain) {
  const std::size_t length = pair.generated(d).length;
  for (std::size_t k = 0; k < length; ++k) null[k] = null_probability(model.table, d, generated[k]);
  const Mixture mix(model.settings, pair.given(d).length);
  normalize_sums(length, mix, sums.prior.data(), sums.z.data(), null, gain);
  double log_probability = 0, product = 1;
  for (std::size_t k = 0; k < length; ++k) {
    product *= sums.z[k];
    if (k % 8 != 7) continue;  // a logarithm for each word would take longer than all the rest
    log_probability += std::log(product);
    product = 1;
  }
  return log_probability + std::log(product) - std::log(kScale) * static_cast<double>(length);
}

void append_links(const DiagonalModel& model, int d, const PairView& pair, const Word* generated, const Sums& sums,
                  Links& links) {
  const Mixture mix(model.settings, pair.given(d).length);
  const std::size_t begin = links.links.size();
  for (std::uint32_t k = 0; k < pair.generated(d).length; ++k) {
    const float null = mix.null * null_probability(model.table, d, generated[k]);
    if (sums.partner[k] < 0 || mix.words / sums.prior[k] * sums.best[k] <= null) continue;
    const std::int32_t word = static_cast<std::int32_t>(k), partner = sums.partner[k];
    links.links.push_back(d == 0 ? Link{partner, word} : Link{word, partner});
  }
  std::sort(links.links.begin() + static_cast<std::ptrdiff_t>(begin), links.links.end());
  links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
}

double pair_score(const DiagonalModel& model, int d, const Pair& pair, double log_probability) {
  const double generated = pair.sides[1 - d].length, given = pair.sides[d].length;
  if (generated == 0) return std::nan("");
  const double expected = 0.05 + given * model.length_ratio[d];
  int sign;  // std::lgamma writes it to a global variable, which threads would share
  return log_probability + std::log(expected) * generated - ::lgamma_r(generated + 1, &sign) - expected;
}

void align_diagonal(const DiagonalModel& model, const Bitext& bitext, const Parallel& parallel, const Sink& sink) {
  const TTable& table = model.table;
  const LengthTables lengths = length_tables(model, bitext);
  const std::vector<std::size_t> chunks = chunk_pairs(bitext);
  std::vector<Decoder> decoders(parallel.threads, Decoder{model, bitext, lengths, {}, {}, {}});
  std::vector<RowNumbers> numberings;
  if (bitext.size() > kFewPairs) numberings.assign(parallel.threads, RowNumbers(table.null_row[0].size()));
  for (const Range range : cut_pairs(bitext, chunks, kTileBytes)) {
    const Range pairs{chunks[range.begin], chunks[range.end]};
    std::optional<Tile> tile;
    if (!numberings.empty()) {
      tile = list_occurrences(bitext, {0, table.sources()}, pairs);
      add_lists(*tile, bitext, table, numberings, parallel);
    }
    AlignedBlock block;
    block.begin = pairs.begin;
    std::vector<Links> parts[2] = {std::vector<Links>(range.size()), std::vector<Links>(range.size())};
    for (int d = 0; d < table.directions; ++d) block.scores[d].resize(pairs.size());
    parallel.run(range.size(), [&](std::size_t part, int thread) {
      Decoder& decoder = decoders[thread];
      for (std::size_t k = chunks[range.begin + part]; k < chunks[range.begin + part + 1]; ++k) {
        const PairView pair(bitext.pairs[k], lengths);
        decoder.sum(k, pair, tile ? &*tile : nullptr);
        for (int d = 0; d < table.directions; ++d) {
          const double log_probability = decoder.decode(k, d, pair, &parts[d][part]);
          block.scores[d][k - block.begin] = pair_score(model, d, bitext.pairs[k], log_probability);
        }
      }
    });
    for (int d = 0; d < table.directions; ++d) block.links.push_back(concatenate(std::move(parts[d])));
    sink(std::move(block));
  }
}

std::vector<float> link_posteriors(const DiagonalModel& model, const Bitext& bitext, std::size_t begin,
                                   const Links& links, const Parallel& parallel) {
  constexpr std::size_t kPairsPerChunk = 1024;
  const int directions = model.table.directions;
  const LengthTables lengths = length_tables(model, bitext);
  std::vector<Decoder> decoders(parallel.threads, Decoder{model, bitext, lengths, {}, {}, {}});
  std::vector<float> posteriors(links.links.size());
  parallel.run((links.size() + kPairsPerChunk - 1) / kPairsPerChunk, [&](std::size_t chunk, int thread) {
    Decoder& decoder = decoders[thread];
    const std::size_t last = std::min(links.size(), (chunk + 1) * kPairsPerChunk);
    for (std::size_t row = chunk * kPairsPerChunk; row < last; ++row) {
      if (links.offsets[row] == links.offsets[row + 1]) continue;
      const std::size_t k = begin + row;
      const PairView pair(bitext.pairs[k], lengths);
      decoder.sum(k, pair, nullptr);
      for (int d = 0; d < directions; ++d) decoder.decode(k, d, pair, nullptr);
      for (std::int64_t n = links.offsets[row]; n < links.offsets[row + 1]; ++n) {
        float sum = 0;
        for (int d = 0; d < directions; ++d) sum += decoder.posterior(k, d, pair, links.links[n]);
        posteriors[n] = std::min(1.0f, sum / static_cast<float>(directions));  // it is rounded
      }
    }
  });
  return posteriors;
}

std::vector<std::size_t> chunk_pairs(const Bitext& bitext) {
  constexpr std::uint64_t kLeast = 256, kVisits = 1 << 22;
  const auto visits = [](const Pair& pair) { return std::uint64_t{pair.sides[0].length} * pair.sides[1].length + 1; };
  std::uint64_t total = 0;
  for (const Pair& pair : bitext.pairs) total += visits(pair);
  const std::uint64_t share = std::max<std::uint64_t>(1, total / std::max(kLeast, total / kVisits));
  std::vector<std::size_t> bounds{0};
  std::uint64_t sum = 0;
  for (std::size_t k = 0; k < bitext.size(); ++k) {
    sum += visits(bitext.pairs[k]);
    if (sum < share && k + 1 < bitext.size()) continue;
    bounds.push_back(k + 1);
    sum = 0;
  }
  return bounds;
}

std::vector<Range> cut_pairs(const Bitext& bitext, const std::vector<std::size_t>& chunks, std::uint64_t tile_bytes) {
  std::vector<std::uint64_t> bytes{0};
  for (std::size_t chunk = 0; chunk + 1 < chunks.size(); ++chunk) {
    std::uint64_t sum = 0;
    for (std::size_t k = chunks[chunk]; k < chunks[chunk + 1]; ++k) {
      const std::uint64_t source = bitext.pairs[k].sides[0].length, target = bitext.pairs[k].sides[1].length;
      sum += sizeof(std::uint32_t) * 2 + source * (sizeof(Tile::Occurrence) + 12) + source * target * 2;
    }
    bytes.push_back(bytes.back() + sum);
  }
  return split_below(bytes, tile_bytes);
}

}  // namespace weam
