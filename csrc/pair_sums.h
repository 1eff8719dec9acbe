// Sums over the cells of one sentence pair: the inner loops of measuring and of decoding.
#pragma once

#include <cstdint>
#include <vector>

#include "corpus.h"
#include "prior.h"
#include "ttable.h"

namespace weam {

// A corpus laid over a table: what training and decoding both walk.
struct AlignedCorpus {
  const Corpus& source;
  const Corpus& target;
  const CellIndex& index;
  LengthTables lengths;
  std::vector<std::size_t> chunks;  // bounds of ranges of sentence pairs with about equal numbers of cells

  AlignedCorpus(const Corpus& source, const Corpus& target, const CellIndex& index, int directions,
                const double* tension);

  const Corpus& generated(int d) const { return d == 0 ? target : source; }
};

// One sentence of a pair, with its length's entries of LengthTables.
struct SideView {
  std::uint32_t begin, length;
  const float *position, *before, *up[2], *down[2], *up_sum[2], *down_sum[2];

  SideView(const CellIndex::Span& span, const LengthTables& lengths) : begin(span.begin), length(span.length) {
    const std::size_t at = lengths.start[length];
    position = lengths.position.data() + at;
    before = lengths.before.data() + at;
    for (int d = 0; d < 2; ++d) {
      up[d] = lengths.directions[d].up.data() + at;
      down[d] = lengths.directions[d].down.data() + at;
      up_sum[d] = lengths.directions[d].up_sum.data() + at;
      down_sum[d] = lengths.directions[d].down_sum.data() + at;
    }
  }
};

struct PairView {
  SideView source, target;

  PairView(const AlignedCorpus& corpus, std::size_t pair)
      : source(corpus.index.pairs[pair].source, corpus.lengths),
        target(corpus.index.pairs[pair].target, corpus.lengths) {}
  const SideView& generated(int d) const { return d == 0 ? target : source; }
  const SideView& given(int d) const { return d == 0 ? source : target; }
};

// Of the words of one sentence pair in one direction, by the generated word and padded.
struct Sums {
  std::vector<float> prior;           // sum of the unnormalised prior
  std::vector<float> z, feature;      // sum of prior * t, and of that times |i/I - j/J|
  std::vector<float> best;            // largest prior * t
  std::vector<std::int32_t> partner;  // and the first word that has it, or -1

  void begin(std::size_t length);
};

// One thread's.
struct Scratch {
  std::vector<float> t;      // [rows loaded together][padded target length][directions]
  std::vector<float> joint;  // [padded target length], prior * t
  Sums sums[2];

  void begin(const PairView& pair);
};

// Fills the sums of a pair, and the best partners where asked for. `uniform`: every t is kUnseen, as before the first
// update, and need not be looked up; then `scratch` must be new.
void sum_pair(const TTable& table, const AlignedCorpus& corpus, const PairView& pair, bool uniform, bool best,
              Scratch& scratch);

}  // namespace weam
