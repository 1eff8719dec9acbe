#include "update.h"

namespace weam {

namespace {

WEAM_CLONES void normalize_bayes(double* values, std::size_t size, double alpha, double scale) {
  for (std::size_t k = 0; k < size; ++k) values[k] = exp_digamma(values[k] + alpha) * scale;
}

// x of exp_digamma(x) = value: Newton's method from the start of Minka (2000), appendix C.
double inverse_exp_digamma(double value) {
  constexpr double kEuler = 0.5772156649015329;
  const double goal = std::log(value);
  double x = goal >= -2.22 ? value + 0.5 : -1.0 / (goal + kEuler);
  for (int step = 0; step < 6; ++step) {
    double z = x, trigamma = 0;
    for (; z < 6; ++z) trigamma += 1 / (z * z);
    const double r = 1 / (z * z);
    trigamma += 1 / z + r / 2 + r / z * (1.0 / 6 - r * (1.0 / 30 - r / 42));
    const double change = (std::log(exp_digamma(x)) - goal) / trigamma;
    x = std::max(x - change, x / 16);
    if (std::fabs(change) < 1e-8 * x) break;
  }
  return x;
}

// The expected count of a cell of which the update made t, a row with so many cells having this total.
double expected_count(const DiagonalSettings& settings, double t, double total, double cells) {
  t /= kScale;
  if (!settings.variational_bayes) return t * total;
  const double value = t * exp_digamma(total + cells * settings.alpha);
  return value > 0 ? std::clamp(inverse_exp_digamma(value) - settings.alpha, 0.0, total) : 0.0;
}

}  // namespace

double normalizer(const DiagonalSettings& settings, double counts, double cells) {
  constexpr double kTiny = 1e-270;  // of no counts under a tiny alpha: its reciprocal is a number
  if (settings.variational_bayes) return kScale / std::max(kTiny, exp_digamma(counts + cells * settings.alpha));
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

std::vector<float> recover_counts(const DiagonalModel& model, std::size_t target_words, const Parallel& parallel) {
  const TTable& table = model.table;
  const int directions = table.directions;
  std::vector<double> columns(target_words, 0.0);
  for (std::size_t cell = 0; directions == 2 && cell < table.cells(); ++cell) ++columns[table.columns[cell]];
  std::vector<float> counts(table.cells() * directions);
  parallel.for_each(split_evenly(table.sources()), [&](std::size_t e, int) {
    for (const std::uint64_t cell : table.row(e)) {
      const double sizes[2] = {static_cast<double>(table.row(e).size()), columns[table.columns[cell]]};
      const std::size_t given[2] = {e, table.columns[cell]};
      for (int d = 0; d < directions; ++d) {
        counts[cell * directions + d] = static_cast<float>(
            expected_count(model.settings, table.t_of(cell)[d], model.totals[d][given[d]], sizes[d]));
      }
    }
  });
  return counts;
}

void update_null(DiagonalModel& model, int d, const DiagonalModel* init, const WordSums& counts) {
  std::vector<float>& row = model.table.null_row[d];
  const std::vector<float> old = init ? init->table.null_row[d] : std::vector<float>();
  const double old_total = init ? init->null_totals[d] : 0;
  std::vector<double> values(row.size());
  double total = 0;
  for (std::size_t word = 0; word < row.size(); ++word) {
    values[word] = counts.value(word);
    if (word < old.size()) {
      values[word] += expected_count(init->settings, old[word], old_total, static_cast<double>(old.size()));
    }
    total += values[word];
  }
  model.null_totals[d] = total;
  normalize(model.settings, values.data(), values.size(), total);
  std::copy(values.begin(), values.end(), row.begin());
}

void record(DiagonalModel& model, int d, const std::vector<Measures>& chunks, std::size_t tokens) {
  Measures whole;
  for (const Measures& chunk : chunks) {
    whole.log_likelihood += chunk.log_likelihood;
    whole.null += chunk.null;
    whole.feature += chunk.feature;
  }
  const double words = static_cast<double>(tokens);
  model.history[d].push_back({whole.log_likelihood, std::exp(-whole.log_likelihood / words), whole.null / words,
                              whole.feature / words, model.tension[d]});
}

}  // namespace weam
