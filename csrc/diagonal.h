// fast_align's model: IBM model 2 with the log-linear diagonal prior of Dyer, Chahuneau & Smith (2013), both directions
// over one translation table.
#pragma once

#include "blocks.h"
#include "pair_sums.h"

namespace weam {

struct DiagonalSettings {
  int iterations = 5;
  double p0 = 0.08;      // prior of NULL
  double tension = 4.0;  // lambda of the diagonal prior at the start
  double alpha = 0.01;   // Dirichlet prior of the variational update
  bool favor_diagonal = true;
  bool optimize_tension = true;
  bool variational_bayes = true;
  bool null_word = true;
};

// What fast_align prints after an iteration. The likelihood is a natural logarithm.
struct Iteration {
  double log_likelihood, perplexity, posterior_p0, posterior_feature, tension;
};

struct DiagonalModel {
  DiagonalSettings settings;
  TTable table;
  double tension[2] = {0, 0};
  double length_ratio[2] = {1, 1};  // mean of generated words / given words
  // Expected counts of the last update by given word, and of NULL. Empty where they are not known.
  std::vector<double> totals[2];
  double null_totals[2] = {0, 0};
  std::vector<Iteration> history[2];
};

// The weight of the diagonal prior and of NULL for a generated word, given the conditioning sentence's length.
struct Mixture {
  float words, null;

  Mixture(const DiagonalSettings& settings, std::size_t length);
};

// With the model's tension.
LengthTables length_tables(const DiagonalModel& model, const Bitext& bitext);

// From the sums of a pair: z becomes the probability of each generated word (times 2^96), `null` the posterior of NULL,
// and `gain` what makes the posterior of a link: gain * prior * t. Returns the logarithm of the pair's probability.
double finish_sums(const DiagonalModel& model, int d, const PairView& pair, Sums& sums, float* gain);

// Appends a pair's best links: for every generated word its most probable partner. Ties go to NULL first, then to the
// lowest position.
void append_links(const DiagonalModel& model, int d, const PairView& pair, const Sums& sums, Links& links);

// The score of a pair, as fast_align prints it: the logarithm of P(generated | given), which includes a Poisson model
// of the length. Not a number for an empty pair.
double pair_score(const DiagonalModel& model, int d, const Pair& pair, double log_probability);

// Links for text under a finished model with sorted rows.
void align_diagonal(const DiagonalModel& model, const Bitext& bitext, const Parallel& parallel, const Sink& sink);

// The posterior probability of each link of the pairs from `begin` on; for a model of both directions the mean of the
// two. Rows must be sorted.
std::vector<float> link_posteriors(const DiagonalModel& model, const Bitext& bitext, std::size_t begin,
                                   const Links& links, const Parallel& parallel);

}  // namespace weam
