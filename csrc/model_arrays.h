// A model as arrays, which may come from anywhere.
#pragma once

#include <span>

#include "hmm.h"

namespace weam {

// Arrays of a pair are of source and target words, or of the forward and the backward direction.
struct ModelArrays {
  std::span<const std::uint8_t> words[2];       // UTF-8, one word behind the other
  std::span<const std::uint64_t> word_ends[2];  // [words + 1], from 0
  std::span<const std::uint64_t> rows;          // [source words + 1]
  std::span<const std::uint32_t> columns;       // [cells], ascending in each row
  std::span<const float> t;                     // [cells][directions], times 2^96
  std::span<const float> null_row[2];           // [generated words], times 2^96
  std::span<const double> totals[2];            // [given words], or none
};

// Takes the arrays over into a model whose directions are set. Throws std::invalid_argument where they break anything
// that aligning and training rely on: whatever they hold, what is made of them cannot fail later.
void take_arrays(const ModelArrays& arrays, Vocabulary* vocabularies, DiagonalModel& model);

// The same for the jumps of a direction: `near`, then `far`.
void take_jumps(std::span<const float> values, Jumps& jumps);

// The same for the counts of fertilities of so many words, or for none.
void take_fertility(std::span<const double> counts, std::size_t words, Fertility& fertility);

}  // namespace weam
