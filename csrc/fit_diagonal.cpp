#include "fit_diagonal.h"

#include <map>

#include "diagonal_training.h"

namespace weam {

namespace {

// Every t, and the tensions, as before the first update.
void set_unseen(const TrainingText& text, DiagonalModel& model) {
  TTable& table = model.table;
  text.parallel.run_ranges(split_evenly(table.t.size()), [&](Range range, std::size_t, int) {
    std::fill(table.t.begin() + range.begin, table.t.begin() + range.end, kUnseen);
  });
  table.t.release_pages();
  for (int d = 0; d < table.directions; ++d) {
    table.null_row[d].assign(text.vocabulary[generated_side(d)], kUnseen);
    model.tension[d] = model.settings.favor_diagonal ? model.settings.tension : 0.0;
  }
}

// Those of a model, whose cells come first in each row.
void take_start(const TrainingText& text, const DiagonalModel& init, DiagonalModel& model) {
  TTable& table = model.table;
  const TTable& old = init.table;
  text.parallel.for_each(split_evenly(old.sources()), [&](std::size_t e, int) {
    std::copy_n(old.t_of(old.rows[e]), old.row(e).size() * table.directions, table.t_of(table.rows[e]));
  });
  for (int d = 0; d < table.directions; ++d) {
    std::ranges::copy(old.null_row[d], table.null_row[d].begin());
    model.totals[d] = init.totals[d];
    model.totals[d].resize(init.totals[d].empty() ? 0 : text.vocabulary[given_side(d)], 0.0);
    model.null_totals[d] = init.null_totals[d];
    if (!model.settings.favor_diagonal) continue;
    model.tension[d] = init.settings.favor_diagonal ? init.tension[d] : init.settings.tension;
  }
}

// How many pairs have which lengths, by direction; sets the mean ratios of lengths.
std::array<std::vector<SizeCount>, 2> count_sizes(const Bitext& bitext, DiagonalModel& model) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, double> pairs;
  double usable = 0, ratios[2] = {0, 0};
  for (const Pair& pair : bitext.pairs) {
    const std::uint32_t source = pair.sides[0].length, target = pair.sides[1].length;
    if (source == 0) continue;
    ++pairs[{target, source}];
    ++usable;
    ratios[0] += 1.0 * target / source;
    ratios[1] += 1.0 * source / target;
  }
  std::array<std::vector<SizeCount>, 2> sizes;
  for (const auto& [lengths, count] : pairs) {
    sizes[0].push_back({lengths.first, lengths.second, count});
    sizes[1].push_back({lengths.second, lengths.first, count});
  }
  for (int d = 0; d < model.table.directions; ++d) model.length_ratio[d] = ratios[d] / usable;
  return sizes;
}

// Expectation maximisation from the start that the model has. `uniform`: every t of it is kUnseen.
void train(TrainingText& text, const TrainOptions& options, const DiagonalModel* init, bool uniform, bool measure_last,
           const Sink& sink, DiagonalModel& model) {
  const DiagonalSettings& settings = model.settings;
  const std::array<std::vector<SizeCount>, 2> sizes = count_sizes(text.bitext, model);
  Expectation expectation(text, model);
  Update update(text, init, model);
  for (int iteration = 1; iteration <= settings.iterations; ++iteration) {
    const bool last = measure_last && iteration == settings.iterations;
    expectation.measure(iteration == 1 && uniform && !last, last ? sink : Sink());  // uniform sums know no best links
    if (options.progress) options.progress(model);
    if (last) return;
    update.begin();
    expectation.count([&](Word word, const double* sums, int thread) { update.finish_row(word, sums, thread); });
    update.finish_columns();
    for (int d = 0; d < model.table.directions; ++d) {
      update.finish_null(d, expectation.nulls(d));
      if (!settings.favor_diagonal || !settings.optimize_tension || (iteration == 1 && !init)) continue;
      const double empirical = model.history[d].back().posterior_feature;
      model.tension[d] = fit_tension(model.tension[d], empirical, sizes[d], text.parallel);
    }
  }
}

}  // namespace

DiagonalModel fit_diagonal(Bitext& bitext, int directions, const DiagonalSettings& settings,
                           const TrainOptions& options, const DiagonalModel* init, const Sink& sink) {
  DiagonalModel model;
  model.settings = settings;
  model.table.directions = directions;
  TrainingText text(bitext, options, init ? &init->table : nullptr, model.table);
  set_unseen(text, model);
  if (init) take_start(text, *init, model);
  train(text, options, init, !init, true, sink, model);
  return model;
}

DiagonalStart start_diagonal(Bitext& bitext, const DiagonalSettings& settings, const Hints& hints,
                             const TrainOptions& options, const DiagonalModel* init) {
  DiagonalStart start;
  DiagonalModel& model = start.model;
  model.settings = settings;
  model.table.directions = 2;
  TrainingText text(bitext, options, init ? &init->table : nullptr, model.table);
  set_unseen(text, model);
  if (init) take_start(text, *init, model);
  start.hinted = hinted_cells(model.table, hints, init ? &init->table : nullptr, options.parallel);
  for (const CellCount& hint : start.hinted) {
    for (int d = 0; !init && d < 2; ++d) model.table.t_of(hint.cell)[d] *= 1 + kHintedTimes * hint.count;
  }
  train(text, options, init, !init && start.hinted.empty(), false, Sink(), model);
  start.index = text.index;
  return start;
}

}  // namespace weam
