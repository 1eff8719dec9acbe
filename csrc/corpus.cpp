#include "corpus.h"

#include <stdexcept>

namespace weam {

Word Vocabulary::intern(std::string_view word) {
  const auto found = ids_.find(word);
  if (found != ids_.end()) return found->second;
  if (words_.size() >= kUnknown) throw std::length_error("more than 2^32 - 1 distinct words");
  const Word id = static_cast<Word>(words_.size());
  ids_.emplace(words_.emplace_back(word), id);
  return id;
}

Word Vocabulary::find(std::string_view word) const {
  const auto found = ids_.find(word);
  return found == ids_.end() ? kUnknown : found->second;
}

}  // namespace weam
