#include "diagonal.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "numeric.h"
#include "pair_sums.h"
#include "prior.h"

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;
// Sums over the whole corpus by word run in this many fixed shards, added up in order.
constexpr std::size_t kShards = 16;
// Less than this (times 2^-96) counts as this, so that its reciprocal, times a prior, is a number.
constexpr float kLeastEvidence = 1e-30f;

// The weight of the diagonal prior and of NULL for a generated word, given the conditioning sentence's length.
struct Mixture {
  float words, null;
};

Mixture mixture(const DiagonalSettings& settings, std::size_t length) {
  const double uniform = 1.0 / (static_cast<double>(length) + settings.null_word);
  const double words = settings.favor_diagonal ? 1.0 - settings.p0 : uniform * static_cast<double>(length);
  const double null = !settings.null_word ? 0.0 : settings.favor_diagonal ? settings.p0 : uniform;
  return {static_cast<float>(words), static_cast<float>(null)};
}

float null_probability(const TTable& table, int d, Word word) {
  return word == kUnknown ? kUnseen : table.null_row[d][word];
}

void append_links(const DiagonalModel& model, const AlignedCorpus& corpus, int d, const PairView& pair,
                  const Sums& sums, Links& links) {
  const SideView& generated = pair.generated(d);
  const Word* const words = corpus.generated(d).words.data() + generated.begin;
  const Mixture mix = mixture(model.settings, pair.given(d).length);
  const std::size_t begin = links.links.size();
  for (std::uint32_t k = 0; k < generated.length; ++k) {
    const float null = mix.null * null_probability(model.table, d, words[k]);
    if (sums.partner[k] < 0 || mix.words / sums.prior[k] * sums.best[k] <= null) continue;
    const std::int32_t word = static_cast<std::int32_t>(k), partner = sums.partner[k];
    links.links.push_back(d == 0 ? Link{partner, word} : Link{word, partner});
  }
  std::sort(links.links.begin() + begin, links.links.end());
  links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
}

// The links of each direction, by chunk of sentence pairs.
struct LinkParts {
  std::vector<Links> directions[2];

  explicit LinkParts(std::size_t chunks) : directions{std::vector<Links>(chunks), std::vector<Links>(chunks)} {}
  std::vector<Links> join(int count) const {
    std::vector<Links> links;
    for (int d = 0; d < count; ++d) links.push_back(concatenate(directions[d]));
    return links;
  }
};

struct Statistics {
  double log_likelihood = 0, null = 0, feature = 0;
};

// Training on one corpus. An iteration is two passes over the cells, neither with a shared counter to fight for:
// `measure` walks the sentence pairs and stores 1/Z for each generated word; `count` walks the source words, whose rows
// it owns, adding up prior/Z over their occurrences in double precision. Any thread may take any chunk of either.
// Nothing in an iteration depends on the C library's exp or log but the likelihood that it reports.
class Trainer {
 public:
  Trainer(AlignedCorpus& corpus, const Parallel& parallel, std::size_t target_words, DiagonalModel& model);
  void train(const std::function<void(const DiagonalModel&)>& progress, LinkParts* links);

 private:
  struct RowBuffers {
    std::vector<float> weights;  // [padded target length][directions], of one occurrence
    std::vector<double> sums;    // [cells of the row][directions]
    std::vector<double> row;     // [cells of the row]
  };

  void measure(bool uniform, LinkParts* links);
  void finish_words(int d, const PairView& pair, Sums& sums, Statistics& statistics);
  void count();
  void count_row(Word word, RowBuffers& buffers);
  void prefetch_gains(std::uint64_t occurrence) const;
  template <int kDirections>
  void add_occurrences(Word word, RowBuffers& buffers);
  void update_backward();
  void update_null(int d);
  std::vector<double> sum_columns(bool cells_only) const;

  AlignedCorpus& corpus_;
  const Parallel& parallel_;
  DiagonalModel& model_;
  const int directions_;
  const std::size_t target_words_;
  std::vector<std::size_t> row_chunks_;
  std::vector<float> gain_[2];            // by generated token: posterior = gain * prior * t
  std::vector<float> null_posterior_[2];  // by generated token
  std::vector<double> column_cells_;      // by target word: its cells
  std::vector<SizeCount> sizes_[2];
};

Trainer::Trainer(AlignedCorpus& corpus, const Parallel& parallel, std::size_t target_words, DiagonalModel& model)
    : corpus_(corpus),
      parallel_(parallel),
      model_(model),
      directions_(model.table.directions),
      target_words_(target_words),
      row_chunks_(split_evenly(corpus.index.first, kChunks)) {
  TTable& table = model.table;
  table.t.assign(table.cells() * directions_, kUnseen);
  for (int d = 0; d < directions_; ++d) {
    table.null_row[d].assign(d == 0 ? target_words : table.sources(), kUnseen);
    gain_[d].assign(corpus.generated(d).words.size() + kLanes, 0.0f);  // whole lanes are read
    null_posterior_[d].assign(corpus.generated(d).words.size(), 0.0f);
  }
  if (directions_ == 2) column_cells_ = sum_columns(true);
  std::map<std::pair<std::uint32_t, std::uint32_t>, double> pairs;
  for (const CellIndex::Pair& pair : corpus.index.pairs) {
    if (pair.source.length) ++pairs[{pair.target.length, pair.source.length}];
  }
  for (const auto& [lengths, count] : pairs) {
    sizes_[0].push_back({lengths.first, lengths.second, count});
    sizes_[1].push_back({lengths.second, lengths.first, count});
  }
}

void Trainer::train(const std::function<void(const DiagonalModel&)>& progress, LinkParts* links) {
  const DiagonalSettings& settings = model_.settings;
  for (int iteration = 1; iteration <= settings.iterations; ++iteration) {
    const bool last = iteration == settings.iterations;
    measure(iteration == 1, last ? links : nullptr);
    if (progress) progress(model_);
    if (last) return;
    count();
    if (directions_ == 2) update_backward();
    for (int d = 0; d < directions_; ++d) {
      update_null(d);
      if (settings.favor_diagonal && settings.optimize_tension && iteration > 1) {
        const double empirical = model_.history[d].back().posterior_feature;
        model_.tension[d] = fit_tension(model_.tension[d], empirical, sizes_[d], parallel_);
        corpus_.lengths.set_tension(d, model_.tension[d]);
      }
    }
  }
}

void Trainer::measure(bool uniform, LinkParts* links) {
  const std::size_t chunks = corpus_.chunks.size() - 1;
  std::vector<Scratch> scratch(parallel_.threads);
  std::vector<Statistics> parts[2] = {std::vector<Statistics>(chunks), std::vector<Statistics>(chunks)};
  parallel_.run(chunks, [&](std::size_t chunk, int thread) {
    Statistics statistics[2];
    for (std::size_t k = corpus_.chunks[chunk]; k < corpus_.chunks[chunk + 1]; ++k) {
      const PairView pair(corpus_, k);
      sum_pair(model_.table, corpus_, pair, uniform, links != nullptr, scratch[thread]);
      for (int d = 0; d < directions_; ++d) {
        Sums& sums = scratch[thread].sums[d];
        if (links) append_links(model_, corpus_, d, pair, sums, links->directions[d][chunk]);
        finish_words(d, pair, sums, statistics[d]);
      }
    }
    for (int d = 0; d < directions_; ++d) parts[d][chunk] = statistics[d];
  });
  for (int d = 0; d < directions_; ++d) {
    Statistics whole;
    for (const Statistics& part : parts[d]) {
      whole.log_likelihood += part.log_likelihood;
      whole.null += part.null;
      whole.feature += part.feature;
    }
    const double tokens = static_cast<double>(corpus_.generated(d).words.size());
    model_.history[d].push_back({whole.log_likelihood, std::exp(-whole.log_likelihood / tokens), whole.null / tokens,
                                 whole.feature / tokens, model_.tension[d]});
  }
}

// From z, the sum of prior * t, and t(word | NULL): gain and the posterior of NULL. z becomes the word's probability.
WEAM_CLONES void finish_sums(std::size_t length, Mixture mix, const float* __restrict prior, float* __restrict z,
                             float* __restrict null, float* __restrict gain) {
  for (std::size_t k = 0; k < length; ++k) {
    const float weight = mix.words / prior[k];
    const float sum = weight * z[k] + mix.null * null[k];
    z[k] = sum > kLeastEvidence ? sum : kLeastEvidence;
    gain[k] = weight / z[k];
    null[k] = mix.null * null[k] / z[k];
  }
}

// Turns the sums of a pair into what the counts need, and adds the pair to the statistics.
void Trainer::finish_words(int d, const PairView& pair, Sums& sums, Statistics& statistics) {
  const SideView& generated = pair.generated(d);
  const Word* const words = corpus_.generated(d).words.data() + generated.begin;
  float* const gain = gain_[d].data() + generated.begin;
  float* const null = null_posterior_[d].data() + generated.begin;
  for (std::uint32_t k = 0; k < generated.length; ++k) null[k] = null_probability(model_.table, d, words[k]);
  const Mixture mix = mixture(model_.settings, pair.given(d).length);
  finish_sums(generated.length, mix, sums.prior.data(), sums.z.data(), null, gain);
  double product = 1;  // of eight words at most: one logarithm for each would take longer than all the rest
  for (std::uint32_t k = 0; k < generated.length; ++k) {
    product *= sums.z[k];
    if (k % 8 == 7) {
      statistics.log_likelihood += std::log(product);
      product = 1;
    }
    statistics.null += null[k];
    statistics.feature -= gain[k] * sums.feature[k];
  }
  statistics.log_likelihood += std::log(product) - std::log(kScale) * generated.length;
}

// prior/Z of one occurrence, for each target position and direction.
template <int kDirections>
WEAM_INLINE void occurrence_weights(const PairView& pair, std::size_t i, const float* __restrict forward_gain,
                                    float backward_gain, float* __restrict weights) {
  const SideView &s = pair.source, &t = pair.target;
  const std::size_t length = padded(t.length);
  for (std::size_t j = 0; j < length; ++j) {
    weights[j * kDirections] = prior(s.up[0][i], s.down[0][i], t.up[0][j], t.down[0][j]) * forward_gain[j];
    if (kDirections == 1) continue;
    weights[j * 2 + 1] = prior(s.up[1][i], s.down[1][i], t.up[1][j], t.down[1][j]) * backward_gain;
  }
}

WEAM_CLONES void occurrence_weights_1(const PairView& pair, std::size_t i, const float* forward_gain,
                                      float backward_gain, float* weights) {
  occurrence_weights<1>(pair, i, forward_gain, backward_gain, weights);
}
WEAM_CLONES void occurrence_weights_2(const PairView& pair, std::size_t i, const float* forward_gain,
                                      float backward_gain, float* weights) {
  occurrence_weights<2>(pair, i, forward_gain, backward_gain, weights);
}

WEAM_INLINE void Trainer::prefetch_gains(std::uint64_t occurrence) const {
  const float* const forward = gain_[0].data() + corpus_.index.pair_of(occurrence).target.begin;
  WEAM_PREFETCH(forward);
  WEAM_PREFETCH(forward + 16);
  if (directions_ == 2) WEAM_PREFETCH(gain_[1].data() + corpus_.index.token_of(occurrence));
}

// Adds prior/Z of every occurrence of a word to the sums of its row.
template <int kDirections>
void Trainer::add_occurrences(Word word, RowBuffers& buffers) {
  const CellIndex& index = corpus_.index;
  if (index.first[word] == index.first[word + 1]) return;
  index.list(index.token_of(index.first[word]), word, [&](const auto* numbers, auto) {  // and all behind it
    for (std::uint64_t n = index.first[word]; n < index.first[word + 1]; ++n) {
      index.prefetch_pair(n + 2 * CellIndex::kAhead);
      prefetch_gains(n + CellIndex::kAhead);
      const CellIndex::Occurrence at = index.occurrences[n];
      const PairView pair(corpus_, at.pair);
      const std::size_t length = pair.target.length;
      buffers.weights.resize(std::max(buffers.weights.size(), padded(length) * kDirections));
      const float backward_gain = kDirections == 2 ? gain_[1][index.token_of(n)] : 0.0f;
      (kDirections == 2 ? occurrence_weights_2 : occurrence_weights_1)(
          pair, at.position, gain_[0].data() + pair.target.begin, backward_gain, buffers.weights.data());
      const float* weight = buffers.weights.data();
      for (std::size_t j = 0; j < length; ++j, weight += kDirections) {
        double* const sum = buffers.sums.data() + static_cast<std::size_t>(numbers[j]) * kDirections;
        for (int d = 0; d < kDirections; ++d) sum[d] += weight[d];
      }
      numbers += length;
    }
  });
}

// The M-step of one distribution: t = exp(digamma(c + alpha)) / exp(digamma(sum(c + alpha))), or c / sum(c).
WEAM_CLONES void normalize_bayes(double* values, std::size_t size, double alpha, double scale) {
  for (std::size_t k = 0; k < size; ++k) values[k] = exp_digamma(values[k] + alpha) * scale;
}

double normalizer(const DiagonalSettings& settings, double counts, double cells) {
  if (settings.variational_bayes) return kScale / exp_digamma(counts + cells * settings.alpha);
  return counts > 0 ? kScale / counts : 0.0;
}

void normalize(const DiagonalSettings& settings, double* values, std::size_t size, double counts) {
  const double scale = normalizer(settings, counts, static_cast<double>(size));
  if (settings.variational_bayes) {
    normalize_bayes(values, size, settings.alpha, scale);
  } else {
    for (std::size_t k = 0; k < size; ++k) values[k] *= scale;
  }
}

// Counts both directions of one row. The forward row is normalised at once; the backward counts replace t in place
// until their column sums are known.
void Trainer::count_row(Word word, RowBuffers& buffers) {
  TTable& table = model_.table;
  const std::size_t size = table.rows[word + 1] - table.rows[word];
  buffers.sums.assign(size * directions_, 0.0);
  buffers.row.resize(size);
  if (directions_ == 2) {
    add_occurrences<2>(word, buffers);
  } else {
    add_occurrences<1>(word, buffers);
  }
  const double* const sums = buffers.sums.data();
  double* const row = buffers.row.data();
  float* const t = table.t.data() + table.rows[word] * directions_;
  double total = 0;
  for (std::size_t k = 0; k < size; ++k) {
    total += row[k] = sums[k * directions_] * t[k * directions_];
    if (directions_ == 2) t[k * 2 + 1] = static_cast<float>(sums[k * 2 + 1] * t[k * 2 + 1]);
  }
  normalize(model_.settings, row, size, total);
  for (std::size_t k = 0; k < size; ++k) t[k * directions_] = static_cast<float>(row[k]);
}

void Trainer::count() {
  std::vector<RowBuffers> buffers(parallel_.threads);
  parallel_.run(row_chunks_.size() - 1, [&](std::size_t chunk, int thread) {
    for (std::size_t e = row_chunks_[chunk]; e < row_chunks_[chunk + 1]; ++e) {
      count_row(static_cast<Word>(e), buffers[thread]);
    }
  });
}

// By target word: the sum of its backward counts, or its number of cells.
std::vector<double> Trainer::sum_columns(bool cells_only) const {
  const TTable& table = model_.table;
  const std::vector<std::size_t> bounds = split_evenly(table.rows, kShards);
  std::vector<std::vector<double>> shards(bounds.size() - 1);
  parallel_.run(shards.size(), [&](std::size_t shard, int) {
    shards[shard].assign(target_words_, 0.0);
    for (std::uint64_t cell = table.rows[bounds[shard]]; cell < table.rows[bounds[shard + 1]]; ++cell) {
      shards[shard][table.columns[cell]] += cells_only ? 1.0 : table.t[cell * 2 + 1];
    }
  });
  std::vector<double> sums(target_words_, 0.0);
  for (const std::vector<double>& shard : shards) {
    for (std::size_t f = 0; f < target_words_; ++f) sums[f] += shard[f];
  }
  return sums;
}

WEAM_CLONES void normalize_columns(float* t, const Word* columns, std::size_t cells, const double* scales,
                                   double alpha) {
  for (std::size_t cell = 0; cell < cells; ++cell) {
    t[cell * 2 + 1] = static_cast<float>(exp_digamma(t[cell * 2 + 1] + alpha) * scales[columns[cell]]);
  }
}

void Trainer::update_backward() {
  std::vector<double> scales = sum_columns(false);
  for (std::size_t f = 0; f < target_words_; ++f) scales[f] = normalizer(model_.settings, scales[f], column_cells_[f]);
  TTable& table = model_.table;
  parallel_.run(kChunks, [&](std::size_t chunk, int) {
    const std::size_t begin = table.cells() * chunk / kChunks, end = table.cells() * (chunk + 1) / kChunks;
    if (model_.settings.variational_bayes) {
      normalize_columns(table.t.data() + begin * 2, table.columns.data() + begin, end - begin, scales.data(),
                        model_.settings.alpha);
    } else {
      for (std::size_t cell = begin; cell < end; ++cell) {
        table.t[cell * 2 + 1] = static_cast<float>(table.t[cell * 2 + 1] * scales[table.columns[cell]]);
      }
    }
  });
}

void Trainer::update_null(int d) {
  const Corpus& generated = corpus_.generated(d);
  std::vector<float>& row = model_.table.null_row[d];
  const std::vector<std::size_t> bounds = split_evenly(generated.offsets, kShards);
  std::vector<std::vector<double>> shards(bounds.size() - 1);
  parallel_.run(shards.size(), [&](std::size_t shard, int) {
    shards[shard].assign(row.size(), 0.0);
    for (std::uint64_t k = generated.offsets[bounds[shard]]; k < generated.offsets[bounds[shard + 1]]; ++k) {
      shards[shard][generated.words[k]] += null_posterior_[d][k];
    }
  });
  std::vector<double> counts(row.size(), 0.0);
  double total = 0;
  for (const std::vector<double>& shard : shards) {
    for (std::size_t word = 0; word < row.size(); ++word) counts[word] += shard[word];
  }
  for (const double count : counts) total += count;
  normalize(model_.settings, counts.data(), counts.size(), total);
  std::copy(counts.begin(), counts.end(), row.begin());
}

}  // namespace

DiagonalModel fit_diagonal(const Corpus& source, const Corpus& target, std::size_t source_words,
                           std::size_t target_words, int directions, const DiagonalSettings& settings,
                           const Parallel& parallel, const std::function<void(const DiagonalModel&)>& progress,
                           std::vector<Links>* links) {
  DiagonalModel model;
  model.settings = settings;
  model.table.directions = directions;
  model.tension[0] = model.tension[1] = settings.favor_diagonal ? settings.tension : 0.0;
  const CellIndex index = build_table(source, target, source_words, target_words, parallel, model.table);
  AlignedCorpus corpus(source, target, index, directions, model.tension);
  LinkParts parts(corpus.chunks.size() - 1);
  Trainer(corpus, parallel, target_words, model).train(progress, links ? &parts : nullptr);
  if (links) *links = parts.join(directions);
  return model;
}

std::vector<Links> align_diagonal(const DiagonalModel& model, const Corpus& source, const Corpus& target,
                                  std::size_t target_words, const Parallel& parallel) {
  const CellIndex index = index_table(source, target, model.table, target_words, parallel);
  const AlignedCorpus corpus(source, target, index, model.table.directions, model.tension);
  LinkParts parts(corpus.chunks.size() - 1);
  std::vector<Scratch> scratch(parallel.threads);
  parallel.run(corpus.chunks.size() - 1, [&](std::size_t chunk, int thread) {
    for (std::size_t k = corpus.chunks[chunk]; k < corpus.chunks[chunk + 1]; ++k) {
      const PairView pair(corpus, k);
      sum_pair(model.table, corpus, pair, false, true, scratch[thread]);
      for (int d = 0; d < model.table.directions; ++d) {
        append_links(model, corpus, d, pair, scratch[thread].sums[d], parts.directions[d][chunk]);
      }
    }
  });
  return parts.join(model.table.directions);
}

}  // namespace weam
