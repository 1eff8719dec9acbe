// The bitext reader: what it reads depends neither on the threads nor on the pieces in which it gets or takes the text.
#include "fuzz.h"
#include "reading.h"

using namespace weam;
using weam::test::Manner;

namespace {

constexpr std::size_t kOptions = 6;     // bytes before the text
constexpr char kBetweenFiles = '\x1c';  // Unicode's file separator

std::string with_options(const std::string& options, const std::string& text) {
  return (options + std::string(kOptions, '\0')).substr(0, kOptions) + text;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < kOptions) return 0;
  const std::string text(reinterpret_cast<const char*>(data) + kOptions, size - kOptions);
  const int flags = data[0];
  std::vector<std::string> files{text};
  if (flags & 1) {
    const std::size_t cut = std::min(text.find(kBetweenFiles), text.size());
    files = {text.substr(0, cut), text.substr(std::min(cut + 1, text.size()))};
  }
  ReaderOptions options;
  options.limit = data[1] % 16;
  options.max_length = data[2] % 16;
  if (data[3] & 16) options.columns = {data[3] % std::size_t{4}, data[3] / 4 % std::size_t{4}};
  const Manner manner{1 + flags / 8 % 4, 1 + std::size_t{data[4]}, 1 + std::size_t{data[5]}, (flags & 2) != 0,
                      (flags & 4) != 0};
  expect_equal(weam::test::read(files, options, manner), weam::test::read(files, options, Manner()));
  return 0;
}

std::vector<std::string> seeds() {
  return {
      with_options("", "the house ||| das Haus\na ||| b ||| c\n\nx |||\n"),
      with_options({0x10, 0, 3, 20, 20, 5},
                   "eins\tone\tun\r\nzwei\ttwo\tdeux\r\n\t\t\r\ndrei vier f\xc3\xbcnf sechs\tx\ty"),
      with_options({0x1b, 0, 0, 0, 7, 1},
                   "\xef\xbb\xbf"
                   "a b c\n\nd\n\x1c"
                   "e\nf g\n\xe8\xaa\x9e \xf0\x9f\x98\x80"),
      with_options({0x0d, 2, 2, 0, 1, 9},
                   "a\nb\nc d e\nf\n\x1c"
                   "a\n\nb\n"),
  };
}

std::vector<std::string> dictionary() {
  return {" ||| ",
          "|||",
          "\t",
          " ",
          "\n",
          "\r\n",
          "\r",
          "\x1c",
          "\xef\xbb\xbf",
          "\xff",
          "\xc3\xa9",
          "\xc2\xa0",
          "\xe3\x80\x80",
          "\xe8\xaa\x9e",
          "\xf0\x9f\x98\x80",
          "\xed\xa0\x80",
          "a",
          "a ||| b\n",
          "a\tb\n",
          "a b c d e f g h i j k l m n o p"};
}
