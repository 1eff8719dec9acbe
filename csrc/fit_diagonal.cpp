#include "fit_diagonal.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "fixed_sum.h"
#include "numeric.h"
#include "pair_sums.h"
#include "prior.h"
#include "update.h"

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;

struct Statistics {
  double log_likelihood = 0, null = 0, feature = 0;
};

// ----------------------------------------------------------------------------------------------- updates

WEAM_CLONES void normalize_columns(float* t, const Word* columns, std::size_t cells, const double* scales,
                                   double alpha) {
  for (std::size_t cell = 0; cell < cells; ++cell) {
    t[cell * 2 + 1] = static_cast<float>(exp_digamma(t[cell * 2 + 1] + alpha) * scales[columns[cell]]);
  }
}

// ----------------------------------------------------------------------------------------------- counts

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

// ---------------------------------------------------------------------------------------------- training

// What training needs per thread.
struct Worker {
  Scratch scratch;
  std::vector<float> null;         // of one sentence
  std::vector<FixedSum> nulls[2];  // by generated word: the count of NULL
  std::vector<FixedSum> columns;   // by target word: its backward count
  std::vector<float> weights;      // [padded target length][directions], of one occurrence
  std::vector<double> sums;        // [cells of the row][directions]
  std::vector<double> row;         // [cells of the row]
};

// Sums of the pairs, kept between the ranges of source words.
struct PartialSums {
  Array<float> z, feature, best;
  Array<std::int32_t> partner;
};

// An iteration is two passes over the cells, neither with a shared counter to fight for: `measure` walks the sentence
// pairs and stores 1/Z for each generated word; `count` walks the source words, whose rows it owns, adding up prior/Z
// over their occurrences in double precision. Any thread may take any chunk of either. Both go over tiles: ranges of
// source words and, within, blocks of sentence pairs. What is summed across tiles, chunks or threads is summed in an
// order that follows from the corpus alone, or in integers. Nothing in an iteration depends on the C library's exp or
// log but the likelihood that it reports.
class Trainer {
 public:
  Trainer(Bitext& bitext, const TrainOptions& options, const DiagonalModel* init, DiagonalModel& model);
  void favor(const std::vector<CellCount>& hinted);
  void train(const Sink& sink, bool measure_last);
  std::optional<Tile> take_index() { return std::move(index_); }

 private:
  const Array<Word>& generated(int d) const { return bitext_.words[1 - d]; }
  bool in_files() const { return !layout_.directory.empty(); }
  void build_table();
  void cut_table();
  void set_up();
  void take_counts(const DiagonalModel& init);

  Tile make_tile(Range words, Range block, bool with_lists);
  Range pairs_of(Range block) const { return {pair_chunks_[block.begin], pair_chunks_[block.end]}; }
  void release_pairs(Range block) const;
  void release_rows(Range words) const;

  void measure(bool uniform, const Sink& sink);
  void measure_block(Range words, Range block, const Tile* tile, std::vector<Statistics>* statistics,
                     AlignedBlock* aligned);
  void exchange_partial(const PairView& pair, Sums* sums, bool store);
  void finish_pair(std::size_t k, const PairView& pair, Worker& worker, Statistics* statistics, AlignedBlock* aligned,
                   std::vector<Links>* parts, std::size_t chunk);

  void count();
  void count_tile(const Tile& tile, double* sums, bool finish);
  template <int kDirections, class Add>
  void for_each_occurrence(const Tile& tile, std::size_t word, Worker& worker, Add add) const;
  template <int kDirections>
  void add_occurrences(const Tile& tile, std::size_t word, Worker& worker, RowNumbers& numberings, double* sums) const;
  void finish_row(Word word, const double* sums, Worker& worker);
  void update_backward();
  void update_null(int d);

  Bitext& bitext_;
  const TrainOptions& options_;
  const std::size_t source_words_, target_words_;
  const Layout& layout_;
  const Parallel& parallel_;
  const DiagonalModel* const init_;
  DiagonalModel& model_;
  const int directions_;
  std::vector<std::size_t> pair_chunks_;
  std::vector<Range> blocks_;                         // of chunks of pairs
  std::vector<Range> measure_ranges_, count_ranges_;  // of source words
  std::optional<Tile> index_;
  std::optional<LengthTables> lengths_;
  std::vector<Worker> workers_;
  std::vector<RowNumbers> numberings_;
  Array<float> gain_[2];  // by generated token: posterior = gain * prior * t
  PartialSums partial_[2];
  std::vector<double> column_cells_;  // by target word: its cells
  std::vector<SizeCount> sizes_[2];
  std::vector<float> old_counts_;  // of the cells of init
  bool uniform_;                   // whether every t is kUnseen
};

Trainer::Trainer(Bitext& bitext, const TrainOptions& options, const DiagonalModel* init, DiagonalModel& model)
    : bitext_(bitext),
      options_(options),
      source_words_(options.vocabulary[0]),
      target_words_(options.vocabulary[1]),
      layout_(options.layout),
      parallel_(options.parallel),
      init_(init),
      model_(model),
      directions_(model.table.directions),
      workers_(parallel_.threads),
      numberings_(parallel_.threads, RowNumbers(target_words_)),
      uniform_(!init) {
  if (in_files()) {
    for (Array<Word>& words : bitext.words) words.move_to_file(layout_.directory);
    bitext.pairs.move_to_file(layout_.directory);
    model.table.columns.move_to_file(layout_.directory);
    model.table.t.move_to_file(layout_.directory);
    for (int d = 0; d < directions_; ++d) {
      gain_[d].move_to_file(layout_.directory);
      partial_[d].z.move_to_file(layout_.directory);
      partial_[d].feature.move_to_file(layout_.directory);
      partial_[d].best.move_to_file(layout_.directory);
      partial_[d].partner.move_to_file(layout_.directory);
    }
  }
  pair_chunks_ = chunk_pairs(bitext);
  blocks_ = cut_pairs(bitext, pair_chunks_, layout_.keep_index ? Layout::kUnlimited : layout_.tile_bytes);
  build_table();
  cut_table();
  set_up();
  if (init) take_counts(*init);
}

// Ranges of words for building and, in memory, for counting: by the occurrences, which are listed at once.
void Trainer::build_table() {
  std::vector<std::uint64_t> bytes(source_words_ + 1, 0);
  for (const Pair& pair : bitext_.pairs) {
    const Word* const sentence = bitext_.words[0].data() + pair.sides[0].begin;
    for (std::uint32_t i = 0; i < pair.sides[0].length; ++i) {
      bytes[sentence[i] + 1] += in_files() ? sizeof(Word) * pair.sides[1].length : sizeof(Tile::Occurrence);
    }
  }
  for (std::size_t e = 0; e < source_words_; ++e) {
    if (in_files()) bytes[e + 1] = std::min<std::uint64_t>(bytes[e + 1], sizeof(Word) * target_words_);
    bytes[e + 1] += bytes[e];
  }
  const std::uint64_t most = in_files() ? layout_.table_bytes / 2 : layout_.tile_bytes;
  count_ranges_ = split_below(bytes, layout_.keep_index ? Layout::kUnlimited : most);
  TTable& table = model_.table;
  const std::vector<Range> whole{{0, pair_chunks_.size() - 1}};
  for (const Range words : count_ranges_) {
    RowBuilder rows(bitext_, words, init_ ? &init_->table : nullptr, numberings_, parallel_);
    for (const Range block : in_files() ? blocks_ : whole) {
      Tile tile = list_occurrences(bitext_, words, pairs_of(block));
      rows.add(tile, layout_.keep_index);
      if (layout_.keep_index) index_ = std::move(tile);
      release_pairs(block);
    }
    rows.append_to(table);
    table.columns.release_pages();
  }
  table.t.resize(table.cells() * directions_);
}

// Ranges of words whose rows fit.
void Trainer::cut_table() {
  const std::vector<std::uint64_t>& rows = model_.table.rows;
  if (!in_files()) {
    measure_ranges_ = {{0, source_words_}};
    return;
  }
  const std::uint64_t bytes = sizeof(Word) + directions_ * (sizeof(float) + sizeof(double));
  measure_ranges_ = count_ranges_ = split_below(rows, layout_.table_bytes / bytes);
  if (measure_ranges_.size() == 1) return;
  for (int d = 0; d < directions_; ++d) {
    const std::size_t size = generated(d).size();
    partial_[d].z.resize(size);
    partial_[d].feature.resize(size);
    partial_[d].best.resize(size);
    partial_[d].partner.resize(size);
  }
}

void Trainer::set_up() {
  TTable& table = model_.table;
  parallel_.run(kChunks, [&](std::size_t chunk, int) {
    const std::size_t size = table.cells() * directions_;
    std::fill(table.t.begin() + size * chunk / kChunks, table.t.begin() + size * (chunk + 1) / kChunks, kUnseen);
  });
  table.t.release_pages();
  for (int d = 0; d < directions_; ++d) {
    table.null_row[d].assign(d == 0 ? target_words_ : source_words_, kUnseen);
    gain_[d].assign(generated(d).size() + kLanes, 0.0f);  // whole lanes are read
    gain_[d].release_pages();
    model_.tension[d] = model_.settings.favor_diagonal ? model_.settings.tension : 0.0;
  }
  if (directions_ == 2) column_cells_ = count_columns(table, target_words_, parallel_);
  lengths_.emplace(bitext_);
  std::map<std::pair<std::uint32_t, std::uint32_t>, double> pairs;
  double usable = 0, ratios[2] = {0, 0};
  for (const Pair& pair : bitext_.pairs) {
    const double source = pair.sides[0].length, target = pair.sides[1].length;
    if (source == 0) continue;
    ++pairs[{pair.sides[1].length, pair.sides[0].length}];
    ++usable;
    ratios[0] += target / source;
    ratios[1] += source / target;
  }
  for (const auto& [lengths, count] : pairs) {
    sizes_[0].push_back({lengths.first, lengths.second, count});
    sizes_[1].push_back({lengths.second, lengths.first, count});
  }
  for (int d = 0; d < directions_; ++d) model_.length_ratio[d] = ratios[d] / usable;
}

// Starts from a model: its cells come first in each row.
void Trainer::take_counts(const DiagonalModel& init) {
  TTable& table = model_.table;
  const TTable& old = init.table;
  parallel_.run(kChunks, [&](std::size_t chunk, int) {
    for (std::size_t e = old.sources() * chunk / kChunks; e < old.sources() * (chunk + 1) / kChunks; ++e) {
      const std::uint64_t size = old.rows[e + 1] - old.rows[e];
      std::copy_n(old.t.data() + old.rows[e] * directions_, size * directions_,
                  table.t.begin() + table.rows[e] * directions_);
    }
  });
  if (!init.totals[0].empty()) old_counts_ = recover_counts(init, target_words_, parallel_);
  for (int d = 0; d < directions_; ++d) {
    std::copy(old.null_row[d].begin(), old.null_row[d].end(), table.null_row[d].begin());
    model_.totals[d] = init.totals[d];
    model_.totals[d].resize(init.totals[d].empty() ? 0 : d == 0 ? source_words_ : target_words_, 0.0);
    model_.null_totals[d] = init.null_totals[d];
    if (!model_.settings.favor_diagonal) continue;
    model_.tension[d] = init.settings.favor_diagonal ? init.tension[d] : init.settings.tension;
  }
}

void Trainer::favor(const std::vector<CellCount>& hinted) {
  for (const CellCount& hint : hinted) {
    float* const t = model_.table.t.data() + hint.cell * static_cast<std::size_t>(directions_);
    for (int d = 0; d < directions_; ++d) t[d] *= 1 + kHintedTimes * hint.count;
  }
  uniform_ = uniform_ && hinted.empty();
}

void Trainer::train(const Sink& sink, bool measure_last) {
  const DiagonalSettings& settings = model_.settings;
  for (int d = 0; d < directions_; ++d) lengths_->set_tension(d, model_.tension[d]);
  for (int iteration = 1; iteration <= settings.iterations; ++iteration) {
    const bool last = measure_last && iteration == settings.iterations;
    measure(iteration == 1 && uniform_ && !last, last ? sink : Sink());  // uniform sums know no best links
    if (options_.progress) options_.progress(model_);
    if (last) return;
    count();
    if (directions_ == 2) update_backward();
    for (int d = 0; d < directions_; ++d) {
      update_null(d);
      if (settings.favor_diagonal && settings.optimize_tension && (iteration > 1 || init_)) {
        const double empirical = model_.history[d].back().posterior_feature;
        model_.tension[d] = fit_tension(model_.tension[d], empirical, sizes_[d], parallel_);
        lengths_->set_tension(d, model_.tension[d]);
      }
    }
  }
}

Tile Trainer::make_tile(Range words, Range block, bool with_lists) {
  if (parallel_.poll) parallel_.poll();
  Tile tile = list_occurrences(bitext_, words, pairs_of(block));
  if (with_lists) add_lists(tile, bitext_, model_.table, numberings_, parallel_);
  return tile;
}

void Trainer::release_pairs(Range block) const {
  if (!in_files()) return;
  const Range pairs = pairs_of(block);
  bitext_.pairs.release_pages(pairs.begin, pairs.end);
  const auto release_pages = [&](int side, const auto& array) {
    const Span first = bitext_.pairs[pairs.begin].sides[side], last = bitext_.pairs[pairs.end - 1].sides[side];
    array.release_pages(first.begin, std::size_t{last.begin} + last.length);
  };
  for (int side = 0; side < 2; ++side) release_pages(side, bitext_.words[side]);
  for (int d = 0; d < directions_; ++d) {
    release_pages(1 - d, gain_[d]);
    release_pages(1 - d, partial_[d].z);
    release_pages(1 - d, partial_[d].feature);
    release_pages(1 - d, partial_[d].best);
    release_pages(1 - d, partial_[d].partner);
  }
}

void Trainer::release_rows(Range words) const {
  const TTable& table = model_.table;
  table.columns.release_pages(table.rows[words.begin], table.rows[words.end]);
  table.t.release_pages(table.rows[words.begin] * directions_, table.rows[words.end] * directions_);
}

// ---------------------------------------------------------------------------------------- the first pass

void Trainer::measure(bool uniform, const Sink& sink) {
  const std::size_t chunks = pair_chunks_.size() - 1;
  std::vector<Statistics> parts[2] = {std::vector<Statistics>(chunks), std::vector<Statistics>(chunks)};
  for (Worker& worker : workers_) {
    for (int d = 0; d < directions_; ++d) worker.nulls[d].assign(model_.table.null_row[d].size(), FixedSum());
  }
  const std::vector<Range> all{{0, source_words_}};
  // Links are handed on a block at a time, so that not all wait in memory.
  const std::vector<Range> blocks =
      layout_.keep_index && sink ? split_below(std::vector<std::uint64_t>(pair_chunks_.begin(), pair_chunks_.end()),
                                               std::max<std::size_t>(1, bitext_.size() / 16))
                                 : blocks_;
  const std::vector<Range>& ranges = uniform ? all : measure_ranges_;
  for (const Range words : ranges) {
    const bool last = words.end == source_words_;
    for (const Range block : blocks) {
      std::optional<Tile> made;
      if (!uniform && !index_) made = make_tile(words, block, true);
      const Tile* const tile = uniform ? nullptr : index_ ? &*index_ : &*made;
      AlignedBlock aligned;
      measure_block(words, block, tile, last ? parts : nullptr, last && sink ? &aligned : nullptr);
      if (last && sink) sink(std::move(aligned));
      release_pairs(block);
    }
    if (in_files()) release_rows(words);
  }
  for (int d = 0; d < directions_; ++d) {
    Statistics whole;
    for (const Statistics& part : parts[d]) {
      whole.log_likelihood += part.log_likelihood;
      whole.null += part.null;
      whole.feature += part.feature;
    }
    const double tokens = static_cast<double>(generated(d).size());
    model_.history[d].push_back({whole.log_likelihood, std::exp(-whole.log_likelihood / tokens), whole.null / tokens,
                                 whole.feature / tokens, model_.tension[d]});
  }
}

// Without statistics the sums are left for the next range of words, without a tile every t is the same.
void Trainer::measure_block(Range words, Range block, const Tile* tile, std::vector<Statistics>* statistics,
                            AlignedBlock* aligned) {
  const Range pairs = pairs_of(block);
  std::vector<Links> parts[2];
  if (aligned) {
    aligned->begin = pairs.begin;
    for (int d = 0; d < directions_; ++d) {
      aligned->scores[d].resize(pairs.size());
      parts[d].resize(block.size());
    }
  }
  parallel_.run(block.size(), [&](std::size_t part, int thread) {
    const std::size_t chunk = block.begin + part;
    Worker& worker = workers_[thread];
    Statistics sums[2];
    for (std::size_t k = pair_chunks_[chunk]; k < pair_chunks_[chunk + 1]; ++k) {
      const PairView pair(bitext_.pairs[k], *lengths_);
      begin_sums(pair, directions_, worker.scratch);
      if (words.begin > 0) exchange_partial(pair, worker.scratch.sums, false);
      if (tile) {
        add_tile(model_.table, *tile, bitext_, k, pair, aligned != nullptr || !statistics, worker.scratch);
      } else {
        add_uniform(pair, directions_, worker.scratch);
      }
      if (statistics) {
        finish_pair(k, pair, worker, sums, aligned, parts, part);
      } else {
        exchange_partial(pair, worker.scratch.sums, true);
      }
    }
    for (int d = 0; statistics && d < directions_; ++d) statistics[d][chunk] = sums[d];
  });
  for (int d = 0; aligned && d < directions_; ++d) aligned->links.push_back(concatenate(std::move(parts[d])));
}

void Trainer::exchange_partial(const PairView& pair, Sums* sums, bool store) {
  for (int d = 0; d < directions_; ++d) {
    const Span span{pair.generated(d).begin, pair.generated(d).length};
    const auto exchange = [&](auto& kept, auto& own) {
      if (store) {
        std::copy_n(own.begin(), span.length, kept.begin() + span.begin);
      } else {
        std::copy_n(kept.begin() + span.begin, span.length, own.begin());
      }
    };
    exchange(partial_[d].z, sums[d].z);
    exchange(partial_[d].feature, sums[d].feature);
    exchange(partial_[d].best, sums[d].best);
    exchange(partial_[d].partner, sums[d].partner);
  }
}

// Turns the sums of a pair into what the counts need, adds the pair to the statistics, and takes its links.
void Trainer::finish_pair(std::size_t k, const PairView& pair, Worker& worker, Statistics* statistics,
                          AlignedBlock* aligned, std::vector<Links>* parts, std::size_t chunk) {
  for (int d = 0; d < directions_; ++d) {
    const std::size_t begin = pair.generated(d).begin, length = pair.generated(d).length;
    const Word* const words = generated(d).data() + begin;
    Sums& sums = worker.scratch.sums[d];
    worker.null.resize(std::max(worker.null.size(), length));
    float* const gain = gain_[d].data() + begin;
    if (aligned) append_links(model_, d, pair, words, sums, parts[d][chunk]);
    const double log_probability = finish_sums(model_, d, pair, words, sums, worker.null.data(), gain);
    if (aligned) {
      aligned->scores[d][k - aligned->begin] = pair_score(model_, d, bitext_.pairs[k], log_probability);
    }
    statistics[d].log_likelihood += log_probability;
    for (std::size_t n = 0; n < length; ++n) {
      const float null = worker.null[n];
      statistics[d].null += null;
      worker.nulls[d][words[n]].add(null);
      statistics[d].feature -= gain[n] * sums.feature[n];
    }
  }
}

// --------------------------------------------------------------------------------------- the second pass

void Trainer::count() {
  for (Worker& worker : workers_) worker.columns.assign(directions_ == 2 ? target_words_ : 0, FixedSum());
  model_.totals[0].assign(source_words_, 0.0);
  const std::vector<std::uint64_t>& rows = model_.table.rows;
  const std::vector<Range> whole{{0, pair_chunks_.size() - 1}};
  const std::vector<Range>& blocks = in_files() ? blocks_ : whole;
  for (const Range words : count_ranges_) {
    std::vector<double> sums(blocks.size() == 1 ? 0 : (rows[words.end] - rows[words.begin]) * directions_, 0.0);
    for (const Range block : blocks) {
      std::optional<Tile> made;
      if (!index_) made = make_tile(words, block, false);
      count_tile(index_ ? *index_ : *made, sums.empty() ? nullptr : sums.data(), block.end == blocks.back().end);
      release_pairs(block);
    }
    if (in_files()) release_rows(words);
  }
}

// Adds up the rows of a tile: with `sums`, to those of all cells of its words. The last tile of its words finishes
// them.
void Trainer::count_tile(const Tile& tile, double* sums, bool finish) {
  const std::vector<std::uint64_t>& rows = model_.table.rows;
  const std::vector<std::size_t> bounds = split_evenly(tile.first, kChunks);
  parallel_.run(bounds.size() - 1, [&](std::size_t chunk, int thread) {
    Worker& worker = workers_[thread];
    for (std::size_t word = bounds[chunk]; word < bounds[chunk + 1]; ++word) {
      const std::size_t e = tile.words.begin + word;
      double* row = sums ? sums + (rows[e] - rows[tile.words.begin]) * directions_ : nullptr;
      if (!sums) {
        worker.sums.assign((rows[e + 1] - rows[e]) * directions_, 0.0);
        row = worker.sums.data();
      }
      if (directions_ == 2) {
        add_occurrences<2>(tile, word, worker, numberings_[thread], row);
      } else {
        add_occurrences<1>(tile, word, worker, numberings_[thread], row);
      }
      if (finish) finish_row(static_cast<Word>(e), row, worker);
    }
  });
}

// Calls add(weights, target sentence, its length) for each occurrence of a word.
template <int kDirections, class Add>
void Trainer::for_each_occurrence(const Tile& tile, std::size_t word, Worker& worker, Add add) const {
  const auto spans = [&](std::uint64_t n) -> const Pair& { return bitext_.pairs[tile.occurrence(n).pair]; };
  for (std::uint64_t n = tile.first[word]; n < tile.first[word + 1]; ++n) {
    WEAM_PREFETCH(&spans(n + 2 * Tile::kAhead));
    const Pair& ahead = spans(n + Tile::kAhead);
    WEAM_PREFETCH(gain_[0].data() + ahead.sides[1].begin);
    WEAM_PREFETCH(gain_[0].data() + ahead.sides[1].begin + 16);
    if (kDirections == 2) {
      WEAM_PREFETCH(gain_[1].data() + ahead.sides[0].begin + tile.occurrence(n + Tile::kAhead).position);
    }
    const Tile::Occurrence at = tile.occurrences[n];
    const PairView pair(bitext_.pairs[at.pair], *lengths_);
    const std::size_t length = pair.target.length;
    worker.weights.resize(std::max(worker.weights.size(), padded(length) * kDirections));
    const float backward_gain = kDirections == 2 ? gain_[1][pair.source.begin + std::size_t{at.position}] : 0.0f;
    (kDirections == 2 ? occurrence_weights_2 : occurrence_weights_1)(
        pair, at.position, gain_[0].data() + pair.target.begin, backward_gain, worker.weights.data());
    add(worker.weights.data(), bitext_.words[1].data() + pair.target.begin, length);
  }
}

// Adds prior/Z of every occurrence of a word to the sums of its row.
template <int kDirections>
void Trainer::add_occurrences(const Tile& tile, std::size_t word, Worker& worker, RowNumbers& numberings,
                              double* sums) const {
  if (tile.first[word] == tile.first[word + 1]) return;
  const auto add = [&](std::size_t number, const float* weight) {
    double* const sum = sums + number * kDirections;
    for (int d = 0; d < kDirections; ++d) sum[d] += weight[d];
  };
  if (tile.has_lists()) {
    tile.numbers(tile.begins[word], word, [&](auto numbers) {  // and all behind it
      for_each_occurrence<kDirections>(tile, word, worker, [&](const float* weights, const Word*, std::size_t length) {
        for (std::size_t j = 0; j < length; ++j) add(numbers[j], weights + j * kDirections);
        numbers += length;
      });
    });
    return;
  }
  const TTable& table = model_.table;
  const std::uint64_t row = table.rows[tile.words.begin + word];
  numberings.begin_row(table.columns.data() + row, table.rows[tile.words.begin + word + 1] - row);
  for_each_occurrence<kDirections>(tile, word, worker,
                                   [&](const float* weights, const Word* target, std::size_t length) {
                                     for (std::size_t j = 0; j < length; ++j)
                                       add(numberings.find(target[j]), weights + j * kDirections);
                                   });
}

// Counts of one row from its sums of prior/Z: forward into `row`, backward in place of t.
template <int kDirections>
WEAM_INLINE void row_counts(const double* __restrict sums, std::size_t size, float* __restrict t,
                            double* __restrict row) {
  for (std::size_t k = 0; k < size; ++k) {
    row[k] = sums[k * kDirections] * t[k * kDirections];
    if (kDirections == 2) t[k * 2 + 1] = static_cast<float>(sums[k * 2 + 1] * t[k * 2 + 1]);
  }
}

WEAM_CLONES void row_counts_1(const double* sums, std::size_t size, float* t, double* row) {
  row_counts<1>(sums, size, t, row);
}
WEAM_CLONES void row_counts_2(const double* sums, std::size_t size, float* t, double* row) {
  row_counts<2>(sums, size, t, row);
}

// Counts of both directions from the sums of a row. The forward row is normalised at once; the backward counts replace
// t in place until their column sums are known.
void Trainer::finish_row(Word word, const double* sums, Worker& worker) {
  TTable& table = model_.table;
  const std::size_t size = table.rows[word + 1] - table.rows[word];
  float* const t = table.t.data() + table.rows[word] * directions_;
  worker.row.resize(std::max(worker.row.size(), size));
  double* const row = worker.row.data();
  (directions_ == 2 ? row_counts_2 : row_counts_1)(sums, size, t, row);
  if (!old_counts_.empty() && word < init_->table.sources()) {
    const std::uint64_t begin = init_->table.rows[word], end = init_->table.rows[word + 1];
    for (std::uint64_t cell = begin; cell < end; ++cell) {
      row[cell - begin] += old_counts_[cell * directions_];
      if (directions_ == 2) t[(cell - begin) * 2 + 1] += old_counts_[cell * 2 + 1];
    }
  }
  if (directions_ == 2) {
    const Word* const columns = table.columns.data() + table.rows[word];
    for (std::size_t k = 0; k < size; ++k) worker.columns[columns[k]].add(t[k * 2 + 1]);
  }
  double total = 0;
  for (std::size_t k = 0; k < size; ++k) total += row[k];
  model_.totals[0][word] = total;
  normalize(model_.settings, row, size, total);
  for (std::size_t k = 0; k < size; ++k) t[k * directions_] = static_cast<float>(row[k]);
}

void Trainer::update_backward() {
  std::vector<double> scales(target_words_);
  model_.totals[1].resize(target_words_);
  for (std::size_t f = 0; f < target_words_; ++f) {
    FixedSum sum;
    for (const Worker& worker : workers_) sum.add(worker.columns[f]);
    model_.totals[1][f] = sum.value();
    scales[f] = normalizer(model_.settings, sum.value(), column_cells_[f]);
  }
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
    table.columns.release_pages(begin, end);
    table.t.release_pages(begin * 2, end * 2);
  });
}

void Trainer::update_null(int d) {
  if (!model_.settings.null_word && model_.null_totals[d] == 0) return;  // it stays unseen
  weam::update_null(model_, d, old_counts_.empty() ? nullptr : init_, [&](std::size_t word) {
    FixedSum sum;
    for (const Worker& worker : workers_) sum.add(worker.nulls[d][word]);
    return sum.value();
  });
}

}  // namespace

DiagonalModel fit_diagonal(Bitext& bitext, int directions, const DiagonalSettings& settings,
                           const TrainOptions& options, const DiagonalModel* init, const Sink& sink) {
  DiagonalModel model;
  model.settings = settings;
  model.table.directions = directions;
  Trainer(bitext, options, init, model).train(sink, true);
  return model;
}

DiagonalStart start_diagonal(Bitext& bitext, const DiagonalSettings& settings, const Hints& hints,
                             const TrainOptions& options, const DiagonalModel* init) {
  DiagonalStart start;
  start.model.settings = settings;
  start.model.table.directions = 2;
  Trainer trainer(bitext, options, init, start.model);
  start.hinted = hinted_cells(start.model.table, hints, init ? &init->table : nullptr, options.parallel);
  if (!init) trainer.favor(start.hinted);
  trainer.train(Sink(), false);
  start.index = trainer.take_index();
  return start;
}

}  // namespace weam
