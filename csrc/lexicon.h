// A translation table as text: lexical tables of other tools, and fast_align's parameter files.
#pragma once

#include "ttable.h"

namespace weam {

// For each given word its most probable generated words, the first ones first; row w is [offsets[w], offsets[w + 1]).
struct Lexicon {
  std::vector<std::int64_t> offsets{0};
  std::vector<Word> words;
  std::vector<float> probabilities;
};

// Of direction d; `top` entries a word at most. Ties go to the word that appeared first. Words that the table gives no
// more than what it gives to unseen pairs are left out.
Lexicon make_lexicon(const TTable& table, std::size_t target_words, int d, std::size_t top, const Parallel& parallel);

// A line "generated given probability" for each entry. This and the next throw std::invalid_argument for a word that is
// empty, or has a blank or a line feed in it.
std::string lexicon_text(const Lexicon& lexicon, const Vocabulary& given, const Vocabulary& generated);

// The forward table as fast_align's -p writes it: lines "source TAB target TAB log t", NULL being "<eps>", and of each
// row what has log t >= -threshold * log(largest t).
std::string parameters_text(const TTable& table, const Vocabulary& source, const Vocabulary& target, bool with_null,
                            double threshold, const Parallel& parallel);

// Reads such lines into a forward table with sorted rows; throws LineError.
TTable read_parameters(std::string_view text, Vocabulary& source, Vocabulary& target);

}  // namespace weam
