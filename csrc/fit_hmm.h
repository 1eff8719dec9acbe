// Training of the HMM, both directions at once and in agreement.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "fit_diagonal.h"
#include "hmm.h"

namespace weam {

// The footprint of the diagonal model's training, and of what is beside it.
Footprint predict_hmm_footprint(const Bitext& bitext, std::size_t source_words, std::size_t target_words,
                                const Parallel& parallel);

// What its model takes, once it is trained.
std::uint64_t kept_bytes(const Footprint& footprint, std::size_t words);

// Trains the diagonal model, and from there this one. Every iteration ends with an update. In place of its own
// posterior each direction counts the product of both directions' (Liang, Taskar & Klein 2006), NULL what that leaves
// of a word. Pairs of words that are hinted at have counts beforehand, and more probability at the start; with
// `init`, as in fit_diagonal, only those that it has never met.
HmmModel fit_hmm(Bitext& bitext, std::size_t source_words, std::size_t target_words, const HmmSettings& settings,
                 const Hints& hints, const Layout& layout, const HmmModel* init, const Parallel& parallel,
                 const std::function<void(const DiagonalModel&)>& progress);

}  // namespace weam
