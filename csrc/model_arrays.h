// A model as arrays, which may come from anywhere.
#pragma once

#include <cstddef>
#include <cstdint>

#include "corpus.h"
#include "diagonal.h"
#include "hmm.h"

namespace weam {

template <class T>
struct View {
  const T* values = nullptr;
  std::size_t size = 0;

  const T* begin() const { return values; }
  const T* end() const { return values + size; }
  T operator[](std::size_t k) const { return values[k]; }
};

// Arrays of a pair are of source and target words, or of the forward and the backward direction.
struct ModelArrays {
  View<std::uint8_t> words[2];       // UTF-8, one word behind the other
  View<std::uint64_t> word_ends[2];  // [words + 1], from 0
  View<std::uint64_t> rows;          // [source words + 1]
  View<std::uint32_t> columns;       // [cells], ascending in each row
  View<float> t;                     // [cells][directions], times 2^96
  View<float> null_row[2];           // [generated words], times 2^96
  View<double> totals[2];            // [given words], or none
};

// Takes the arrays over into a model whose directions are set. Throws std::invalid_argument where they break anything
// that aligning and training rely on: whatever they hold, what is made of them cannot fail later.
void take_arrays(const ModelArrays& arrays, Vocabulary* vocabularies, DiagonalModel& model);

// The same for the jumps of a direction: `near`, then `far`.
void take_jumps(View<float> values, Jumps& jumps);

// The same for the counts of fertilities of so many words, or for none.
void take_fertility(View<double> counts, std::size_t words, Fertility& fertility);

}  // namespace weam
