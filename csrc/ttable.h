// The translation table: one cell for each (source word, target word) that meets in a sentence pair, in compressed rows
// by source word. A cell serves both directions: t(target | source) and t(source | target).
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "corpus.h"
#include "numeric.h"
#include "parallel.h"

namespace weam {

// Probabilities are stored as t * 2^96 in float32. Variational Bayes gives rare words down to 1e-51; scaled, every
// value and every product with a prior stays a normal float, and posteriors, being ratios, do not notice.
constexpr double kScale = 79228162514264337593543950336.0;
// fast_align's probability of a word pair it has not seen, and of every pair before the first update.
constexpr float kUnseen = static_cast<float>(1e-9 * kScale);

struct TTable {
  int directions = 1;                  // 1: forward only; 2: forward and backward
  std::vector<std::uint64_t> rows{0};  // row e is cells[rows[e] .. rows[e + 1])
  std::vector<Word> columns;           // target word of each cell, in the order of first meeting
  std::vector<float> t;                // [cells][directions]
  std::vector<float> null_row[2];      // t(word | NULL): by target word (forward), by source word (backward)

  std::size_t sources() const { return rows.size() - 1; }
  std::size_t cells() const { return columns.size(); }
};

// Where each source word occurs, and the list of cells there: for each target word of the pair, its number in the
// source word's row. The lists of one word lie one behind the other, so that they are written and counted in order.
struct CellIndex {
  struct Span {
    std::uint32_t begin, length;  // in Corpus::words
  };
  struct Pair {
    Span source, target;
  };
  struct Occurrence {
    std::uint32_t pair, position;
  };
  template <class Number>
  static constexpr Number kMissing = static_cast<Number>(-1);  // the table has no such cell
  static constexpr std::uint64_t kAhead = 8;                   // occurrences, for prefetching

  std::vector<Pair> pairs;
  std::vector<std::uint64_t> first;     // occurrences of word e: occurrences[first[e] .. first[e + 1])
  std::vector<Occurrence> occurrences;  // in corpus order for each word
  std::vector<char> wide;               // by word: the numbers in its lists have 32 bits, not 16
  std::vector<std::uint64_t> lists;     // by source token: the byte of `cells` where its list begins
  std::vector<unsigned char> cells;

  // Beyond the end, the last: so that what is ahead can be prefetched.
  const Occurrence& occurrence(std::uint64_t n) const {
    return occurrences[std::min<std::uint64_t>(n, occurrences.size() - 1)];
  }
  const Pair& pair_of(std::uint64_t n) const { return pairs[occurrence(n).pair]; }
  std::uint64_t token_of(std::uint64_t n) const {
    return std::uint64_t{pair_of(n).source.begin} + occurrence(n).position;
  }
  WEAM_INLINE void prefetch_pair(std::uint64_t n) const { WEAM_PREFETCH(&pair_of(n)); }
  WEAM_INLINE void prefetch_list(std::uint64_t token) const {
    const unsigned char* const list = cells.data() + lists[std::min<std::uint64_t>(token, lists.size() - 1)];
    WEAM_PREFETCH(list);
    WEAM_PREFETCH(list + 64);
  }

  // Calls use(numbers, missing) for the list of a source token with a known word.
  template <class Use>
  void list(std::uint64_t token, Word word, Use use) const {
    const unsigned char* const at = cells.data() + lists[token];
    if (wide[word]) {
      use(reinterpret_cast<const std::uint32_t*>(at), kMissing<std::uint32_t>);
    } else {
      use(reinterpret_cast<const std::uint16_t*>(at), kMissing<std::uint16_t>);
    }
  }
};

// Builds the table's shape (rows, columns) from the corpus together with the index.
CellIndex build_table(const Corpus& source, const Corpus& target, std::size_t source_words, std::size_t target_words,
                      const Parallel& parallel, TTable& table);

// The index of a corpus over an existing table; words that the table does not know are kUnknown.
CellIndex index_table(const Corpus& source, const Corpus& target, const TTable& table, std::size_t target_words,
                      const Parallel& parallel);

// Splits 0 .. size into at most `chunks` ranges of about equal weight: range c is [bounds[c], bounds[c + 1]).
// `cumulative` has size + 1 ascending entries.
std::vector<std::size_t> split_evenly(const std::vector<std::uint64_t>& cumulative, std::size_t chunks);

}  // namespace weam
