// Two directional alignments into one: the heuristics of Och & Ney 2003 and Koehn et al. 2005.
#pragma once

#include "links.h"

namespace weam {

enum class Heuristic { kIntersect, kUnion, kGrowDiag, kGrowDiagFinal, kGrowDiagFinalAnd };

Heuristic parse_heuristic(std::string_view name);  // throws std::invalid_argument

// Both arguments hold the same number of pairs; links are (source, target) in both.
Links symmetrize(const Links& forward, const Links& backward, Heuristic heuristic, const Parallel& parallel);

}  // namespace weam
