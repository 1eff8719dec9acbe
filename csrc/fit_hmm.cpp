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

struct HmmTrainer {
  void train();
  void take_counts();
  void set_counts();
  void expect();
  void expect_pair(std::size_t k, std::size_t chunk, const Tile& tile, int thread);
  void count_links(std::size_t k, const Tile& tile, Worker& worker);
  void count_nulls(std::size_t k, std::size_t chunk, int d, int thread);
  void update_words();
  void update_fertility(int d);

  const Bitext& bitext;
  const TrainOptions& options;
  const DiagonalModel* const init;
  const DiagonalStart& start;  // its model has been taken
  HmmModel& model;

  TTable& table = model.base.table;
  const Parallel& parallel = options.parallel;
  const std::size_t target_words = options.vocabulary[1];
  const Blocks blocks{bitext, options.layout.tile_bytes};
  const std::size_t jump_stride = (bitext.size() + kJumpPairs - 1) / kJumpPairs;
  const std::vector<double> column_cells = count_columns(table, target_words, parallel);
  std::vector<Worker> workers = std::vector<Worker>(parallel.threads);
  std::vector<RowNumbers> numberings = std::vector(start.index ? 0 : parallel.threads, RowNumbers(target_words));
  Array<std::uint64_t> counts = {};
  std::vector<std::uint64_t> old_counts = {};                // of the cells of init
  WordSums nulls[2] = {parallel.threads, parallel.threads};  // by generated word
  std::vector<std::uint64_t> fertilities[2] = {};
  std::vector<double> old_fertilities[2] = {model.fertility[0].counts, model.fertility[1].counts};  // of init
  std::vector<Measures> measures[2] = {};                                                           // by chunk
  std::vector<JumpCounts> jumps[2] = {};
  Gate gate{options.layout.pair_bytes};
};

void HmmTrainer::take_counts() {
  if (!options.layout.directory.empty()) counts.move_to_file(options.layout.directory);
  counts.resize(table.cells());
  if (!init || init->totals[0].empty()) return;
  const std::vector<float> known = recover_counts(*init, target_words, parallel);
  for (std::size_t cell = 0; cell < init->table.cells(); ++cell) old_counts.push_back(in_units(known[cell * 2]));
}

void HmmTrainer::train() {
  take_counts();
  for (int iteration = 0; iteration < model.settings.iterations; ++iteration) {
    expect();
    update_words();
    for (int d = 0; d < 2; ++d) {
      if (model.settings.fertility) update_fertility(d);
      update_null(model.base, d, old_counts.empty() ? nullptr : init, nulls[d]);
    }
    if (options.progress) options.progress(model.base);
  }
}

// Counts begin with those of init, whose cells come first in each row, and with what the others have beforehand.
void HmmTrainer::set_counts() {
  parallel.for_each(split_evenly(table.sources()), [&](std::size_t e, int) {
    std::uint64_t* const row = counts.data() + table.rows[e];
    std::fill_n(row, table.row(e).size(), 0);
    if (old_counts.empty() || e >= init->table.sources()) return;
    std::copy_n(old_counts.data() + init->table.rows[e], init->table.row(e).size(), row);
  });
  for (const CellCount& hint : start.hinted) counts[hint.cell] += in_units(hint.count);
}

void HmmTrainer::expect() {
  set_counts();
  for (int d = 0; d < 2; ++d) {
    nulls[d].clear(table.null_row[d].size());
    if (model.settings.fertility) fertilities[d].assign(options.vocabulary[given_side(d)] * kFertilities, 0);
    measures[d].assign(blocks.chunks(), Measures());
    jumps[d].assign(blocks.chunks(), JumpCounts());
  }
  for (const Range block : blocks.list()) {
    std::optional<Tile> made;
    if (!start.index) {
      made = list_cells(bitext, {0, table.sources()}, blocks.pairs(block), table, numberings, parallel);
    }
    const Tile& tile = start.index ? *start.index : *made;
    blocks.run(block, parallel, [&](std::size_t k, std::size_t chunk, int thread) {
      if (bitext.pairs[k].sides[0].length > 0) expect_pair(k, chunk, tile, thread);
    });
  }
  for (int d = 0; d < 2; ++d) {
    JumpCounts whole;
    for (const JumpCounts& part : jumps[d]) whole.add(part);
    model.jumps[d] = whole.weights();
    record(model.base, d, measures[d], bitext.words[generated_side(d)].size());
  }
}

void HmmTrainer::expect_pair(std::size_t k, std::size_t chunk, const Tile& tile, int thread) {
  Worker& worker = workers[thread];
  const LongPair long_pair(gate, bitext.pairs[k], worker.chains);
  load_pair(model, &tile, bitext, k, worker.chains, worker.cells);
  for (int d = 0; d < 2; ++d) {
    Chain& chain = worker.chains[d];
    const Word* const given = bitext.sentence(given_side(d), k);
    JumpCounts* const counted = k % jump_stride == 0 ? &jumps[d][chunk] : nullptr;
    measures[d][chunk].log_likelihood += run(model, d, given, chain, counted);
    if (model.settings.fertility) count_fertility(given, chain, kUnit, fertilities[d].data());
  }
  count_links(k, tile, worker);
  for (int d = 0; d < 2; ++d) count_nulls(k, chunk, d, thread);
}

// Adds the product of the two posteriors of every cell to its count.
void HmmTrainer::count_links(std::size_t k, const Tile& tile, Worker& worker) {
  const Chain &forward = worker.chains[0], &backward = worker.chains[1];
  const Word* const sentence = bitext.sentence(0, k);
  const std::size_t target = forward.generated(), width = forward.width();
  worker.linked[0].assign(target, 0.0f);
  worker.linked[1].assign(backward.generated(), 0.0f);
  const Range entries = tile.entries_of(k);
  for (std::uint64_t entry = entries.begin; entry < entries.end; ++entry) {
    const std::size_t i = tile.position[entry];
    const float* const column = forward.posterior(0) + i + 1;
    const float* const row = backward.posterior(i) + 1;
    std::uint64_t* const cells = counts.data() + table.rows[sentence[i]];
    tile.numbers(tile.list[entry], sentence[i] - tile.words.begin, [&](auto numbers) {
      for (std::size_t j = 0; j < target; ++j) {
        const float both = column[j * width] * row[j];
        const auto units =
            static_cast<std::uint64_t>(static_cast<std::int64_t>(both * static_cast<float>(1 / kUnit) + 0.5f));
        if (units == 0) continue;
        add_relaxed(cells[numbers[j]], units);
        worker.linked[0][j] += both;
        worker.linked[1][i] += both;
      }
    });
  }
}

void HmmTrainer::count_nulls(std::size_t k, std::size_t chunk, int d, int thread) {
  const Word* const words = bitext.sentence(generated_side(d), k);
  const std::vector<float>& linked = workers[thread].linked[d];
  FixedSum* const sums = nulls[d].part(thread);
  double sum = measures[d][chunk].null;
  for (std::size_t n = 0; n < linked.size(); ++n) {
    const double left = std::max(0.0f, 1.0f - linked[n]);
    sums[words[n]].add(left);
    sum += left;
  }
  measures[d][chunk].null = sum;
}

void HmmTrainer::update_words() {
  const DiagonalSettings& settings = model.base.settings;
  std::vector<double>* const totals = model.base.totals;
  totals[0].assign(table.sources(), 0.0);
  for (Worker& worker : workers) worker.columns.assign(target_words, 0);
  const Bounds bounds = split_by_weight(table.rows);
  parallel.for_each(bounds, [&](std::size_t e, int thread) {
    std::uint64_t sum = 0;
    for (const std::uint64_t cell : table.row(e)) {
      sum += counts[cell];
      workers[thread].columns[table.columns[cell]] += counts[cell];
    }
    totals[0][e] = static_cast<double>(sum) * kUnit;
  });
  totals[1].assign(target_words, 0.0);
  std::vector<double> scales(target_words);
  for (std::size_t f = 0; f < target_words; ++f) {
    std::uint64_t sum = 0;
    for (const Worker& worker : workers) sum += worker.columns[f];
    totals[1][f] = static_cast<double>(sum) * kUnit;
    scales[f] = normalizer(settings, totals[1][f], column_cells[f]);
  }
  parallel.for_each(bounds, [&](std::size_t e, int) {
    const std::uint64_t begin = table.rows[e], size = table.row(e).size();
    normalize_cells(table.t_of(begin), counts.data() + begin, table.columns.data() + begin, size, settings.alpha,
                    normalizer(settings, totals[0][e], static_cast<double>(size)), scales.data());
  });
}

void HmmTrainer::update_fertility(int d) {
  Fertility& fertility = model.fertility[d];
  fertility.counts.assign(fertilities[d].size(), 0.0);
  for (std::size_t k = 0; k < fertilities[d].size(); ++k) {
    const double old = k < old_fertilities[d].size() ? old_fertilities[d][k] : 0.0;
    fertility.counts[k] = static_cast<double>(fertilities[d][k]) * kUnit + old;
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
  HmmTrainer{bitext, options, base, started, model}.train();
  return model;
}

}  // namespace weam
