#include "diagonal.h"

namespace weam {

namespace {

// Less than this (times 2^-96) counts as this, so that its reciprocal, times a prior, is a number.
constexpr float kLeastEvidence = 1e-30f;

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

// What links and their posteriors need of one pair.
struct Decoder {
  const DiagonalModel& model;
  const LengthTables& lengths;
  Scratch scratch = {};
  std::vector<float> gain[2] = {};

  void sum(const PairView& pair, const Tile* tile) {
    begin_sums(pair, model.table.directions, scratch);
    if (tile) {
      add_new_text(model.table, *tile, pair, scratch);
    } else {
      add_looked_up(model.table, pair, scratch);
    }
  }

  // Returns the logarithm of the pair's probability in direction d.
  double finish(int d, const PairView& pair) {
    gain[d].resize(std::max<std::size_t>(gain[d].size(), pair.generated(d).length));
    return finish_sums(model, d, pair, scratch.sums[d], gain[d].data());
  }

  float posterior(int d, const PairView& pair, Link link) const {
    const Word source = pair.source.words[link.source], target = pair.target.words[link.target];
    std::uint64_t cell;
    model.table.find(source, &target, 1, &cell);
    const float t = cell == TTable::kNoCell ? kUnseen : model.table.t_of(cell)[d];
    const SideView &s = pair.source, &f = pair.target;
    return gain[d][generated_word(link, d)] * t *
           prior(s.up[d][link.source], s.down[d][link.source], f.up[d][link.target], f.down[d][link.target]);
  }
};

}  // namespace

LengthTables length_tables(const DiagonalModel& model, const Bitext& bitext) {
  LengthTables lengths(bitext);
  for (int d = 0; d < model.table.directions; ++d) lengths.set_tension(d, model.tension[d]);
  return lengths;
}

Mixture::Mixture(const DiagonalSettings& settings, std::size_t length) {
  const double uniform = 1.0 / (static_cast<double>(length) + settings.null_word);
  const double all = settings.favor_diagonal ? 1.0 - settings.p0 : uniform * static_cast<double>(length);
  const double p0 = settings.favor_diagonal ? settings.p0 : uniform;
  words = static_cast<float>(all);
  null = settings.null_word ? static_cast<float>(p0) : 0.0f;
}

double finish_sums(const DiagonalModel& model, int d, const PairView& pair, Sums& sums, float* gain) {
  const std::size_t length = pair.generated(d).length;
  for (std::size_t k = 0; k < length; ++k) {
    sums.null[k] = null_probability(model.table, d, pair.generated(d).words[k]);
  }
  const Mixture mix(model.settings, pair.given(d).length);
  normalize_sums(length, mix, sums.prior.data(), sums.z.data(), sums.null.data(), gain);
  double log_probability = 0, product = 1;
  for (std::size_t k = 0; k < length; ++k) {
    product *= sums.z[k];
    if (k % 8 != 7) continue;  // a logarithm for each word would take longer than all the rest
    log_probability += std::log(product);
    product = 1;
  }
  return log_probability + std::log(product) - std::log(kScale) * static_cast<double>(length);
}

void append_links(const DiagonalModel& model, int d, const PairView& pair, const Sums& sums, Links& links) {
  const Mixture mix(model.settings, pair.given(d).length);
  for (std::uint32_t k = 0; k < pair.generated(d).length; ++k) {
    const float null = mix.null * null_probability(model.table, d, pair.generated(d).words[k]);
    if (sums.partner[k] < 0 || mix.words / sums.prior[k] * sums.best[k] <= null) continue;
    links.links.push_back(link_of(d, sums.partner[k], static_cast<std::int32_t>(k)));
  }
  end_pair(links);
}

double pair_score(const DiagonalModel& model, int d, const Pair& pair, double log_probability) {
  const double generated = pair.sides[generated_side(d)].length, given = pair.sides[given_side(d)].length;
  if (generated == 0) return std::nan("");
  const double expected = 0.05 + given * model.length_ratio[d];
  int sign;  // std::lgamma writes it to a global variable, which threads would share
  return log_probability + std::log(expected) * generated - ::lgamma_r(generated + 1, &sign) - expected;
}

void align_diagonal(const DiagonalModel& model, const Bitext& bitext, const Parallel& parallel, const Sink& sink) {
  const int directions = model.table.directions;
  const LengthTables lengths = length_tables(model, bitext);
  std::vector<Decoder> decoders(parallel.threads, Decoder{model, lengths});
  const auto align = [&](const Blocks& blocks, Range block, const std::vector<Tile>& tiles) {
    OpenBlock aligned(blocks, block, directions, directions);
    blocks.run(block, parallel, [&](std::size_t k, std::size_t chunk, int thread) {
      Decoder& decoder = decoders[thread];
      const PairView pair(bitext, k, lengths);
      decoder.sum(pair, tiles.empty() ? nullptr : &tiles[0]);
      for (int d = 0; d < directions; ++d) {
        append_links(model, d, pair, decoder.scratch.sums[d], aligned.links(d, chunk));
        aligned.score(d, k) = pair_score(model, d, bitext.pairs[k], decoder.finish(d, pair));
      }
    });
    sink(aligned.close());
  };
  for_each_block({{model.table, bitext}}, parallel, align);
}

std::vector<float> link_posteriors(const DiagonalModel& model, const Bitext& bitext, std::size_t begin,
                                   const Links& links, const Parallel& parallel) {
  const int directions = model.table.directions;
  const LengthTables lengths = length_tables(model, bitext);
  std::vector<Decoder> decoders(parallel.threads, Decoder{model, lengths});
  std::vector<float> posteriors(links.links.size());
  parallel.for_each(split_every(1024, links.size()), [&](std::size_t row, int thread) {
    if (links.offsets[row] == links.offsets[row + 1]) return;
    Decoder& decoder = decoders[thread];
    const PairView pair(bitext, begin + row, lengths);
    decoder.sum(pair, nullptr);
    for (int d = 0; d < directions; ++d) decoder.finish(d, pair);
    for (std::int64_t n = links.offsets[row]; n < links.offsets[row + 1]; ++n) {
      float sum = 0;
      for (int d = 0; d < directions; ++d) sum += decoder.posterior(d, pair, links.links[n]);
      posteriors[n] = std::min(1.0f, sum / static_cast<float>(directions));  // it is rounded
    }
  });
  return posteriors;
}

}  // namespace weam
