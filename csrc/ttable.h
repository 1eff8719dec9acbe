// The translation table: one cell for each (source word, target word) that meets in a sentence pair, in compressed rows
// by source word. A cell serves both directions: t(target | source) and t(source | target).
#pragma once

#include <cstdint>
#include <vector>

#include "corpus.h"
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

// Where each source word occurs, and the cell of every (source position, target position) of the corpus.
struct CellIndex {
  static constexpr std::uint32_t kMissing = 0xffffffff;

  std::vector<std::uint64_t> first;         // occurrences of word e: tokens[first[e] .. first[e + 1])
  std::vector<std::uint32_t> tokens;        // a position in Corpus::words, ascending for each word
  std::vector<std::uint32_t> sentence;      // the pair of each source token
  std::vector<std::uint64_t> pair_offsets;  // pair p: cells[pair_offsets[p] + i * J + j]
  std::vector<std::uint32_t> cells;         // counted from the row's start; kMissing where the table has none
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
