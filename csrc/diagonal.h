// fast_align's model: IBM model 2 with the log-linear diagonal prior of Dyer, Chahuneau & Smith (2013), both directions
// over one translation table.
#pragma once

#include <functional>
#include <vector>

#include "corpus.h"
#include "links.h"
#include "parallel.h"
#include "ttable.h"

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
  double tension[2];
  std::vector<Iteration> history[2];
};

// Trains P(target | source), and P(source | target) as well when `directions` is 2. The last iteration only measures,
// as in fast_align. When `links` is given, it receives the best links of each direction for this corpus.
DiagonalModel fit_diagonal(const Corpus& source, const Corpus& target, std::size_t source_words,
                           std::size_t target_words, int directions, const DiagonalSettings& settings,
                           const Parallel& parallel, const std::function<void(const DiagonalModel&)>& progress,
                           std::vector<Links>* links);

// The best links of each direction: for every target word (forward) or source word (backward) its most probable
// partner. Ties go to NULL first, then to the lowest position.
std::vector<Links> align_diagonal(const DiagonalModel& model, const Corpus& source, const Corpus& target,
                                  std::size_t target_words, const Parallel& parallel);

}  // namespace weam
