// Pharaoh's text: it may be parsed in parts, and what was parsed is parsed again as the same from what is written.
#include <algorithm>
#include <optional>
#include <string_view>

#include "errors.h"
#include "fuzz.h"
#include "links.h"

using namespace weam;

namespace {

std::string parse(std::string_view text, PharaohText how, std::size_t cut) {
  const Parallel parallel{2, {}};
  std::vector<Links> parts;
  try {
    for (const std::string_view part : {text.substr(0, cut), text.substr(cut)}) {
      parts.push_back(parse_pharaoh(part, how, parallel));
      how.first_line += parts.back().size();
      if (!parts.back().links.empty()) how.probabilities = !parts.back().probability.empty();
    }
  } catch (const LineError& error) {
    return "line " + std::to_string(error.line) + ": " + error.what();
  }
  return to_pharaoh(concatenate(std::move(parts)), false, parallel);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  PharaohText how;
  how.fields = data[0] & 1;
  std::string text(reinterpret_cast<const char*>(data) + 2, size - 2);
  if (data[0] & 2) {  // behind a line that is more than is parsed at a time
    text.insert(0, (data[0] & 4 ? "0-0:0.5" : "0-0") + std::string(std::size_t{1} << 18, ' ') + "\n");
  }
  const std::size_t feed = text.find('\n', text.size() * data[1] / 256);
  const std::string whole = parse(text, how, text.size());
  expect_equal(parse(text, how, feed == text.npos ? text.size() : feed + 1), whole);
  if (whole.compare(0, 5, "line ") != 0) expect_equal(parse(whole, {}, whole.size()), whole);
  return 0;
}

std::vector<std::string> seeds() {
  const std::string plain("\0\x80", 2), fields("\1\x40", 2), large("\2\xff", 2), uncertain("\6\x10", 2);
  return {
      plain + "0-0 1-2\n\n2-1 0-3\r\n2-1",
      plain + "0-0:1 1-2:0.5\n3-1:0.0001\n",
      fields + "a b ||| c d ||| 0-0 1-1 ||| -3.5\n0-0 ||| -1e2\n\n",
      large + "7-3 0-12 0-0\n2147483647-0\n",
      uncertain + "7-3:1 0-12:0.25\n",
  };
}

std::vector<std::string> dictionary() {
  return {"-",    ":",  " ",     "\t",   "\n",       "\r\n", " ||| ",      "0-0",        "1-0 ",
          ":0.5", ":1", ":1e-3", ":nan", ":1.00001", "?",    "2147483647", "2147483648", "99999999999999999999",
          "0x1",  "+1", ".5"};
}
