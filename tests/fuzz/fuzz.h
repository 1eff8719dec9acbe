// What a fuzz target gives: libFuzzer's entry point, and what the driver here starts from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

std::vector<std::string> seeds();
std::vector<std::string> dictionary();  // what matters to the parser, to be inserted anywhere

// Ends the program unless two ways to the same result agree.
inline void expect_equal(const std::string& found, const std::string& expected) {
  if (found == expected) return;
  std::fprintf(stderr, "found\n%s\ninstead of\n%s\n", found.c_str(), expected.c_str());
  std::abort();
}
