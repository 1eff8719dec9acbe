#include <map>
#include <string>
#include <vector>

#include "check.h"
#include "reading.h"

using namespace weam;
using weam::test::below;
using weam::test::Manner;

namespace {

using Files = std::vector<std::string>;

constexpr std::size_t kWhole = std::size_t{1} << 30;

ReaderOptions columns(std::size_t source, std::size_t target) {
  ReaderOptions options;
  options.columns = {source, target};
  return options;
}

ReaderOptions limit(std::uint64_t limit) {
  ReaderOptions options;
  options.limit = limit;
  return options;
}

ReaderOptions max_length(std::size_t max_length) {
  ReaderOptions options;
  options.max_length = max_length;
  return options;
}

// What is read, in whichever manner.
std::string read(const Files& files, const ReaderOptions& options = {}) {
  const std::string expected = weam::test::read(files, options, Manner());
  int tried = 0;
  for (const std::size_t chunk : {std::size_t{1}, std::size_t{20}, kWhole}) {
    for (const std::size_t piece : {std::size_t{1}, std::size_t{7}, kWhole}) {
      constexpr int kThreads[] = {1, 2, 3, 8};
      const int threads = kThreads[tried % 4];
      const bool interleaved = tried % 5 < 3, ends = tried % 2;
      CHECK_EQUAL(weam::test::read(files, options, {threads, chunk, piece, interleaved, ends}), expected);
      ++tried;
    }
  }
  return expected;
}

std::string pairs(const std::string& text) { return "0 empty, 0 too long\n" + text; }

}  // namespace

TEST(lines_are_split_at_the_first_bars_between_blanks) {
  CHECK_EQUAL(read({"a b ||| c\nb a ||| c ||| d\n"}), pairs("a#0 b#1 | c#0\nb#1 a#0 | c#0 |||#1 d#2\n"));
  CHECK_EQUAL(read({"a|||b ||||  ||| c"}), pairs("a|||b#0 ||||#1 | c#0\n"));
  CHECK_EQUAL(read({"a |||b ||| ||| "}), pairs("a#0 |||b#1 | |||#0\n"));
  CHECK_EQUAL(read({"  a    b  |||   c  "}), pairs("a#0 b#1 | c#0\n"));
}

TEST(the_first_line_tells_what_all_are) {
  CHECK_EQUAL(read({"a ||| b\tc d\n"}), pairs("a#0 | b#0 c#1 d#2\n"));
  CHECK_EQUAL(read({" \n\t\na\t|||\tb\nc\td ||| e"}), "2 empty, 0 too long\n |\n |\na#0 | b#0\nc#1 d#2 | e#1\n");
  CHECK_EQUAL(read({"\na\tb\nc ||| d\te"}), "1 empty, 0 too long\n |\na#0 | b#0\nc#1 |||#2 d#3 | e#1\n");
  CHECK_EQUAL(read({"a ||| b\tc d\n"}, columns(0, 1)), pairs("a#0 |||#1 b#2 | c#0 d#1\n"));
}

TEST(lines_with_a_tab_have_columns) {
  CHECK_EQUAL(read({"x\ta\t b \tc\r\n"}, columns(2, 1)), pairs("b#0 | a#0\n"));
  CHECK_EQUAL(read({"a\tb\n"}, columns(0, 0)), pairs("a#0 | a#0\n"));
}

TEST(lines_of_two_files_are_pairs) {
  CHECK_EQUAL(read({"a\tb ||| c\nd\n", "e\nf e"}), pairs("a#0 b#1 |||#2 c#3 | e#0\nd#4 | f#1 e#0\n"));
  CHECK_EQUAL(read({"a\n\nb\n", "c\nd\n\n"}), "2 empty, 0 too long\na#0 | c#0\n |\n |\n");
}

TEST(line_ends_and_the_mark_are_no_words) {
  CHECK_EQUAL(read({"\xef\xbb\xbf"
                    "a ||| b\r\nc ||| d\r\r\ne ||| f\r"}),
              "2 with other spaces\n" + pairs("a#0 | b#0\nc#1 | d\r#1\ne#2 | f\r#2\n"));
  CHECK_EQUAL(read({"\xef\xbb\xbf"
                    "a\n\xef\xbb\xbf"
                    "a\n",
                    "\xef\xbb\xbf"
                    "\xef\xbb\xbf"
                    "b\r\nb\r\n"}),
              pairs("a#0 | \xef\xbb\xbf"
                    "b#0\n\xef\xbb\xbf"
                    "a#1 | b#1\n"));
  // Only a line feed ends a line, only blanks and tabs a word.
  CHECK_EQUAL(read({"a\v\xc2\x85\xe2\x80\xa8\xc2\xa0"
                    "b ||| c\fd\x1c\n"}),
              "1 with other spaces\n" + pairs("a\v\xc2\x85\xe2\x80\xa8\xc2\xa0"
                                              "b#0 | c\fd\x1c#0\n"));
}

TEST(characters_of_every_length_and_zeros_are_text) {
  const std::string zero("z\0", 2);
  CHECK_EQUAL(read({"\xf0\x9f\x98\x80 \xe8\xaa\x9e ||| \xc3\xa9\xc3\xa8 " + zero + "\n"}),
              pairs("\xf0\x9f\x98\x80#0 \xe8\xaa\x9e#1 | \xc3\xa9\xc3\xa8#0 " + zero + "#1\n"));
  // The first and the last characters of every row of Unicode's table of well-formed sequences.
  for (const char* text :
       {"\xc2\x80", "\xdf\xbf", "\xe0\xa0\x80", "\xe0\xbf\xbf", "\xe1\x80\x80", "\xec\xbf\xbf", "\xed\x80\x80",
        "\xed\x9f\xbf", "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80", "\xf0\xbf\xbf\xbf", "\xf1\x80\x80\x80",
        "\xf3\xbf\xbf\xbf", "\xf4\x80\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    const std::string word(text);
    CHECK_EQUAL(read({"a ||| " + word}), pairs("a#0 | " + word + "#0\n"));
  }
}

TEST(nothing_is_no_pairs) {
  for (const Files& files : {Files{""}, Files{"\xef\xbb\xbf"}, Files{"", "\xef\xbb\xbf"}}) {
    CHECK_EQUAL(read(files), pairs(""));
  }
}

TEST(pairs_with_an_empty_side_stay_as_empty_pairs) {
  CHECK_EQUAL(read({"\n   \n|||\nx |||\n||| x\n\t\n |||\tx\nb ||| x\n"}),
              "7 empty, 0 too long\n |\n |\n |\n |\n |\n |\n |\nb#0 | x#0\n");
}

TEST(over_long_pairs_stay_as_empty_pairs) {
  CHECK_EQUAL(read({"a b c ||| d\ne ||| f g h\nh a ||| h d\n ||| a b c\n"}, max_length(2)),
              "1 empty, 2 too long\n |\n |\nh#0 a#1 | h#0 d#1\n |\n");
}

TEST(the_first_pairs_are_enough) {
  const std::string text = "a ||| b\n ||| c\nd ||| e\nno bars\n\xff\n";
  CHECK_EQUAL(read({text}, limit(1)), pairs("a#0 | b#0\n"));
  CHECK_EQUAL(read({text}, limit(3)), "1 empty, 0 too long\na#0 | b#0\n |\nd#1 | e#1\n");
  CHECK_EQUAL(read({"a ||| b"}, limit(2)), pairs("a#0 | b#0\n"));
  // Not even whether the files are as long as each other.
  CHECK_EQUAL(read({"a\nb\nc\n", "d\ne\n\xff\n\n"}, limit(2)), pairs("a#0 | d#0\nb#1 | e#1\n"));
  CHECK_EQUAL(read({"a\nb\n", "d\ne\n\xff\n"}, limit(2)), pairs("a#0 | d#0\nb#1 | e#1\n"));
}

TEST(the_limit_is_known_to_the_caller) {
  Vocabulary vocabularies[2];
  const Parallel parallel;
  Bitext bitext;
  BitextReader reader([&](int side, const Vocabulary& words) { return vocabularies[side].intern(words); }, limit(2),
                      parallel, bitext);
  CHECK(reader.feed(0, "a ||| b\nc ", 10));
  CHECK(!reader.feed(0, "||| d\ne", 7));
  CHECK(!reader.feed(0, " ||| f\n", 7));
  reader.finish();
  CHECK(bitext.size() == 2);
}

TEST(known_words_are_looked_up) {
  Vocabulary known[2];
  known[0].intern("b");
  known[0].intern("a");
  known[1].intern("c");
  for (const std::size_t chunk : {std::size_t{1}, kWhole}) {
    CHECK_EQUAL(weam::test::read({"a x b ||| c\ny ||| a\n"}, {}, {2, chunk}, known), pairs("a#1 ? b#0 | c#0\n? | ?\n"));
  }
  CHECK(known[0].size() == 2 && known[1].size() == 1);
}

TEST(bytes_that_are_no_characters_are_named) {
  const auto invalid = [](const std::string& line, const std::string& byte, int column) {
    CHECK_EQUAL(read({"a ||| b\n" + line + "\nno bars"}),
                "file 0, line 2: invalid UTF-8 (byte 0x" + byte + " at column " + std::to_string(column) + ")");
  };
  invalid("\xff", "ff", 1);
  invalid("a ||| b\x80", "80", 8);
  invalid("\xc3\xa9\xe8\xaa\x9e\xf0\x9f\x98\x80 \xc3", "c3", 5);
  invalid("12345678\xc3\xa9 90123456789 \xe8\xaa x", "e8", 23);
  for (const char* lead : {"\xc0\xaf", "\xc1\xbf"}) invalid(lead, lead[0] == '\xc0' ? "c0" : "c1", 1);
  invalid("\xe0\x9f\xbf", "e0", 1);      // overlong
  invalid("\xf0\x8f\xbf\xbf", "f0", 1);  // overlong
  invalid("\xed\xa0\x80", "ed", 1);      // a surrogate
  invalid("\xf4\x90\x80\x80", "f4", 1);  // beyond U+10FFFF
  invalid("\xf5\x80\x80\x80", "f5", 1);
  invalid("\xf0\x9f\x98", "f0", 1);
  CHECK_EQUAL(read({"\xef\xbb\xbf\xc3\xa9\xff"}), "file 0, line 1: invalid UTF-8 (byte 0xff at column 2)");
  CHECK_EQUAL(read({"\xef\xbb"}), "file 0, line 1: invalid UTF-8 (byte 0xef at column 1)");
}

TEST(lines_without_a_separator_or_a_column_are_errors) {
  const std::string between = " between source and target", others = between + ", unlike the lines before it";
  CHECK_EQUAL(read({"a ||| b\n\na |||b\n"}), "file 0, line 3: no '|||'" + others);
  CHECK_EQUAL(read({"a ||| b\na\tb\n"}), "file 0, line 2: no '|||'" + others);
  CHECK_EQUAL(read({"a\tb\na ||| b\n"}), "file 0, line 2: no tab" + others);
  CHECK_EQUAL(read({"\n\t\na||| b"}), "file 0, line 3: no '|||' and no tab" + between);
  CHECK_EQUAL(read({"a ||| b"}, columns(0, 1)),
              "file 0, line 1: no tab" + between + ", although columns were asked for");
  CHECK_EQUAL(read({"a\tb"}, columns(0, 2)), "file 0, line 1: no column 3, only 2");
}

TEST(the_first_error_counts) {
  std::string text;
  for (int line = 1; line < 100; ++line) text += "some words ||| and some more\n";
  const std::string where = "file 0, line 100: ", good = text;
  for (int line = 100; line < 200; ++line) text += "no bars\n\xff\n";
  CHECK_EQUAL(read({text}), where + "no '|||' between source and target, unlike the lines before it");
  CHECK_EQUAL(read({good + "\xff\nno bars\n"}), where + "invalid UTF-8 (byte 0xff at column 1)");
  // Of two files the first that is bad in the first line that is.
  CHECK_EQUAL(read({"a\n\xfe\n", "a\n\xff\n"}), "file 0, line 2: invalid UTF-8 (byte 0xfe at column 1)");
  CHECK_EQUAL(read({"a\na\n\xfe\n", "a\n\xff\na\n"}), "file 1, line 2: invalid UTF-8 (byte 0xff at column 1)");
}

TEST(other_white_space_is_found_wherever_it_is) {
  const std::string spaces[] = {"\x0b",         "\r",           "\x1f",         "\xc2\x85",
                                "\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x8a",
                                "\xe2\x80\xa8", "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80"};
  const std::string others[] = {" ",        "\t",           "\n",           "a",           "\x0e", "\xc2\xa1",
                                "\xc3\xa0", "\xe2\x80\x8b", "\xe2\x80\x99", "\xe3\x80\x81"};
  for (std::size_t before = 0; before < 140; ++before) {
    for (const std::size_t after : {0, 1, 70}) {
      const auto found = [&](const std::string& text) {
        return has_other_space(std::string(before, 'a') + text + std::string(after, ' '));
      };
      for (const std::string& space : spaces) CHECK(found(space));
      for (const std::string& other : others) CHECK(!found(other));
    }
  }
}

TEST(files_of_different_lengths_are_counted_to_their_ends) {
  CHECK_EQUAL(read({"a\n\nb\n", "c"}), "3 lines but 1");
  CHECK_EQUAL(read({"", "a\nb"}), "0 lines but 2");
  CHECK_EQUAL(read({"a\nb\nc", "d\ne\n"}, limit(3)), "3 lines but 2");
  CHECK_EQUAL(read({"a\n", "b\nc\nd\xff\n\xff\n"}), "file 1, line 3: invalid UTF-8 (byte 0xff at column 2)");
}

TEST(a_huge_line_is_a_line) {
  const std::size_t words = std::size_t{1'000'000} * weam::test::rounds();
  std::string line;
  for (std::size_t k = 0; k < words; ++k) line += k % 3 ? " a" : " \xc3\xa9";
  Vocabulary vocabularies[2];
  const Parallel parallel{2, {}};
  Bitext bitext;
  BitextReader reader([&](int side, const Vocabulary& part) { return vocabularies[side].intern(part); }, {}, parallel,
                      bitext);
  const std::string text = "x ||| y\n" + line + " ||| " + line + "\nx ||| y\n";
  for (std::size_t at = 0; at < text.size(); at += 1000) {
    reader.feed(0, text.data() + at, std::min<std::size_t>(1000, text.size() - at));
  }
  reader.finish();
  CHECK(bitext.size() == 3 && bitext.pairs[1].sides[0].length == words && bitext.pairs[1].sides[1].length == words);
  CHECK(vocabularies[0].size() == 3 && vocabularies[1].size() == 3);
  CHECK(bitext.sentence(1, 2)[0] == 0);
}

// Made from numbers, so that what is read is known.
TEST(random_text_is_numbered_as_it_appears) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 10 * weam::test::rounds(); ++round) {
    const std::size_t vocabulary = 1 + below(random, 300);
    Files one(1), two(2);
    std::string expected;
    std::map<std::size_t, Word> numbers[2];
    for (std::size_t pair = below(random, 400); pair > 0; --pair) {
      for (int side = 0; side < 2; ++side) {
        std::string text;
        for (std::size_t k = 1 + below(random, 12); k > 0; --k) {
          const std::size_t word = below(random, 1 + below(random, vocabulary));
          const Word number = numbers[side].emplace(word, numbers[side].size()).first->second;
          const std::string shown = "w" + std::to_string(word * word * word) + (word % 7 ? "" : "\xc3\xa9");
          text += (text.empty() ? "" : " ") + shown;
          expected += (expected.empty() || expected.back() == '\n' ? "" : " ") + shown + "#" + std::to_string(number);
        }
        one[0] += text + (side ? "\n" : " ||| ");
        two[side] += text + "\n";
        expected += side ? "\n" : " |";
      }
    }
    for (int k = 0; k < 5; ++k) {
      const Manner manner{1 + static_cast<int>(below(random, 8)), 100 + below(random, 2000), 1 + below(random, 1000),
                          below(random, 2) == 0, below(random, 2) == 0};
      CHECK_EQUAL(weam::test::read(one, {}, manner), pairs(expected));
      CHECK_EQUAL(weam::test::read(two, {}, manner), pairs(expected));
    }
  }
}
