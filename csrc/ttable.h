// The translation table: one cell for each (source word, target word) that meets in a sentence pair, in compressed rows
// by source word. A cell serves both directions: t(target | source) and t(source | target).
#pragma once

#include <ranges>

#include "corpus.h"
#include "numeric.h"
#include "parallel.h"

namespace weam {

// Probabilities are stored as t * 2^96 in float32. Variational Bayes gives rare words down to 1e-51; scaled, every
// value and every product with a prior stays a normal float, and posteriors, being ratios, do not notice.
constexpr double kScale = 79228162514264337593543950336.0;
// fast_align's probability of a word pair it has not seen, and of every pair before the first update.
constexpr float kUnseen = static_cast<float>(1e-9 * kScale);

// Direction 0 generates target words from source words, direction 1 source words from target words; side 0 is the
// source.
constexpr int given_side(int direction) { return direction; }
constexpr int generated_side(int direction) { return 1 - direction; }

struct TTable {
  static constexpr std::uint64_t kNoCell = ~std::uint64_t{0};

  int directions = 1;                  // 1: forward only; 2: forward and backward
  std::vector<std::uint64_t> rows{0};  // row e is cells[rows[e] .. rows[e + 1])
  Array<Word> columns;                 // target word of each cell, in the order of first meeting or ascending
  Array<float> t;                      // [cells][directions]
  std::vector<float> null_row[2];      // t(word | NULL): by target word (forward), by source word (backward)
  bool sorted = false;                 // the columns of each row ascend

  std::size_t sources() const { return rows.size() - 1; }
  std::size_t cells() const { return columns.size(); }
  // The cells of a source word.
  auto row(std::size_t e) const { return std::views::iota(rows[e], rows[e + 1]); }
  const float* t_of(std::uint64_t cell) const { return t.data() + cell * directions; }
  float* t_of(std::uint64_t cell) { return t.data() + cell * directions; }
  void sort_rows(const Parallel& parallel);
  // The cells of a word with others, kNoCell where there is none or a word is kUnknown. The rows must be sorted.
  void find(Word source, const Word* targets, std::size_t count, std::uint64_t* cells) const;
};

// Whole numbers that lie one behind the other in bytes of whatever alignment.
template <class T>
class Packed {
 public:
  using Number = T;
  static constexpr Number kMissing = static_cast<Number>(-1);  // the table has no such cell

  explicit Packed(const unsigned char* at) : at_(at) {}
  Number operator[](std::size_t k) const {
    Number number;
    std::memcpy(&number, at_ + k * sizeof number, sizeof number);
    return number;
  }
  void operator+=(std::size_t count) { at_ += count * sizeof(Number); }

 private:
  const unsigned char* at_;
};

// The index of a range of source words within a range of sentence pairs: where each word occurs and, with lists, for
// each target word of the pair its number in the source word's row. The lists of one word lie one behind the other, so
// that they are written and counted in order. By pair, the source words are in ascending order: what is added up over
// them does not depend on how the words are divided into ranges.
struct Tile {
  struct Occurrence {
    std::uint32_t pair, position;
  };
  static constexpr std::uint64_t kAhead = 8;  // occurrences, for prefetching

  Range words, pairs;
  std::vector<std::uint64_t> first;   // [words + 1]; word e is at occurrences[first[e] .. first[e + 1])
  std::vector<std::uint64_t> visits;  // [words + 1], cumulative: the target words that all its occurrences meet
  Array<Occurrence> occurrences;      // in corpus order for each word

  std::vector<char> wide;              // by word: the numbers in its lists have 32 bits, not 16
  std::vector<std::uint64_t> begins;   // by word: the byte of `cells` where its lists begin
  std::vector<std::uint32_t> entries;  // [pairs + 1]; pair k has entries[k] .. entries[k + 1)
  Array<std::uint32_t> position;       // by entry: of the source word
  Array<std::uint64_t> list;           // by entry: the byte of `cells` where its list begins
  Array<unsigned char> cells;

  bool has_lists() const { return !begins.empty(); }
  // Beyond the end, the last: so that what is ahead can be prefetched.
  const Occurrence& occurrence(std::uint64_t n) const {
    return occurrences[std::min<std::uint64_t>(n, occurrences.size() - 1)];
  }
  WEAM_INLINE void prefetch_list(std::uint64_t entry) const {
    const unsigned char* const at = cells.data() + list[std::min<std::uint64_t>(entry, list.size() - 1)];
    WEAM_PREFETCH(at);
    WEAM_PREFETCH(at + 64);
  }
  Range entries_of(std::size_t pair) const { return {entries[pair - pairs.begin], entries[pair - pairs.begin + 1]}; }
  // Calls use(numbers) for lists of a word (counted from words.begin) that begin at a byte of `cells`.
  template <class Use>
  void numbers(std::uint64_t byte, std::size_t word, Use use) const {
    if (wide[word]) {
      use(Packed<std::uint32_t>(cells.data() + byte));
    } else {
      use(Packed<std::uint16_t>(cells.data() + byte));
    }
  }
};

// For one thread: the number of each target word in the current row. An entry older than the row is none of it, so
// nothing is cleared between rows.
class RowNumbers {
 public:
  static constexpr std::uint32_t kNone = Packed<std::uint32_t>::kMissing;

  explicit RowNumbers(std::size_t target_words) : numberings_(target_words, 0) {}

  void begin_row() {
    row_ = next_;
    if (row_ + std::uint64_t{numberings_.size()} < kNone) return;
    std::fill(numberings_.begin(), numberings_.end(), 0);
    row_ = next_ = 1;
  }
  void begin_row(const Word* columns, std::size_t size) {
    begin_row();
    for (std::size_t k = 0; k < size; ++k) add(columns[k]);
  }
  std::uint32_t find(Word word) const { return numberings_[word] >= row_ ? numberings_[word] - row_ : kNone; }
  std::uint32_t add(Word word) {
    numberings_[word] = next_;
    return next_++ - row_;
  }
  // Whether the row had no such word; now it has.
  bool is_new(Word word) {
    if (find(word) != kNone) return false;
    add(word);
    return true;
  }

 private:
  std::vector<std::uint32_t> numberings_;
  std::uint32_t row_ = 1, next_ = 1;
};

inline std::uint64_t cells_of(const Pair& pair) { return std::uint64_t{pair.sides[0].length} * pair.sides[1].length; }

// Calls use(word, pair, position, words of the target) for every source word of these pairs.
template <class Use>
void for_each_source_word(const Bitext& bitext, Range pairs, Use use) {
  for (std::size_t k = pairs.begin; k < pairs.end; ++k) {
    const auto [source, target] = bitext.pairs[k].sides;
    const Word* const sentence = bitext.sentence(0, k);
    for (std::uint32_t i = 0; i < source.length; ++i) use(sentence[i], static_cast<std::uint32_t>(k), i, target.length);
  }
}

// A tile without lists, and one with lists over the finished rows of a table, which need not have all of its cells.
Tile list_occurrences(const Bitext& bitext, Range words, Range pairs);
Tile list_cells(const Bitext& bitext, Range words, Range pairs, const TTable& table,
                std::vector<RowNumbers>& numberings, const Parallel& parallel);

// Of each source word of a range the target words, in the order of first meeting.
using Rows = std::vector<std::vector<Word>>;

// Adds what the words of a tile meet to their rows. Where that makes them complete, the tile may get its lists.
void extend_rows(Rows& rows, Tile& tile, const Bitext& bitext, bool with_lists, std::vector<RowNumbers>& numberings,
                 const Parallel& parallel);
void append_rows(Rows rows, TTable& table, const Parallel& parallel);

// By target word: how many cells it has.
std::vector<double> count_columns(const TTable& table, std::size_t target_words, const Parallel& parallel);

// The number of distinct cells of a corpus, from every 16th source word by rank of how much it meets.
double estimate_cells(const Bitext& bitext, std::size_t source_words, std::size_t target_words);

// Calls use(target word) for every one that each occurrence of a word (counted from words.begin) meets.
template <class Use>
WEAM_INLINE void for_each_visit(const Tile& tile, const Bitext& bitext, std::size_t word, Use use) {
  const auto sentence = [&](std::uint64_t n) { return bitext.sentence(1, tile.occurrence(n).pair); };
  for (std::uint64_t n = tile.first[word]; n < tile.first[word + 1]; ++n) {
    WEAM_PREFETCH(&bitext.pairs[tile.occurrence(n + 2 * Tile::kAhead).pair]);
    WEAM_PREFETCH(sentence(n + Tile::kAhead));
    const Word* const words = sentence(n);
    const std::uint32_t length = bitext.pairs[tile.occurrences[n].pair].sides[1].length;
    for (std::uint32_t j = 0; j < length; ++j) use(words[j]);
  }
}

}  // namespace weam
