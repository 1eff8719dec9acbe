#include <string>
#include <unordered_map>

#include "check.h"
#include "corpus.h"

using namespace weam;

namespace {

std::string four_letters(std::size_t number) {
  std::string word(4, 'a');
  for (char& letter : word) {
    letter = static_cast<char>('a' + number % 26);
    number /= 26;
  }
  return word;
}

}  // namespace

TEST(words_are_numbered_as_they_first_appear) {
  Vocabulary vocabulary;
  CHECK(vocabulary.size() == 0);
  CHECK(vocabulary.find("a") == kUnknown);
  CHECK(vocabulary.intern("b") == 0);
  CHECK(vocabulary.intern("a") == 1);
  CHECK(vocabulary.intern("b") == 0);
  CHECK(vocabulary.find("a") == 1);
  CHECK(vocabulary.find("c") == kUnknown);
  CHECK(vocabulary.size() == 2);
  CHECK(vocabulary.text(0) == "b" && vocabulary.text(1) == "a");
}

TEST(words_of_every_length_differ_in_every_byte) {
  Vocabulary vocabulary;
  std::unordered_map<std::string, Word> numbers;
  for (std::size_t length = 0; length <= 40; ++length) {
    for (std::size_t at = 0; at <= length; ++at) {
      for (const char c : {'y', '\0', '\x80'}) {
        std::string word(length, 'x');
        if (at < length) word[at] = c;
        const Word expected = numbers.emplace(word, static_cast<Word>(numbers.size())).first->second;
        CHECK(vocabulary.intern(word) == expected);
        CHECK(vocabulary.text(expected) == word);
      }
    }
  }
  CHECK(vocabulary.size() == numbers.size());
}

// 26^4 words are enough for a few to have the same hash, of 32 bits.
TEST(words_of_the_same_hash_differ) {
  constexpr Word kWords = 26 * 26 * 26 * 26;
  Vocabulary vocabulary;
  for (Word word = 0; word < kWords; ++word) CHECK(vocabulary.intern(four_letters(word)) == word);
  for (Word word = 0; word < kWords; ++word) CHECK(vocabulary.find(four_letters(word)) == word);
}

TEST(vocabularies_are_numbered_by_others) {
  Vocabulary whole, part, more;
  for (const char* word : {"c", "a"}) whole.intern(word);
  for (const char* word : {"a", "b", "c", "d"}) part.intern(word);
  CHECK((whole.find(part) == std::vector<Word>{1, kUnknown, 0, kUnknown}));
  CHECK(whole.size() == 2);
  CHECK((whole.intern(part) == std::vector<Word>{1, 2, 0, 3}));
  CHECK(whole.size() == 4 && whole.text(3) == "d");
  CHECK(whole.intern(more).empty());
}

TEST(blanks_and_tabs_separate_words) {
  const auto words = [](std::string_view line) {
    std::string found;
    split_blanks(line, [&](std::string_view word) { found += "<" + std::string(word) + ">"; });
    return found;
  };
  CHECK_EQUAL(words(""), "");
  CHECK_EQUAL(words(" \t "), "");
  CHECK_EQUAL(words("a"), "<a>");
  CHECK_EQUAL(words("\ta  b\tc "), "<a><b><c>");
  CHECK_EQUAL(words("a\xc2\xa0"
                    "b\vc\rd\f!"),
              "<a\xc2\xa0"
              "b\vc\rd\f!>");
  // Bytes next to the blanks in value, at every place of a group of eight.
  for (std::size_t length = 1; length <= 20; ++length) {
    for (const char c : {'!', '\x1f', '\b', '\n', '\xa0', '\x89', '\0', '\1'}) {
      const std::string word(length, c);
      CHECK_EQUAL(words(word + " " + word + "\t" + word), "<" + word + "><" + word + "><" + word + ">");
    }
  }
}
