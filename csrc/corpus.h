// Text as integers: a vocabulary, and the sentences of one language in one flat array.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace weam {

using Word = std::uint32_t;
constexpr Word kUnknown = std::numeric_limits<Word>::max();

// Words numbered in the order of their first appearance.
class Vocabulary {
 public:
  Word intern(std::string_view word);      // throws std::length_error beyond 2^32 - 1 words
  Word find(std::string_view word) const;  // kUnknown when absent
  std::size_t size() const { return ends_.size() - 1; }

 private:
  struct Entry {
    std::uint32_t hash;
    Word word = kUnknown;  // an empty place
  };
  std::string_view text(Word word) const { return {text_.data() + ends_[word], ends_[word + 1] - ends_[word]}; }
  std::size_t place(std::string_view word, std::uint32_t hash) const;  // of the word, or where it belongs
  void grow();

  std::string text_;  // of all words
  std::vector<std::uint64_t> ends_{0};
  std::vector<Entry> table_;  // open addressing, a power of two in size and at most half full
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
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  const char* at = line.data();
  const char* const end = at + line.size();
  while (true) {
    while (at != end && blank(*at)) ++at;
    if (at == end) return;
    const char* const begin = at;
    while (at != end && !blank(*at)) ++at;
    take(std::string_view(begin, static_cast<std::size_t>(at - begin)));
  }
}

}  // namespace weam
