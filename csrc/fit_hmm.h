// Training of the HMM, both directions at once and in agreement.
#pragma once

#include "fit_diagonal.h"
#include "hmm.h"

namespace weam {

// Trains the diagonal model, and from there this one. Every iteration ends with an update. In place of its own
// posterior each direction counts the product of both directions' (Liang, Taskar & Klein 2006), NULL what that leaves
// of a word. Pairs of words that are hinted at have counts beforehand, and more probability at the start; with
// `init`, as in fit_diagonal, only those that it has never met.
HmmModel fit_hmm(Bitext& bitext, const HmmSettings& settings, const Hints& hints, const TrainOptions& options,
                 const HmmModel* init);

}  // namespace weam
