#include "fit_hmm.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "fertility.h"
#include "fixed_sum.h"
#include "numeric.h"
#include "update.h"

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;
// Expected counts are whole numbers of 2^-24: they add up in any order, and most of a pair's cells add nothing.
constexpr double kUnit = 0x1p-24;
// Jumps have so few parameters that this many pairs tell them.
constexpr std::size_t kJumpPairs = 20000;

struct Measures {
  double log_likelihood = 0, null = 0;
};

struct Worker {
  Chain chains[2];
  std::vector<std::uint64_t> cells;
  std::vector<float> linked[2];        // of each generated word, what its links count
  std::vector<FixedSum> nulls[2];      // by generated word
  std::vector<std::uint64_t> columns;  // by target word: its counts
};

WEAM_CLONES void normalize_cells(float* __restrict t, const std::uint64_t* __restrict counts,
                                 const Word* __restrict columns, std::size_t size, double alpha, double row,
                                 const double* __restrict scales) {
  for (std::size_t cell = 0; cell < size; ++cell) {
    const double count = static_cast<double>(static_cast<std::int64_t>(counts[cell])) * kUnit;
    const double value = exp_digamma(count + alpha);
    t[cell * 2] = static_cast<float>(value * row);
    t[cell * 2 + 1] = static_cast<float>(value * scales[columns[cell]]);
  }
}

class HmmTrainer {
 public:
  HmmTrainer(const Bitext& bitext, const TrainOptions& options, DiagonalStart&& start, const DiagonalModel* init,
             HmmModel& model);
  void train();

 private:
  const Array<Word>& generated(int d) const { return bitext_.words[1 - d]; }
  void set_counts(const DiagonalModel* init);
  void expect();
  void expect_block(Range block, const Tile& tile);
  void expect_pair(std::size_t k, const Tile& tile, Worker& worker, Measures* measures, JumpCounts* jumps);
  void count_links(std::size_t k, const Tile& tile, Worker& worker);
  void count_nulls(std::size_t k, Worker& worker, Measures* measures);
  void update_words();
  void update_fertilities();

  const Bitext& bitext_;
  const TrainOptions& options_;
  const Parallel& parallel_;
  const DiagonalModel* const init_;
  HmmModel& model_;
  std::vector<std::size_t> pair_chunks_;
  std::vector<Range> blocks_;
  std::optional<Tile> index_;
  std::vector<CellCount> hinted_;
  std::vector<Worker> workers_;
  std::vector<RowNumbers> numberings_;
  Array<std::uint64_t> counts_;
  std::vector<std::uint64_t> old_counts_;  // of the cells of init
  std::vector<double> column_cells_;
  std::vector<std::uint64_t> fertilities_[2];
  std::vector<double> old_fertilities_[2];  // of init
  std::vector<Measures> measures_[2];       // by chunk
  std::vector<JumpCounts> jumps_[2];
  Gate gate_;
};

HmmTrainer::HmmTrainer(const Bitext& bitext, const TrainOptions& options, DiagonalStart&& start,
                       const DiagonalModel* init, HmmModel& model)
    : bitext_(bitext),
      options_(options),
      parallel_(options.parallel),
      init_(init),
      model_(model),
      pair_chunks_(chunk_pairs(bitext)),
      blocks_(
          cut_pairs(bitext, pair_chunks_, options.layout.keep_index ? Layout::kUnlimited : options.layout.tile_bytes)),
      index_(std::move(start.index)),
      hinted_(std::move(start.hinted)),
      workers_(parallel_.threads),
      gate_(options.layout.pair_bytes) {
  const TTable& table = model.base.table;
  const std::size_t target_words = table.null_row[0].size();
  if (!index_) numberings_.assign(parallel_.threads, RowNumbers(target_words));
  column_cells_ = count_columns(table, target_words, parallel_);
  for (int d = 0; d < 2; ++d) old_fertilities_[d] = model.fertility[d].counts;
  if (!options.layout.directory.empty()) counts_.move_to_file(options.layout.directory);
  counts_.resize(table.cells());
  if (init && !init->totals[0].empty()) {
    const std::vector<float> counts = recover_counts(*init, target_words, parallel_);
    for (std::size_t cell = 0; cell < init->table.cells(); ++cell) {
      old_counts_.push_back(static_cast<std::uint64_t>(counts[cell * 2] / kUnit + 0.5));
    }
  }
}

void HmmTrainer::train() {
  for (int iteration = 0; iteration < model_.settings.iterations; ++iteration) {
    expect();
    update_words();
    if (model_.settings.fertility) update_fertilities();
    for (int d = 0; d < 2; ++d) {
      update_null(model_.base, d, old_counts_.empty() ? nullptr : init_, [&](std::size_t word) {
        FixedSum sum;
        for (const Worker& worker : workers_) sum.add(worker.nulls[d][word]);
        return sum.value();
      });
    }
    if (options_.progress) options_.progress(model_.base);
  }
}

// Counts begin with those of init, whose cells come first in each row, and with what the others have beforehand.
void HmmTrainer::set_counts(const DiagonalModel* init) {
  const TTable& table = model_.base.table;
  parallel_.run(kChunks, [&](std::size_t chunk, int) {
    for (std::size_t e = table.sources() * chunk / kChunks; e < table.sources() * (chunk + 1) / kChunks; ++e) {
      std::uint64_t* const row = counts_.data() + table.rows[e];
      std::fill(row, counts_.data() + table.rows[e + 1], 0);
      if (old_counts_.empty() || e >= init->table.sources()) continue;
      const std::uint64_t begin = init->table.rows[e], end = init->table.rows[e + 1];
      std::copy(old_counts_.data() + begin, old_counts_.data() + end, row);
    }
  });
  for (const CellCount& hint : hinted_) counts_[hint.cell] += static_cast<std::uint64_t>(hint.count / kUnit + 0.5);
}

void HmmTrainer::expect() {
  set_counts(init_);
  const TTable& table = model_.base.table;
  for (Worker& worker : workers_) {
    for (int d = 0; d < 2; ++d) worker.nulls[d].assign(table.null_row[d].size(), FixedSum());
  }
  for (int d = 0; d < 2; ++d) {
    if (model_.settings.fertility) fertilities_[d].assign(table.null_row[1 - d].size() * kFertilities, 0);
    measures_[d].assign(pair_chunks_.size() - 1, Measures());
    jumps_[d].assign(pair_chunks_.size() - 1, JumpCounts());
  }
  if (index_) {
    expect_block({0, pair_chunks_.size() - 1}, *index_);
  } else {
    for (const Range block : blocks_) {
      if (parallel_.poll) parallel_.poll();
      Tile tile = list_occurrences(bitext_, {0, table.sources()}, {pair_chunks_[block.begin], pair_chunks_[block.end]});
      add_lists(tile, bitext_, table, numberings_, parallel_);
      expect_block(block, tile);
    }
  }
  for (int d = 0; d < 2; ++d) {
    Measures whole;
    for (const Measures& part : measures_[d]) {
      whole.log_likelihood += part.log_likelihood;
      whole.null += part.null;
    }
    JumpCounts jumps;
    for (const JumpCounts& part : jumps_[d]) jumps.add(part);
    model_.jumps[d] = jumps.weights();
    const double tokens = static_cast<double>(generated(d).size());
    model_.base.history[d].push_back({whole.log_likelihood, std::exp(-whole.log_likelihood / tokens),
                                      whole.null / tokens, 0, model_.base.tension[d]});
  }
}

void HmmTrainer::expect_block(Range block, const Tile& tile) {
  const std::size_t stride = (bitext_.size() + kJumpPairs - 1) / kJumpPairs;
  parallel_.run(block.size(), [&](std::size_t part, int thread) {
    const std::size_t chunk = block.begin + part;
    Measures measures[2];
    JumpCounts jumps[2];
    for (std::size_t k = pair_chunks_[chunk]; k < pair_chunks_[chunk + 1]; ++k) {
      if (bitext_.pairs[k].sides[0].length == 0) continue;
      expect_pair(k, tile, workers_[thread], measures, k % stride == 0 ? jumps : nullptr);
    }
    for (int d = 0; d < 2; ++d) {
      measures_[d][chunk] = measures[d];
      jumps_[d][chunk] = jumps[d];
    }
  });
}

void HmmTrainer::expect_pair(std::size_t k, const Tile& tile, Worker& worker, Measures* measures, JumpCounts* jumps) {
  const LongPair long_pair(gate_, bitext_.pairs[k], worker.chains);
  load_pair(model_, &tile, bitext_, k, worker.chains, worker.cells);
  for (int d = 0; d < 2; ++d) {
    Chain& chain = worker.chains[d];
    const Word* const given = bitext_.sentence(d, k);
    measures[d].log_likelihood += run(model_, d, given, chain, jumps ? &jumps[d] : nullptr);
    if (model_.settings.fertility) count_fertility(given, chain, kUnit, fertilities_[d].data());
  }
  count_links(k, tile, worker);
  count_nulls(k, worker, measures);
}

// Adds the product of the two posteriors of every cell to its count.
void HmmTrainer::count_links(std::size_t k, const Tile& tile, Worker& worker) {
  const TTable& table = model_.base.table;
  const Chain &forward = worker.chains[0], &backward = worker.chains[1];
  const Word* const sentence = bitext_.sentence(0, k);
  const std::size_t target = forward.generated(), width = forward.width();
  worker.linked[0].assign(target, 0.0f);
  worker.linked[1].assign(backward.generated(), 0.0f);
  for (std::uint64_t entry = tile.entries[k - tile.pairs.begin]; entry < tile.entries[k - tile.pairs.begin + 1];
       ++entry) {
    const std::size_t i = tile.position[entry];
    const float* const column = forward.posterior(0) + i + 1;
    const float* const row = backward.posterior(i) + 1;
    std::uint64_t* const counts = counts_.data() + table.rows[sentence[i]];
    tile.numbers(tile.list[entry], sentence[i] - tile.words.begin, [&](auto numbers) {
      for (std::size_t j = 0; j < target; ++j) {
        const float both = column[j * width] * row[j];
        const auto units =
            static_cast<std::uint64_t>(static_cast<std::int64_t>(both * static_cast<float>(1 / kUnit) + 0.5f));
        if (units == 0) continue;
        add_relaxed(counts[numbers[j]], units);
        worker.linked[0][j] += both;
        worker.linked[1][i] += both;
      }
    });
  }
}

void HmmTrainer::count_nulls(std::size_t k, Worker& worker, Measures* measures) {
  for (int d = 0; d < 2; ++d) {
    const Word* const words = bitext_.sentence(1 - d, k);
    for (std::size_t n = 0; n < worker.chains[d].generated(); ++n) {
      const double left = std::max(0.0f, 1.0f - worker.linked[d][n]);
      worker.nulls[d][words[n]].add(left);
      measures[d].null += left;
    }
  }
}

void HmmTrainer::update_words() {
  TTable& table = model_.base.table;
  const DiagonalSettings& settings = model_.base.settings;
  const std::size_t target_words = table.null_row[0].size();
  std::vector<double>* const totals = model_.base.totals;
  totals[0].assign(table.sources(), 0.0);
  for (Worker& worker : workers_) worker.columns.assign(target_words, 0);
  const std::vector<std::size_t> bounds = split_evenly(table.rows, kChunks);
  parallel_.run(bounds.size() - 1, [&](std::size_t chunk, int thread) {
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      std::uint64_t sum = 0;
      for (std::uint64_t cell = table.rows[e]; cell < table.rows[e + 1]; ++cell) {
        sum += counts_[cell];
        workers_[thread].columns[table.columns[cell]] += counts_[cell];
      }
      totals[0][e] = static_cast<double>(sum) * kUnit;
    }
  });
  totals[1].assign(target_words, 0.0);
  std::vector<double> scales(target_words);
  for (std::size_t f = 0; f < target_words; ++f) {
    std::uint64_t sum = 0;
    for (const Worker& worker : workers_) sum += worker.columns[f];
    totals[1][f] = static_cast<double>(sum) * kUnit;
    scales[f] = normalizer(settings, totals[1][f], column_cells_[f]);
  }
  parallel_.run(bounds.size() - 1, [&](std::size_t chunk, int) {
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      const std::uint64_t begin = table.rows[e], size = table.rows[e + 1] - begin;
      normalize_cells(table.t.data() + begin * 2, counts_.data() + begin, table.columns.data() + begin, size,
                      settings.alpha, normalizer(settings, totals[0][e], static_cast<double>(size)), scales.data());
    }
  });
}

void HmmTrainer::update_fertilities() {
  for (int d = 0; d < 2; ++d) {
    Fertility& fertility = model_.fertility[d];
    fertility.counts.assign(fertilities_[d].size(), 0.0);
    for (std::size_t k = 0; k < fertilities_[d].size(); ++k) {
      const double old = k < old_fertilities_[d].size() ? old_fertilities_[d][k] : 0.0;
      fertility.counts[k] = static_cast<double>(fertilities_[d][k]) * kUnit + old;
    }
    update_fertility(fertility);
  }
}

}  // namespace

HmmModel fit_hmm(Bitext& bitext, const HmmSettings& settings, const Hints& hints, const TrainOptions& options,
                 const HmmModel* init) {
  HmmModel model;
  model.settings = settings;
  DiagonalSettings start;
  start.iterations = settings.start_iterations;
  const DiagonalModel* const base = init ? &init->base : nullptr;
  DiagonalStart started = start_diagonal(bitext, start, hints, options, base);
  model.base = std::move(started.model);
  model.base.settings = trained_settings(settings);
  for (int d = 0; init && d < 2; ++d) {
    model.jumps[d] = init->jumps[d];
    if (settings.fertility) model.fertility[d] = init->fertility[d];
  }
  HmmTrainer(bitext, options, std::move(started), base, model).train();
  return model;
}

}  // namespace weam
