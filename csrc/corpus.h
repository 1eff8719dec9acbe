// Text as integers: a vocabulary, and the sentences of one language in one flat array.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <limits>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace weam {

using Word = std::uint32_t;
constexpr Word kUnknown = std::numeric_limits<Word>::max();

// Words numbered in the order of their first appearance.
class Vocabulary {
 public:
  Word intern(std::string_view word);      // throws std::length_error beyond 2^32 - 1 words
  Word find(std::string_view word) const;  // kUnknown when absent
  std::size_t size() const { return words_.size(); }

 private:
  std::deque<std::string> words_;  // a deque never moves its elements, so the keys stay valid
  std::unordered_map<std::string_view, Word> ids_;
};

struct Corpus {
  std::vector<Word> words;
  std::vector<std::uint64_t> offsets{0};  // sentence k is words[offsets[k] .. offsets[k + 1])

  std::size_t size() const { return offsets.size() - 1; }
  std::size_t length(std::size_t sentence) const { return offsets[sentence + 1] - offsets[sentence]; }
  const Word* sentence(std::size_t sentence) const { return words.data() + offsets[sentence]; }
  void end_sentence() { offsets.push_back(words.size()); }
};

// Calls take(word) for each word of a line: blanks and tabs separate words, as in fast_align.
template <class Take>
void split_blanks(std::string_view line, Take take) {
  std::size_t begin = 0;
  while (true) {
    begin = line.find_first_not_of(" \t", begin);
    if (begin == std::string_view::npos) return;
    const std::size_t end = std::min(line.find_first_of(" \t", begin), line.size());
    take(line.substr(begin, end - begin));
    begin = end;
  }
}

}  // namespace weam
