#include <numeric>

#include "diagonal_training.h"

namespace weam {

namespace {

template <int kDirections>
WEAM_INLINE void counts_of(const double* __restrict sums, std::size_t size, float* __restrict t,
                           double* __restrict row) {
  for (std::size_t k = 0; k < size; ++k) {
    row[k] = sums[k * kDirections] * t[k * kDirections];
    if (kDirections == 2) t[k * 2 + 1] = static_cast<float>(sums[k * 2 + 1] * t[k * 2 + 1]);
  }
}

// Counts of one row from its sums of prior/Z: forward into `row`, backward in place of t.
WEAM_CLONES void row_counts(const double* sums, std::size_t size, int directions, float* t, double* row) {
  directions == 2 ? counts_of<2>(sums, size, t, row) : counts_of<1>(sums, size, t, row);
}

WEAM_CLONES void normalize_columns(float* t, const Word* columns, std::size_t cells, const double* scales,
                                   double alpha) {
  for (std::size_t cell = 0; cell < cells; ++cell) {
    t[cell * 2 + 1] = static_cast<float>(exp_digamma(t[cell * 2 + 1] + alpha) * scales[columns[cell]]);
  }
}

}  // namespace

Update::Update(TrainingText& text, const DiagonalModel* init, DiagonalModel& model)
    : text_(text), init_(init), model_(model) {
  if (init && !init->totals[0].empty()) old_counts_ = recover_counts(*init, text.vocabulary[1], text.parallel);
  if (directions_ == 2) column_cells_ = count_columns(model.table, text.vocabulary[1], text.parallel);
}

void Update::begin() {
  if (directions_ == 2) columns_.clear(text_.vocabulary[1]);
  model_.totals[0].assign(text_.vocabulary[0], 0.0);
}

void Update::finish_row(Word word, const double* sums, int thread) {
  TTable& table = model_.table;
  const std::size_t size = table.row(word).size();
  float* const t = table.t_of(table.rows[word]);
  row_[thread].resize(std::max(row_[thread].size(), size));
  double* const row = row_[thread].data();
  row_counts(sums, size, directions_, t, row);
  if (!old_counts_.empty() && word < init_->table.sources()) {
    const float* const old = old_counts_.data() + init_->table.rows[word] * directions_;
    for (std::size_t k = 0; k < init_->table.row(word).size(); ++k) {
      row[k] += old[k * directions_];
      if (directions_ == 2) t[k * 2 + 1] += old[k * 2 + 1];
    }
  }
  if (directions_ == 2) {
    const Word* const columns = table.columns.data() + table.rows[word];
    FixedSum* const column_sums = columns_.part(thread);
    for (std::size_t k = 0; k < size; ++k) column_sums[columns[k]].add(t[k * 2 + 1]);
  }
  const double total = std::accumulate(row, row + size, 0.0);
  model_.totals[0][word] = total;
  normalize(model_.settings, row, size, total);
  for (std::size_t k = 0; k < size; ++k) t[k * directions_] = static_cast<float>(row[k]);
}

void Update::finish_columns() {
  if (directions_ == 1) return;
  std::vector<double> scales(text_.vocabulary[1]);
  model_.totals[1].resize(text_.vocabulary[1]);
  for (std::size_t f = 0; f < text_.vocabulary[1]; ++f) {
    model_.totals[1][f] = columns_.value(f);
    scales[f] = normalizer(model_.settings, model_.totals[1][f], column_cells_[f]);
  }
  TTable& table = model_.table;
  text_.parallel.run_ranges(split_evenly(table.cells()), [&](Range cells, std::size_t, int) {
    float* const t = table.t_of(cells.begin);
    const Word* const columns = table.columns.data() + cells.begin;
    if (model_.settings.variational_bayes) {
      normalize_columns(t, columns, cells.size(), scales.data(), model_.settings.alpha);
    } else {
      for (std::size_t k = 0; k < cells.size(); ++k)
        t[k * 2 + 1] = static_cast<float>(t[k * 2 + 1] * scales[columns[k]]);
    }
    table.columns.release_pages(cells.begin, cells.end);
    table.t.release_pages(cells.begin * 2, cells.end * 2);
  });
}

void Update::finish_null(int d, const WordSums& counts) {
  if (!model_.settings.null_word && model_.null_totals[d] == 0) return;  // it stays unseen
  update_null(model_, d, old_counts_.empty() ? nullptr : init_, counts);
}

}  // namespace weam
