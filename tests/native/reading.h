// Reading a bitext from memory in any manner, into text that shows all of the result.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "corpus.h"
#include "errors.h"
#include "parallel.h"
#include "reader.h"

namespace weam::test {

// What must make no difference.
struct Manner {
  int threads = 1;
  std::size_t chunk = std::size_t{1} << 20;
  std::size_t piece = std::size_t{1} << 20;  // fed at a time
  bool interleaved = true;                   // or one file behind the other
  bool ends = false;                         // end() is called as soon as a file is fed
};

inline void feed_all(BitextReader& reader, const std::vector<std::string>& files, const Manner& manner) {
  std::vector<std::size_t> fed(files.size(), 0);
  std::vector<bool> ended(files.size(), false);
  for (bool more = true; more;) {
    more = false;
    for (std::size_t file = 0; file < files.size(); ++file) {
      const std::string_view rest = std::string_view(files[file]).substr(fed[file]);
      const std::string_view piece = rest.substr(0, manner.piece);
      if (!piece.empty() && !reader.feed(static_cast<int>(file), piece.data(), piece.size())) return;
      fed[file] += piece.size();
      if (fed[file] < files[file].size()) {
        more = true;
        if (!manner.interleaved) break;
      } else if (manner.ends && !ended[file]) {
        reader.end(static_cast<int>(file));
        ended[file] = true;
      }
    }
  }
}

// "word#number word#number | word#number" for each pair.
inline std::string render(const Bitext& bitext, const DroppedPairs& dropped, const Vocabulary* vocabularies) {
  std::string text = std::to_string(dropped.empty) + " empty, " + std::to_string(dropped.too_long) + " too long\n";
  for (std::size_t pair = 0; pair < bitext.size(); ++pair) {
    for (int side = 0; side < 2; ++side) {
      const std::uint32_t length = bitext.pairs[pair].sides[side].length;
      if (side) text += "|";
      for (std::uint32_t k = 0; k < length; ++k) {
        const Word word = bitext.sentence(side, pair)[k];
        text += k || side ? " " : "";
        text += word == kUnknown ? "?" : std::string(vocabularies[side].text(word)) + "#" + std::to_string(word);
      }
      text += side ? "\n" : " ";
    }
  }
  return text;
}

// Numbers the words as they come, or by the vocabularies that are `known`.
inline std::string read(const std::vector<std::string>& files, ReaderOptions options, const Manner& manner,
                        const Vocabulary* known = nullptr) {
  options.files = static_cast<int>(files.size());
  options.chunk = manner.chunk;
  Vocabulary grown[2];
  const Numbering numbering = [&](int side, const Vocabulary& words) {
    return known ? known[side].find(words) : grown[side].intern(words);
  };
  const Parallel parallel{manner.threads, {}};
  Bitext bitext;
  BitextReader reader(numbering, options, parallel, bitext);
  try {
    feed_all(reader, files, manner);
    const DroppedPairs dropped = reader.finish();
    const std::uint64_t spaces = reader.other_spaces();
    return (spaces ? std::to_string(spaces) + " with other spaces\n" : "") +
           render(bitext, dropped, known ? known : grown);
  } catch (const LineError& error) {
    return "file " + std::to_string(error.file) + ", line " + std::to_string(error.line) + ": " + error.what();
  } catch (const UnequalLines& error) {
    return std::to_string(error.lines[0]) + " lines but " + std::to_string(error.lines[1]);
  }
}

}  // namespace weam::test
