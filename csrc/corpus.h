// Text as integers: a vocabulary, and sentence pairs in flat arrays.
#pragma once

#include <cstdint>
#include <cstring>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "array.h"

namespace weam {

using Word = std::uint32_t;
constexpr Word kUnknown = std::numeric_limits<Word>::max();

// Words numbered in the order of their first appearance.
class Vocabulary {
 public:
  Word intern(std::string_view word);      // throws std::length_error beyond 2^32 - 1 words
  Word find(std::string_view word) const;  // kUnknown when absent
  // The numbers here of all the words of another vocabulary.
  std::vector<Word> intern(const Vocabulary& words);
  std::vector<Word> find(const Vocabulary& words) const;
  std::size_t size() const { return ends_.size() - 1; }
  const std::string& bytes() const { return text_; }                // of all words
  const std::vector<std::uint64_t>& ends() const { return ends_; }  // [words + 1], from 0: where each ends in `bytes`
  std::string_view text(Word word) const { return {text_.data() + ends_[word], ends_[word + 1] - ends_[word]}; }

 private:
  struct Entry {
    std::uint32_t hash;
    Word word = kUnknown;  // an empty place
  };
  std::size_t place(std::string_view word, std::uint32_t hash) const;  // of the word, or where it belongs
  void grow();

  std::string text_;  // of all words
  std::vector<std::uint64_t> ends_{0};
  std::vector<Entry> table_;  // open addressing, a power of two in size and at most half full
};

// One sentence: words[begin .. begin + length) of its language.
struct Span {
  std::uint32_t begin, length;
};

struct Pair {
  Span sides[2];
};

// Sentence pairs, the words of each language in one flat array. A pair has words on both sides or on neither.
struct Bitext {
  Array<Word> words[2];  // source, target
  Array<Pair> pairs;

  std::size_t size() const { return pairs.size(); }
  const Word* sentence(int side, std::size_t pair) const { return words[side].data() + pairs[pair].sides[side].begin; }
  void add(const Word* source, std::size_t source_length, const Word* target, std::size_t target_length);
  // Both languages exchanged.
  void reverse();
};

// Throws std::length_error where a Span could not say so many words of one language.
void check_word_count(std::size_t words);

inline bool is_blank(char c) { return c == ' ' || c == '\t'; }

// The first blank, or the end: eight bytes at a time, of which the lowest that is zero after `^` is found exactly.
inline const char* find_blank(const char* at, const char* end) {
#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  constexpr std::uint64_t kEach = 0x0101010101010101u;
  for (; end - at >= 8; at += 8) {
    std::uint64_t bytes;
    std::memcpy(&bytes, at, 8);
    const std::uint64_t spaces = bytes ^ kEach * ' ', tabs = bytes ^ kEach * '\t';
    const std::uint64_t zero = (((spaces - kEach) & ~spaces) | ((tabs - kEach) & ~tabs)) & kEach << 7;
    if (zero) return at + __builtin_ctzll(zero) / 8;
  }
#endif
  while (at != end && !is_blank(*at)) ++at;
  return at;
}

// Calls take(word) for each word of a line: blanks and tabs separate words, as in fast_align.
template <class Take>
void split_blanks(std::string_view line, Take take) {
  const char* at = line.data();
  const char* const end = at + line.size();
  while (true) {
    while (at != end && is_blank(*at)) ++at;
    if (at == end) return;
    const char* const begin = at;
    at = find_blank(at, end);
    take(std::string_view(begin, static_cast<std::size_t>(at - begin)));
  }
}

}  // namespace weam
