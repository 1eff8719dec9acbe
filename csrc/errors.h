// What is wrong with input.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace weam {

// The message says what is wrong; who knows the file's name puts it and the line before it.
struct LineError : std::runtime_error {
  LineError(int file, std::uint64_t line, const std::string& what) : std::runtime_error(what), file(file), line(line) {}

  int file;            // 0, or 1 for the second of two line-aligned files
  std::uint64_t line;  // from 1
};

// Throws std::invalid_argument, in Python a ValueError.
inline void require(bool valid, const std::string& what) {
  if (!valid) throw std::invalid_argument(what);
}

}  // namespace weam
