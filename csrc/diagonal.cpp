#include "diagonal.h"

#include <algorithm>
#include <limits>
#include <map>

#include "numeric.h"

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;
// Sums over the whole corpus by word run in this many fixed shards, added up in order.
constexpr std::size_t kShards = 16;

// exp(-tension |i/I - j/J|) = min(down_I[i] up_J[j], up_I[i] down_J[j]) with up_n[k] = exp(tension k/n), down = 1/up:
// one-dimensional tables by length instead of an exp for each pair of positions. Padding is zero.
struct LengthTables {
  std::vector<std::size_t> start;       // by length; tables of absent lengths are empty
  std::vector<float> position, before;  // k/n and (k - 1)/n for k = 1 .. n
  std::vector<float> up[2], down[2];    // by direction

  LengthTables(const Corpus& source, const Corpus& target) {
    std::vector<char> present;
    for (const Corpus* side : {&source, &target}) {
      for (std::size_t s = 0; s < side->size(); ++s) {
        if (side->length(s) >= present.size()) present.resize(side->length(s) + 1, 0);
        present[side->length(s)] = 1;
      }
    }
    for (std::size_t n = 0; n < present.size(); ++n) {
      start.push_back(position.size());
      if (!present[n]) continue;
      for (std::size_t k = 1; k <= n; ++k) {
        position.push_back(static_cast<float>(static_cast<double>(k) / n));
        before.push_back(static_cast<float>(static_cast<double>(k - 1) / n));
      }
      position.resize(start.back() + padded(n), 0.0f);
      before.resize(position.size(), 0.0f);
    }
    start.push_back(position.size());
  }

  void set_tension(int direction, double tension) {
    up[direction].assign(position.size(), 0.0f);
    down[direction].assign(position.size(), 0.0f);
    for (std::size_t n = 0; n + 1 < start.size(); ++n) {
      if (start[n] == start[n + 1]) continue;
      for (std::size_t k = 1; k <= n; ++k) {
        const double exponent = tension * static_cast<double>(k) / static_cast<double>(n);
        up[direction][start[n] + k - 1] = static_cast<float>(std::exp(exponent));
        down[direction][start[n] + k - 1] = static_cast<float>(std::exp(-exponent));
      }
    }
  }
};

WEAM_INLINE float prior(float up_a, float down_a, float up_b, float down_b) {
  const float above = down_a * up_b, below = up_a * down_b;
  return above < below ? above : below;
}

// Sums and best partners of the words of one sentence pair, for one direction. Indexed by the generated word.
struct Side {
  std::vector<float> z, prior_sum, feature, best;
  std::vector<std::int32_t> argument;

  void begin(std::size_t length) {
    for (std::vector<float>* values : {&z, &prior_sum, &feature, &best}) values->assign(padded(length), 0.0f);
    argument.assign(padded(length), -1);
  }
};

struct Scratch {
  std::vector<float> t[2];
  Side side[2];

  void begin(std::size_t source_length, std::size_t target_length) {
    for (std::vector<float>& values : t) values.assign(padded(target_length), 0.0f);
    side[0].begin(target_length);
    side[1].begin(source_length);
  }
  void begin_row(std::size_t target_length) {
    for (std::vector<float>& values : t) values.resize(std::max(values.size(), target_length));
  }
};

// One sentence pair as the kernels see it. `tables` points at the length's entries of LengthTables.
struct PairView {
  struct Tables {
    const float *position, *before, *up[2], *down[2];
  };
  std::size_t source_length, target_length;
  const Word* source;
  const std::uint32_t* cells;
  Tables source_tables, target_tables;
};

// A corpus laid over a table: what training and decoding both walk.
struct AlignedCorpus {
  const Corpus& source;
  const Corpus& target;
  const CellIndex& index;
  LengthTables lengths;
  std::vector<std::size_t> chunks;  // bounds of ranges of sentence pairs with about equal numbers of cells

  AlignedCorpus(const Corpus& source, const Corpus& target, const CellIndex& index, const DiagonalModel& model)
      : source(source),
        target(target),
        index(index),
        lengths(source, target),
        chunks(split_evenly(index.pair_offsets, kChunks)) {
    for (int d = 0; d < model.table.directions; ++d) lengths.set_tension(d, model.tension[d]);
  }

  const Corpus& generated(int d) const { return d == 0 ? target : source; }
  const Corpus& given(int d) const { return d == 0 ? source : target; }

  PairView::Tables tables(std::size_t length) const {
    const std::size_t at = lengths.start[length];
    PairView::Tables tables{lengths.position.data() + at, lengths.before.data() + at, {}, {}};
    for (int d = 0; d < 2; ++d) {
      if (lengths.up[d].empty()) continue;
      tables.up[d] = lengths.up[d].data() + at;
      tables.down[d] = lengths.down[d].data() + at;
    }
    return tables;
  }

  PairView pair(std::size_t pair) const {
    const std::size_t source_length = source.length(pair), target_length = target.length(pair);
    return {source_length,         target_length,
            source.sentence(pair), index.cells.data() + index.pair_offsets[pair],
            tables(source_length), tables(target_length)};
  }
};

// The row of the table for source word e, spread over the target positions.
template <int kDirections>
WEAM_INLINE void load_row(const TTable& table, Word e, const std::uint32_t* cells, std::size_t length, float* forward,
                          float* backward) {
  const float* row = e == kUnknown ? nullptr : table.t.data() + table.rows[e] * kDirections;
  for (std::size_t j = 0; j < length; ++j) {
    const bool known = cells[j] != CellIndex::kMissing;
    const float* cell = row + static_cast<std::size_t>(cells[j]) * kDirections;
    forward[j] = known ? cell[0] : kUnseen;
    if (kDirections == 2) backward[j] = known ? cell[1] : kUnseen;
  }
}

// Adds source position i to the sums of every target position (the forward direction).
template <bool kBest>
WEAM_INLINE void add_forward(const PairView& pair, std::size_t i, const float* __restrict t, Side& side) {
  const float up_i = pair.source_tables.up[0][i], down_i = pair.source_tables.down[0][i];
  const float position = pair.source_tables.position[i];
  const float* __restrict up = pair.target_tables.up[0];
  const float* __restrict down = pair.target_tables.down[0];
  const float* __restrict before = pair.target_tables.before;
  float* __restrict z = side.z.data();
  float* __restrict prior_sum = side.prior_sum.data();
  float* __restrict feature = side.feature.data();
  const std::size_t length = padded(pair.target_length);
  for (std::size_t j = 0; j < length; ++j) {
    const float p = prior(up_i, down_i, up[j], down[j]);
    const float w = p * t[j];
    prior_sum[j] += p;
    z[j] += w;
    feature[j] += w * std::fabs(position - before[j]);
  }
  if (!kBest) return;
  float* __restrict best = side.best.data();
  std::int32_t* __restrict argument = side.argument.data();
  for (std::size_t j = 0; j < length; ++j) {
    const float w = prior(up_i, down_i, up[j], down[j]) * t[j];
    argument[j] = w > best[j] ? static_cast<std::int32_t>(i) : argument[j];
    best[j] = w > best[j] ? w : best[j];
  }
}

// Sums over the target positions for source position i (the backward direction).
template <bool kBest>
WEAM_INLINE void add_backward(const PairView& pair, std::size_t i, const float* __restrict t, Side& side) {
  const float up_i = pair.source_tables.up[1][i], down_i = pair.source_tables.down[1][i];
  const float before = pair.source_tables.before[i];
  const float* __restrict up = pair.target_tables.up[1];
  const float* __restrict down = pair.target_tables.down[1];
  const float* __restrict position = pair.target_tables.position;
  float prior_sum[kLanes] = {}, z[kLanes] = {}, feature[kLanes] = {};
  const std::size_t length = padded(pair.target_length);
  for (std::size_t j = 0; j < length; j += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const float p = prior(up_i, down_i, up[j + lane], down[j + lane]);
      const float w = p * t[j + lane];
      prior_sum[lane] += p;
      z[lane] += w;
      feature[lane] += w * std::fabs(position[j + lane] - before);
    }
  }
  side.prior_sum[i] = add_lanes(prior_sum);
  side.z[i] = add_lanes(z);
  side.feature[i] = add_lanes(feature);
  if (!kBest) return;
  for (std::size_t j = 0; j < pair.target_length; ++j) {
    const float w = prior(up_i, down_i, up[j], down[j]) * t[j];
    if (w > side.best[i]) {
      side.best[i] = w;
      side.argument[i] = static_cast<std::int32_t>(j);
    }
  }
}

template <int kDirections, bool kBest>
WEAM_INLINE void sum_pair(const TTable& table, const PairView& pair, Scratch& scratch) {
  float* forward = scratch.t[0].data();
  float* backward = scratch.t[1].data();
  for (std::size_t i = 0; i < pair.source_length; ++i) {
    load_row<kDirections>(table, pair.source[i], pair.cells + i * pair.target_length, pair.target_length, forward,
                          backward);
    add_forward<kBest>(pair, i, forward, scratch.side[0]);
    if (kDirections == 2) add_backward<kBest>(pair, i, backward, scratch.side[1]);
  }
}

WEAM_CLONES void sum_pair_1(const TTable& table, const PairView& pair, Scratch& scratch) {
  sum_pair<1, false>(table, pair, scratch);
}
WEAM_CLONES void sum_pair_2(const TTable& table, const PairView& pair, Scratch& scratch) {
  sum_pair<2, false>(table, pair, scratch);
}
WEAM_CLONES void best_pair_1(const TTable& table, const PairView& pair, Scratch& scratch) {
  sum_pair<1, true>(table, pair, scratch);
}
WEAM_CLONES void best_pair_2(const TTable& table, const PairView& pair, Scratch& scratch) {
  sum_pair<2, true>(table, pair, scratch);
}

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

void append_links(const DiagonalModel& model, const AlignedCorpus& corpus, int d, std::size_t pair, const Side& side,
                  Links& links) {
  const Corpus& generated = corpus.generated(d);
  const Mixture mix = mixture(model.settings, corpus.given(d).length(pair));
  const std::size_t begin = links.links.size();
  for (std::size_t k = 0; k < generated.length(pair); ++k) {
    const float null = mix.null * null_probability(model.table, d, generated.sentence(pair)[k]);
    if (side.argument[k] < 0 || mix.words / side.prior_sum[k] * side.best[k] <= null) continue;
    const std::int32_t word = static_cast<std::int32_t>(k), partner = side.argument[k];
    links.links.push_back(d == 0 ? Link{partner, word} : Link{word, partner});
  }
  std::sort(links.links.begin() + begin, links.links.end());
  links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
}

std::vector<Links> best_links(const DiagonalModel& model, const AlignedCorpus& corpus, const Parallel& parallel) {
  const int directions = model.table.directions;
  const std::size_t chunks = corpus.chunks.size() - 1;
  std::vector<Scratch> scratch(parallel.threads);
  std::vector<std::vector<Links>> parts(directions, std::vector<Links>(chunks));
  parallel.run(chunks, [&](std::size_t chunk, int thread) {
    for (std::size_t pair = corpus.chunks[chunk]; pair < corpus.chunks[chunk + 1]; ++pair) {
      const PairView view = corpus.pair(pair);
      scratch[thread].begin(view.source_length, view.target_length);
      (directions == 2 ? best_pair_2 : best_pair_1)(model.table, view, scratch[thread]);
      for (int d = 0; d < directions; ++d)
        append_links(model, corpus, d, pair, scratch[thread].side[d], parts[d][chunk]);
    }
  });
  std::vector<Links> links;
  for (const std::vector<Links>& part : parts) links.push_back(concatenate(part));
  return links;
}

struct Statistics {
  double log_likelihood = 0, null = 0, feature = 0;
};

// Training on one corpus. An iteration is two passes over the cells, neither with a shared counter to fight for:
// `measure` walks the sentence pairs and stores 1/Z for each generated word; `count` walks the source words, whose rows
// it owns, adding up prior/Z over their occurrences in double precision. Any thread may take any chunk of either.
class Trainer {
 public:
  Trainer(AlignedCorpus& corpus, const Parallel& parallel, std::size_t target_words, DiagonalModel& model);
  void train(const std::function<void(const DiagonalModel&)>& progress);

 private:
  std::vector<Statistics> measure();
  void finish_words(int d, std::size_t pair, const Side& side, Statistics& statistics);
  void record(const std::vector<Statistics>& statistics);
  void count();
  void count_row(std::size_t e, Scratch& scratch, std::vector<double>& sums, std::vector<double>& row);
  void update_backward();
  void update_null(int d);
  void update_tension(int d, double empirical);
  std::vector<double> sum_columns(bool cells_only) const;

  AlignedCorpus& corpus_;
  const Parallel& parallel_;
  DiagonalModel& model_;
  const int directions_;
  const std::size_t target_words_;
  std::vector<std::size_t> row_chunks_;
  std::vector<float> gain_[2];            // by generated token: prior weight / Z, so that posterior = gain * prior * t
  std::vector<float> null_posterior_[2];  // by generated token
  std::vector<double> column_cells_;      // by target word: its cells
  std::map<std::pair<std::uint32_t, std::uint32_t>, double> sizes_;  // (target, source) lengths -> pairs
};

// Turns the sums of a pair into what the counts need, and adds the pair to the statistics.
void Trainer::finish_words(int d, std::size_t pair, const Side& side, Statistics& statistics) {
  const Corpus& generated = corpus_.generated(d);
  const Mixture mix = mixture(model_.settings, corpus_.given(d).length(pair));
  const std::uint64_t base = generated.offsets[pair];
  for (std::size_t k = 0; k < generated.length(pair); ++k) {
    const float null = mix.null * null_probability(model_.table, d, generated.words[base + k]);
    const float weight = mix.words / side.prior_sum[k];
    const float sum = weight * side.z[k] + null;
    const float inverse = sum > 0 ? 1.0f / sum : 0.0f;
    gain_[d][base + k] = weight * inverse;
    null_posterior_[d][base + k] = null * inverse;
    statistics.log_likelihood += std::log(std::max<double>(sum, std::numeric_limits<float>::min()) / kScale);
    statistics.null += null * inverse;
    statistics.feature -= weight * inverse * side.feature[k];
  }
}

std::vector<Statistics> Trainer::measure() {
  const std::size_t chunks = corpus_.chunks.size() - 1;
  std::vector<Scratch> scratch(parallel_.threads);
  std::vector<std::vector<Statistics>> parts(directions_, std::vector<Statistics>(chunks));
  parallel_.run(chunks, [&](std::size_t chunk, int thread) {
    for (std::size_t pair = corpus_.chunks[chunk]; pair < corpus_.chunks[chunk + 1]; ++pair) {
      const PairView view = corpus_.pair(pair);
      scratch[thread].begin(view.source_length, view.target_length);
      (directions_ == 2 ? sum_pair_2 : sum_pair_1)(model_.table, view, scratch[thread]);
      for (int d = 0; d < directions_; ++d) finish_words(d, pair, scratch[thread].side[d], parts[d][chunk]);
    }
  });
  std::vector<Statistics> whole(directions_);
  for (int d = 0; d < directions_; ++d) {
    for (const Statistics& part : parts[d]) {
      whole[d].log_likelihood += part.log_likelihood;
      whole[d].null += part.null;
      whole[d].feature += part.feature;
    }
  }
  return whole;
}

void Trainer::record(const std::vector<Statistics>& statistics) {
  for (int d = 0; d < directions_; ++d) {
    const double tokens = static_cast<double>(corpus_.generated(d).words.size());
    model_.history[d].push_back({statistics[d].log_likelihood, std::exp(-statistics[d].log_likelihood / tokens),
                                 statistics[d].null / tokens, statistics[d].feature / tokens, model_.tension[d]});
  }
}

// prior/Z of one occurrence, spread over the target positions.
template <int kDirections>
WEAM_INLINE void occurrence_weights(const PairView& pair, std::size_t i, const float* __restrict forward_gain,
                                    float backward_gain, float* __restrict forward, float* __restrict backward) {
  const auto& s = pair.source_tables;
  const auto& t = pair.target_tables;
  for (std::size_t j = 0; j < pair.target_length; ++j) {
    forward[j] = prior(s.up[0][i], s.down[0][i], t.up[0][j], t.down[0][j]) * forward_gain[j];
  }
  if (kDirections == 1) return;
  for (std::size_t j = 0; j < pair.target_length; ++j) {
    backward[j] = prior(s.up[1][i], s.down[1][i], t.up[1][j], t.down[1][j]) * backward_gain;
  }
}

template <int kDirections>
WEAM_INLINE void add_occurrence(const PairView& pair, std::size_t i, const float* forward_gain, float backward_gain,
                                Scratch& scratch, double* __restrict sums) {
  float* __restrict forward = scratch.t[0].data();
  float* __restrict backward = scratch.t[1].data();
  occurrence_weights<kDirections>(pair, i, forward_gain, backward_gain, forward, backward);
  const std::uint32_t* cells = pair.cells + i * pair.target_length;
  for (std::size_t j = 0; j < pair.target_length; ++j) {
    double* sum = sums + static_cast<std::size_t>(cells[j]) * kDirections;
    sum[0] += forward[j];
    if (kDirections == 2) sum[1] += backward[j];
  }
}

WEAM_CLONES void add_occurrence_1(const PairView& pair, std::size_t i, const float* forward_gain, float backward_gain,
                                  Scratch& scratch, double* sums) {
  add_occurrence<1>(pair, i, forward_gain, backward_gain, scratch, sums);
}
WEAM_CLONES void add_occurrence_2(const PairView& pair, std::size_t i, const float* forward_gain, float backward_gain,
                                  Scratch& scratch, double* sums) {
  add_occurrence<2>(pair, i, forward_gain, backward_gain, scratch, sums);
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
void Trainer::count_row(std::size_t e, Scratch& scratch, std::vector<double>& sums, std::vector<double>& row) {
  TTable& table = model_.table;
  const std::size_t size = table.rows[e + 1] - table.rows[e];
  sums.assign(size * directions_, 0.0);
  row.resize(size);
  for (std::uint64_t n = corpus_.index.first[e]; n < corpus_.index.first[e + 1]; ++n) {
    const std::uint32_t token = corpus_.index.tokens[n];
    const std::size_t pair = corpus_.index.sentence[token];
    const PairView view = corpus_.pair(pair);
    scratch.begin_row(view.target_length);
    (directions_ == 2 ? add_occurrence_2 : add_occurrence_1)(
        view, token - corpus_.source.offsets[pair], gain_[0].data() + corpus_.target.offsets[pair],
        directions_ == 2 ? gain_[1][token] : 0.0f, scratch, sums.data());
  }
  float* t = table.t.data() + table.rows[e] * directions_;
  double total = 0;
  for (std::size_t k = 0; k < size; ++k) {
    total += row[k] = sums[k * directions_] * t[k * directions_];
    if (directions_ == 2) t[k * 2 + 1] = static_cast<float>(sums[k * 2 + 1] * t[k * 2 + 1]);
  }
  normalize(model_.settings, row.data(), size, total);
  for (std::size_t k = 0; k < size; ++k) t[k * directions_] = static_cast<float>(row[k]);
}

void Trainer::count() {
  struct Buffers {
    Scratch scratch;
    std::vector<double> sums, row;
  };
  std::vector<Buffers> buffers(parallel_.threads);
  parallel_.run(row_chunks_.size() - 1, [&](std::size_t chunk, int thread) {
    Buffers& buffer = buffers[thread];
    for (std::size_t e = row_chunks_[chunk]; e < row_chunks_[chunk + 1]; ++e) {
      count_row(e, buffer.scratch, buffer.sums, buffer.row);
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

// |j/n - i/m| of the prior, negated. The arguments are named as in fast_align's formulas: i of m, j of n.
double diagonal_feature(double i, double j, double m, double n) { return -std::fabs(j / n - i / m); }

// Sum of the unnormalised prior over j = 1 .. n, a pair of geometric series around the diagonal (section 3.1).
double diagonal_sum(std::uint32_t i, std::uint32_t m, std::uint32_t n, double tension) {
  const std::uint32_t below = static_cast<std::uint32_t>(static_cast<double>(i) * n / m);
  const std::uint32_t above = n - below;  // wraps when below > n, which the swapped call of the derivative produces
  const double ratio = std::exp(-tension / n);
  double sum = 0;
  if (above) {
    sum += std::exp(tension * diagonal_feature(i, below + 1, m, n)) * (1 - std::pow(ratio, above)) / (1 - ratio);
  }
  if (below) sum += std::exp(tension * diagonal_feature(i, below, m, n)) * (1 - std::pow(ratio, below)) / (1 - ratio);
  return sum;
}

// Sum of the first `count` terms of an arithmetic times a geometric series.
double arithmetico_geometric(double first, double term, double ratio, double step, std::uint32_t count) {
  const double last = (step * (count - 1.0) + first) * term * std::pow(ratio, count);
  return (last - first * term) / (ratio - 1) -
         step * (term * std::pow(ratio, count) - term * ratio) / ((ratio - 1) * (ratio - 1));
}

// d log Z / d tension (section 3.2). fast_align divides by Z with the two lengths swapped; its tension, and so its
// links, can only be met by doing the same.
double derivative_of_log_sum(std::uint32_t i, std::uint32_t m, std::uint32_t n, double tension) {
  const std::uint32_t below = static_cast<std::uint32_t>(static_cast<double>(i) * n / m);
  const std::uint32_t above = n - below;
  const double ratio = std::exp(-tension / n);
  double sum = 0;
  for (const auto& [at, count] : {std::pair{below + 1, above}, std::pair{below, below}}) {
    if (!count) continue;
    const double feature = diagonal_feature(i, at, m, n);
    sum += arithmetico_geometric(feature, std::exp(tension * feature), ratio, -1.0 / n, count);
  }
  return sum / diagonal_sum(i, n, m, tension);
}

// Eight gradient steps towards the tension whose expected feature is the empirical one.
void Trainer::update_tension(int d, double empirical) {
  const std::vector<std::pair<std::pair<std::uint32_t, std::uint32_t>, double>> sizes(sizes_.begin(), sizes_.end());
  const double tokens = static_cast<double>(corpus_.generated(d).words.size());
  std::vector<double> parts(sizes.size());
  for (int step = 0; step < 8; ++step) {
    parallel_.run(kChunks, [&](std::size_t chunk, int) {
      for (std::size_t k = sizes.size() * chunk / kChunks; k < sizes.size() * (chunk + 1) / kChunks; ++k) {
        const auto [target, source] = sizes[k].first;
        const std::uint32_t generated = d == 0 ? target : source, given = d == 0 ? source : target;
        parts[k] = 0;
        for (std::uint32_t i = 1; i <= generated; ++i) {
          parts[k] += sizes[k].second * derivative_of_log_sum(i, generated, given, model_.tension[d]);
        }
      }
    });
    double expected = 0;
    for (const double part : parts) expected += part;
    model_.tension[d] = std::clamp(model_.tension[d] + (empirical - expected / tokens) * 20.0, 0.1, 14.0);
  }
  corpus_.lengths.set_tension(d, model_.tension[d]);
}

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
    gain_[d].assign(corpus.generated(d).words.size(), 0.0f);
    null_posterior_[d].assign(corpus.generated(d).words.size(), 0.0f);
  }
  if (directions_ == 2) column_cells_ = sum_columns(true);
  for (std::size_t pair = 0; pair < corpus.source.size(); ++pair) {
    ++sizes_[{static_cast<std::uint32_t>(corpus.target.length(pair)),
              static_cast<std::uint32_t>(corpus.source.length(pair))}];
  }
}

void Trainer::train(const std::function<void(const DiagonalModel&)>& progress) {
  const DiagonalSettings& settings = model_.settings;
  for (int iteration = 1; iteration <= settings.iterations; ++iteration) {
    record(measure());
    if (progress) progress(model_);
    if (iteration == settings.iterations) return;
    count();
    if (directions_ == 2) update_backward();
    for (int d = 0; d < directions_; ++d) {
      update_null(d);
      if (settings.favor_diagonal && settings.optimize_tension && iteration > 1) {
        update_tension(d, model_.history[d].back().posterior_feature);
      }
    }
  }
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
  AlignedCorpus corpus(source, target, index, model);
  Trainer(corpus, parallel, target_words, model).train(progress);
  if (links) *links = best_links(model, corpus, parallel);
  return model;
}

std::vector<Links> align_diagonal(const DiagonalModel& model, const Corpus& source, const Corpus& target,
                                  std::size_t target_words, const Parallel& parallel) {
  const CellIndex index = index_table(source, target, model.table, target_words, parallel);
  return best_links(model, AlignedCorpus(source, target, index, model), parallel);
}

}  // namespace weam
