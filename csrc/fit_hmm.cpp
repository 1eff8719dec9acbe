#include "fit_hmm.h"

#include "fertility.h"
#include "update.h"

namespace weam {

namespace {

// Expected counts are whole numbers of 2^-24: they add up in any order, and most of a pair's cells add nothing.
constexpr double kUnit = 0x1p-24;
// Jumps have so few parameters that this many pairs tell them.
constexpr std::size_t kJumpPairs = 20000;

std::uint64_t in_units(double count) { return static_cast<std::uint64_t>(count / kUnit + 0.5); }

struct Worker {
  Chain chains[2];
  std::vector<std::uint64_t> cells;
  std::vector<float> linked[2];        // of each generated word, what its links count
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
  void set_counts();
  void expect();
  void expect_pair(std::size_t k, std::size_t chunk, const Tile& tile, int thread);
  void count_links(std::size_t k, const Tile& tile, Worker& worker);
  void count_nulls(std::size_t k, std::size_t chunk, int d, int thread);
  void update_words();
  void update_fertility(int d);

  const Bitext& bitext_;
  const TrainOptions& options_;
  const Parallel& parallel_;
  const DiagonalModel* const init_;
  HmmModel& model_;
  TTable& table_;
  const std::size_t target_words_;
  const Blocks blocks_;
  const std::shared_ptr<const Tile> index_;
  const std::vector<CellCount> hinted_;
  const std::vector<double> column_cells_;
  const std::size_t jump_stride_;
  std::vector<Worker> workers_;
  std::vector<RowNumbers> numberings_;
  Array<std::uint64_t> counts_;
  std::vector<std::uint64_t> old_counts_;  // of the cells of init
  std::vector<WordSums> nulls_;            // by direction: of each generated word
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
      table_(model.base.table),
      target_words_(options.vocabulary[1]),
      blocks_(bitext, options.layout.tile_bytes),
      index_(std::move(start.index)),
      hinted_(std::move(start.hinted)),
      column_cells_(count_columns(table_, target_words_, parallel_)),
      jump_stride_((bitext.size() + kJumpPairs - 1) / kJumpPairs),
      workers_(parallel_.threads),
      numberings_(index_ ? 0 : parallel_.threads, RowNumbers(target_words_)),
      nulls_(2, WordSums(parallel_.threads)),
      gate_(options.layout.pair_bytes) {
  for (int d = 0; d < 2; ++d) old_fertilities_[d] = model.fertility[d].counts;
  if (!options.layout.directory.empty()) counts_.move_to_file(options.layout.directory);
  counts_.resize(table_.cells());
  if (!init || init->totals[0].empty()) return;
  const std::vector<float> counts = recover_counts(*init, target_words_, parallel_);
  for (std::size_t cell = 0; cell < init->table.cells(); ++cell) old_counts_.push_back(in_units(counts[cell * 2]));
}

void HmmTrainer::train() {
  for (int iteration = 0; iteration < model_.settings.iterations; ++iteration) {
    expect();
    update_words();
    for (int d = 0; d < 2; ++d) {
      if (model_.settings.fertility) update_fertility(d);
      update_null(model_.base, d, old_counts_.empty() ? nullptr : init_, nulls_[d]);
    }
    if (options_.progress) options_.progress(model_.base);
  }
}

// Counts begin with those of init, whose cells come first in each row, and with what the others have beforehand.
void HmmTrainer::set_counts() {
  parallel_.for_each(split_evenly(table_.sources()), [&](std::size_t e, int) {
    std::uint64_t* const row = counts_.data() + table_.rows[e];
    std::fill_n(row, table_.row(e).size(), 0);
    if (old_counts_.empty() || e >= init_->table.sources()) return;
    std::copy_n(old_counts_.data() + init_->table.rows[e], init_->table.row(e).size(), row);
  });
  for (const CellCount& hint : hinted_) counts_[hint.cell] += in_units(hint.count);
}

void HmmTrainer::expect() {
  set_counts();
  for (int d = 0; d < 2; ++d) {
    nulls_[d].clear(table_.null_row[d].size());
    if (model_.settings.fertility) fertilities_[d].assign(options_.vocabulary[given_side(d)] * kFertilities, 0);
    measures_[d].assign(blocks_.chunks(), Measures());
    jumps_[d].assign(blocks_.chunks(), JumpCounts());
  }
  for (const Range block : blocks_.list()) {
    std::optional<Tile> made;
    if (!index_) {
      made = list_cells(bitext_, {0, table_.sources()}, blocks_.pairs(block), table_, numberings_, parallel_);
    }
    const Tile& tile = index_ ? *index_ : *made;
    blocks_.run(block, parallel_, [&](std::size_t k, std::size_t chunk, int thread) {
      if (bitext_.pairs[k].sides[0].length > 0) expect_pair(k, chunk, tile, thread);
    });
  }
  for (int d = 0; d < 2; ++d) {
    JumpCounts jumps;
    for (const JumpCounts& part : jumps_[d]) jumps.add(part);
    model_.jumps[d] = jumps.weights();
    record(model_.base, d, measures_[d], bitext_.words[generated_side(d)].size());
  }
}

void HmmTrainer::expect_pair(std::size_t k, std::size_t chunk, const Tile& tile, int thread) {
  Worker& worker = workers_[thread];
  const LongPair long_pair(gate_, bitext_.pairs[k], worker.chains);
  load_pair(model_, &tile, bitext_, k, worker.chains, worker.cells);
  for (int d = 0; d < 2; ++d) {
    Chain& chain = worker.chains[d];
    const Word* const given = bitext_.sentence(given_side(d), k);
    JumpCounts* const jumps = k % jump_stride_ == 0 ? &jumps_[d][chunk] : nullptr;
    measures_[d][chunk].log_likelihood += run(model_, d, given, chain, jumps);
    if (model_.settings.fertility) count_fertility(given, chain, kUnit, fertilities_[d].data());
  }
  count_links(k, tile, worker);
  for (int d = 0; d < 2; ++d) count_nulls(k, chunk, d, thread);
}

// Adds the product of the two posteriors of every cell to its count.
void HmmTrainer::count_links(std::size_t k, const Tile& tile, Worker& worker) {
  const Chain &forward = worker.chains[0], &backward = worker.chains[1];
  const Word* const sentence = bitext_.sentence(0, k);
  const std::size_t target = forward.generated(), width = forward.width();
  worker.linked[0].assign(target, 0.0f);
  worker.linked[1].assign(backward.generated(), 0.0f);
  const Range entries = tile.entries_of(k);
  for (std::uint64_t entry = entries.begin; entry < entries.end; ++entry) {
    const std::size_t i = tile.position[entry];
    const float* const column = forward.posterior(0) + i + 1;
    const float* const row = backward.posterior(i) + 1;
    std::uint64_t* const counts = counts_.data() + table_.rows[sentence[i]];
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

void HmmTrainer::count_nulls(std::size_t k, std::size_t chunk, int d, int thread) {
  const Word* const words = bitext_.sentence(generated_side(d), k);
  const std::vector<float>& linked = workers_[thread].linked[d];
  FixedSum* const nulls = nulls_[d].part(thread);
  double sum = measures_[d][chunk].null;
  for (std::size_t n = 0; n < linked.size(); ++n) {
    const double left = std::max(0.0f, 1.0f - linked[n]);
    nulls[words[n]].add(left);
    sum += left;
  }
  measures_[d][chunk].null = sum;
}

void HmmTrainer::update_words() {
  const DiagonalSettings& settings = model_.base.settings;
  std::vector<double>* const totals = model_.base.totals;
  totals[0].assign(table_.sources(), 0.0);
  for (Worker& worker : workers_) worker.columns.assign(target_words_, 0);
  const Bounds bounds = split_by_weight(table_.rows);
  parallel_.for_each(bounds, [&](std::size_t e, int thread) {
    std::uint64_t sum = 0;
    for (const std::uint64_t cell : table_.row(e)) {
      sum += counts_[cell];
      workers_[thread].columns[table_.columns[cell]] += counts_[cell];
    }
    totals[0][e] = static_cast<double>(sum) * kUnit;
  });
  totals[1].assign(target_words_, 0.0);
  std::vector<double> scales(target_words_);
  for (std::size_t f = 0; f < target_words_; ++f) {
    std::uint64_t sum = 0;
    for (const Worker& worker : workers_) sum += worker.columns[f];
    totals[1][f] = static_cast<double>(sum) * kUnit;
    scales[f] = normalizer(settings, totals[1][f], column_cells_[f]);
  }
  parallel_.for_each(bounds, [&](std::size_t e, int) {
    const std::uint64_t begin = table_.rows[e], size = table_.row(e).size();
    normalize_cells(table_.t_of(begin), counts_.data() + begin, table_.columns.data() + begin, size, settings.alpha,
                    normalizer(settings, totals[0][e], static_cast<double>(size)), scales.data());
  });
}

void HmmTrainer::update_fertility(int d) {
  Fertility& fertility = model_.fertility[d];
  fertility.counts.assign(fertilities_[d].size(), 0.0);
  for (std::size_t k = 0; k < fertilities_[d].size(); ++k) {
    const double old = k < old_fertilities_[d].size() ? old_fertilities_[d][k] : 0.0;
    fertility.counts[k] = static_cast<double>(fertilities_[d][k]) * kUnit + old;
  }
  weam::update_fertility(fertility);
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
