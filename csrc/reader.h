// Bitext as integers: the bytes of text files in, both sides of a corpus out. Reads what weam_ext/text/bitext.py reads.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "corpus.h"
#include "parallel.h"

namespace weam {

// The length of the longest beginning that is UTF-8.
std::size_t valid_utf8(std::string_view text);

using Columns = std::array<std::size_t, 2>;     // of source and target, from 0
using Sides = std::array<std::string_view, 2>;  // of a pair

// The source and the target of a line that holds both; a line with nothing on it is an empty pair. `tabs` is whether
// the file is tab-separated, which its first line with anything on it tells if it is not known: one with "|||" between
// blanks, that all lines are split at their first one; one with a tab, that they have columns, of which the first two
// are meant. Throws LineError.
Sides split_pair(std::string_view line, const std::optional<Columns>& columns, std::optional<bool>& tabs,
                 std::uint64_t number);

struct ReaderOptions {
  int files = 1;                   // 1: both sides on each line; 2: line-aligned files of a side each
  std::optional<Columns> columns;  // where all lines are tab-separated
  std::size_t max_length = 0;      // words; 0: any
  std::uint64_t limit = 0;         // pairs; 0: all
  // Bytes of text that a thread reads at a time. What is read does not depend on it.
  std::size_t chunk = std::size_t{1} << 20;
};

// Pairs that became empty on both sides, and whose words were not numbered.
struct DroppedPairs {
  std::uint64_t empty = 0;     // with an empty side
  std::uint64_t too_long = 0;  // with more than max_length words on a side
};

// Whether UTF-8 holds white space of Unicode's, which Python's split() cuts at, that is no blank here.
bool has_other_space(std::string_view text);

// The numbers of the words of a vocabulary, which are in the order of their first appearance in a stretch of the text;
// the stretches come in order. Called from any thread, but for each side from one at a time.
using Numbering = std::function<std::vector<Word>(int side, const Vocabulary& words)>;

struct UnequalLines : std::runtime_error {
  UnequalLines(std::uint64_t first, std::uint64_t second)
      : std::runtime_error("the files have different numbers of lines"), lines{first, second} {}

  std::uint64_t lines[2];
};

// The lines of a file that have been fed and not yet dropped.
class WaitingLines {
 public:
  void append(std::string_view data);
  void end();  // what follows the last line feed, if anything, is a line too
  void drop(std::size_t lines);

  bool ended() const { return ended_; }
  std::size_t size() const { return bounds_.size() - 1 - first_; }
  std::uint64_t dropped() const { return dropped_; }
  // Lines begin .. end with their ends.
  std::string_view text(std::size_t begin, std::size_t end) const {
    return {text_.data() + bounds_[first_ + begin], bounds_[first_ + end] - bounds_[first_ + begin]};
  }
  std::string_view operator[](std::size_t line) const;  // less its end

 private:
  std::string text_;
  std::vector<std::size_t> bounds_{0};  // of the lines in text_
  std::size_t first_ = 0;               // that waits
  std::uint64_t dropped_ = 0;
  bool ended_ = false;
};

// Line k becomes pair k. Errors are LineError, for the first bad line, and UnequalLines; after one, the reader is of no
// further use.
class BitextReader {
 public:
  BitextReader(Numbering numbering, const ReaderOptions& options, const Parallel& parallel, Bitext& bitext);

  // Takes any piece of a file: pieces need not end where lines or characters do. Of two files, what one has more than
  // the other is kept until the other follows. False when no more is needed: `limit` pairs have been read.
  bool feed(int file, const char* data, std::size_t size);
  // The file has been fed whole. Once it is known, further lines of the other are counted but not kept.
  void end(int file);
  // The same for all files.
  DroppedPairs finish();
  // Pairs with other white space than blanks, which is within words.
  std::uint64_t other_spaces() const { return other_spaces_; }

 private:
  struct Chunk;

  bool done() const { return options_.limit && bitext_.size() == options_.limit; }
  void read(bool all);  // what waits, once it is worthwhile
  void read_pairs(std::size_t pairs);
  void tell_format(std::size_t pairs);
  void read_chunk(Chunk& chunk) const;
  void append(std::vector<Chunk>& chunks);
  void drop_surplus(int file);

  const Numbering numbering_;
  const ReaderOptions options_;
  const Parallel& parallel_;
  WaitingLines files_[2];
  Bitext& bitext_;
  DroppedPairs dropped_;
  std::uint64_t other_spaces_ = 0;
  std::optional<bool> tabs_;  // whether lines have columns; not known before the first with anything on it
};

}  // namespace weam
