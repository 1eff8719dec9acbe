#include "corpus.h"

#include <stdexcept>

namespace weam {

namespace {

std::uint32_t hash_of(std::string_view word) {
  std::uint64_t hash = 14695981039346656037ull;  // FNV-1a
  for (const char c : word) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  return static_cast<std::uint32_t>(hash ^ hash >> 32);
}

}  // namespace

std::size_t Vocabulary::place(std::string_view word, std::uint32_t hash) const {
  std::size_t at = hash & (table_.size() - 1);
  while (table_[at].word != kUnknown && (table_[at].hash != hash || text(table_[at].word) != word)) {
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

}  // namespace weam
