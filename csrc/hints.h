// What is thought of word pairs before the text is read: how alike they are spelt, and what a dictionary has.
#pragma once

#include "ttable.h"

namespace weam {

// How alike two words of Latin letters are, from 0 to 1. Of n bytes, the longer one, and an edit distance d
// (Levenshtein 1966) it is (1 - d / n - 0.4) / 0.6, as what is below comes about by chance; words of n < 4 count n / 4
// of it.
double likeness(std::string_view a, std::string_view b);

struct DictionaryEntry {
  Word source, target;
  float count;
};

struct Hints {
  double spelling = 0;                      // count of two words that are spelt the same
  std::vector<std::string> spellings[2];    // of each word, in Latin letters
  std::vector<DictionaryEntry> dictionary;  // by source, then target
};

// Counts, besides those of the text, that a pair of words has.
struct CellCount {
  std::uint64_t cell;
  float count;
};

// Of all cells, but those of `known`, which come first in each row.
std::vector<CellCount> hinted_cells(const TTable& table, const Hints& hints, const TTable* known,
                                    const Parallel& parallel);

}  // namespace weam
