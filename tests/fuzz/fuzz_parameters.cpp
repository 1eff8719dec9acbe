// fast_align's parameter files: what is read is written again as the same.
#include <string_view>

#include "errors.h"
#include "fuzz.h"
#include "lexicon.h"

using namespace weam;

namespace {

// All of a table; its rows are in the order of the file's words.
std::string again(std::string_view text) {
  Vocabulary source, target;
  const TTable table = read_parameters(text, source, target);
  return parameters_text(table, source, target, true, -1e9, Parallel{2, {}});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::string once;
  try {
    once = again({reinterpret_cast<const char*>(data), size});
  } catch (const LineError&) {
    return 0;
  }
  again(once);
  return 0;
}

std::vector<std::string> seeds() {
  return {"<eps>\tla\t-1.5\nthe\tla\t-0.25\nthe\tle\t-3\nhouse\tmaison\t-1e-3\n", "a b -1\r\na b -2\n\nc\td\t-200"};
}

std::vector<std::string> dictionary() {
  return {"\t", "\n", "\r\n", "<eps>", "-inf", "nan", "-1e308", "0", "1", "-0x1p3", "\xff", std::string(1, '\0')};
}
