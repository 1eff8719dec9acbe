#include "corpus.h"

#include <cstring>
#include <stdexcept>
#include <utility>

namespace weam {

namespace {

std::uint64_t mix(std::uint64_t x) {
  constexpr std::uint64_t kOdd = 0xd6e8feb86659fd93;
  x = (x ^ x >> 32) * kOdd;
  x = (x ^ x >> 32) * kOdd;
  return x ^ x >> 32;
}

template <class Number>
std::uint64_t load(const char* at) {
  Number number;
  std::memcpy(&number, at, sizeof number);
  return number;
}

// Up to eight bytes as a number. Nothing beyond them is read: the loads overlap.
std::uint64_t load_up_to_8(const char* at, std::size_t size) {
  if (size >= 4) return load<std::uint32_t>(at) << 32 | load<std::uint32_t>(at + size - 4);
  if (size >= 2) return load<std::uint16_t>(at) << 16 | load<std::uint16_t>(at + size - 2);
  return size ? load<std::uint8_t>(at) : 0;
}

std::uint32_t hash_of(std::string_view word) {
  const char* at = word.data();
  std::size_t left = word.size();
  std::uint64_t hash = left;
  for (; left > 8; left -= 8, at += 8) hash = mix(hash ^ load<std::uint64_t>(at));
  return static_cast<std::uint32_t>(mix(hash ^ load_up_to_8(at, left)));
}

// Words are short: a call of memcmp takes longer.
bool equal(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  std::size_t at = 0;
  for (; a.size() - at > 8; at += 8) {
    if (load<std::uint64_t>(a.data() + at) != load<std::uint64_t>(b.data() + at)) return false;
  }
  return load_up_to_8(a.data() + at, a.size() - at) == load_up_to_8(b.data() + at, a.size() - at);
}

}  // namespace

std::size_t Vocabulary::place(std::string_view word, std::uint32_t hash) const {
  std::size_t at = hash & (table_.size() - 1);
  while (table_[at].word != kUnknown && (table_[at].hash != hash || !equal(text(table_[at].word), word))) {
    at = (at + 1) & (table_.size() - 1);
  }
  return at;
}

void Vocabulary::grow() {
  std::vector<Entry> before(table_.empty() ? 1024 : table_.size() * 2);
  before.swap(table_);
  for (const Entry& entry : before) {
    if (entry.word == kUnknown) continue;
    std::size_t at = entry.hash & (table_.size() - 1);
    while (table_[at].word != kUnknown) at = (at + 1) & (table_.size() - 1);
    table_[at] = entry;
  }
}

Word Vocabulary::intern(std::string_view word) {
  if (size() * 2 >= table_.size()) grow();
  const std::uint32_t hash = hash_of(word);
  Entry& entry = table_[place(word, hash)];
  if (entry.word == kUnknown) {
    if (size() >= kUnknown) throw std::length_error("more than 2^32 - 1 distinct words");
    entry = {hash, static_cast<Word>(size())};
    text_.append(word);
    ends_.push_back(text_.size());
  }
  return entry.word;
}

Word Vocabulary::find(std::string_view word) const {
  return table_.empty() ? kUnknown : table_[place(word, hash_of(word))].word;
}

std::vector<Word> Vocabulary::intern(const Vocabulary& words) {
  std::vector<Word> numbers(words.size());
  for (Word word = 0; word < words.size(); ++word) numbers[word] = intern(words.text(word));
  return numbers;
}

std::vector<Word> Vocabulary::find(const Vocabulary& words) const {
  std::vector<Word> numbers(words.size());
  for (Word word = 0; word < words.size(); ++word) numbers[word] = find(words.text(word));
  return numbers;
}

void check_word_count(std::size_t words) {
  if (words > 0xffffffff) throw std::length_error("more than 2^32 - 1 words in one language");
}

void Bitext::add(const Word* source, std::size_t source_length, const Word* target, std::size_t target_length) {
  const Word* const sentences[2] = {source, target};
  const std::size_t lengths[2] = {source_length, target_length};
  Pair pair;
  for (int side = 0; side < 2; ++side) {
    const std::size_t begin = words[side].size();
    check_word_count(begin + lengths[side]);
    pair.sides[side] = {static_cast<std::uint32_t>(begin), static_cast<std::uint32_t>(lengths[side])};
    words[side].append(sentences[side], lengths[side]);
  }
  pairs.push_back(pair);
}

void Bitext::reverse() {
  std::swap(words[0], words[1]);
  for (Pair& pair : pairs) std::swap(pair.sides[0], pair.sides[1]);
}

}  // namespace weam
