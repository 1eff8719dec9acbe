// How many words a given word is linked to, its fertility (Brown et al. 1993, model 3). No sum over all alignments is
// possible with it. Here the other words count as linked by their posteriors, each independently of the rest (mean
// field): a link then takes its word from n to n + 1 links with the probability that n others are linked to it.
#pragma once

#include "hmm.h"

namespace weam {

// Multiplies each t of a chain that has run by how much more probable one link more makes its word's number of links:
// to be run again.
void weigh_fertility(const Fertility& fertility, const Word* given, Chain& chain);

// Adds the distribution of each given word's number of links, under the posteriors of a chain, to counts
// [words][kFertilities] of whole numbers of `unit`; from several threads at once.
void count_fertility(const Word* given, const Chain& chain, double unit, std::uint64_t* counts);

// The ratios that follow from counts.
void update_fertility(Fertility& fertility);

}  // namespace weam
