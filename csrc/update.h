// The M-step of a distribution, and the way back: the expected counts that made it.
#pragma once

#include "diagonal.h"
#include "fixed_sum.h"

namespace weam {

// What a value of a distribution with these counts in all, over so many cells, is multiplied with: 2^96 / exp(digamma(
// sum of (count + alpha))), or 2^96 / sum.
double normalizer(const DiagonalSettings& settings, double counts, double cells);

// Counts, of this total, into probabilities times 2^96: t = exp(digamma(c + alpha)) / exp(digamma(sum(c + alpha))), or
// c / sum(c).
void normalize(const DiagonalSettings& settings, double* values, std::size_t size, double counts);

// The expected counts of all cells [cells][directions], as they were when the update made t. The totals must be known.
std::vector<float> recover_counts(const DiagonalModel& model, std::size_t target_words, const Parallel& parallel);

// The update of NULL's row of direction d from the counts of its words, with those of init, where they are known.
void update_null(DiagonalModel& model, int d, const DiagonalModel* init, const WordSums& counts);

// What an iteration measures of one direction.
struct Measures {
  double log_likelihood = 0, null = 0, feature = 0;
};

// Adds an iteration to the history, from its measures by chunk over so many generated words.
void record(DiagonalModel& model, int d, const std::vector<Measures>& chunks, std::size_t tokens);

}  // namespace weam
