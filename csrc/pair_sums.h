// Sums over the cells of one sentence pair: the inner loops of measuring and of decoding.
#pragma once

#include "prior.h"
#include "ttable.h"

namespace weam {

// One sentence of a pair, with its length's entries of LengthTables.
struct SideView {
  const Word* words;
  std::uint32_t begin, length;  // of its words in the corpus
  const float *position, *before, *up[2], *down[2], *up_sum[2], *down_sum[2];

  SideView(const Array<Word>& corpus, const Span& span, const LengthTables& lengths)
      : words(corpus.data() + span.begin), begin(span.begin), length(span.length) {
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
  std::size_t number;
  SideView source, target;

  PairView(const Bitext& bitext, std::size_t k, const LengthTables& lengths)
      : number(k),
        source(bitext.words[0], bitext.pairs[k].sides[0], lengths),
        target(bitext.words[1], bitext.pairs[k].sides[1], lengths) {}
  const SideView& generated(int d) const { return d == 0 ? target : source; }
  const SideView& given(int d) const { return d == 0 ? source : target; }
};

// Of the words of one sentence pair in one direction, by the generated word and padded.
struct Sums {
  std::vector<float> prior;           // sum of the unnormalised prior
  std::vector<float> z, feature;      // sum of prior * t, and of that times |i/I - j/J|
  std::vector<float> best, null;      // largest prior * t, and the posterior of NULL
  std::vector<std::int32_t> partner;  // and the first word that has it, or -1

  void begin(std::size_t length);
};

// One thread's.
struct Scratch {
  std::vector<float> t;      // [rows loaded together][padded target length][directions]
  std::vector<float> joint;  // [padded target length], prior * t
  std::vector<std::uint32_t> order;
  std::vector<std::uint64_t> cells;  // [target length]
  Sums sums[2];
};

// Sets the sums of a pair to nothing.
void begin_sums(const PairView& pair, int directions, Scratch& scratch);

// Each adds source words to the sums of a pair, in ascending order, and looks for the best partners if asked to:
// all of them, every t being kUnseen as before the first update;
void add_uniform(const PairView& pair, int directions, Scratch& scratch);
// those of a tile with lists, which has all cells;
void add_tile(const TTable& table, const Tile& tile, const PairView& pair, bool best, Scratch& scratch);
// the same, but a cell that is missing is kUnseen, and unknown words come last;
void add_new_text(const TTable& table, const Tile& tile, const PairView& pair, Scratch& scratch);
// all of them, as add_new_text does, but looked up in a table with sorted rows.
void add_looked_up(const TTable& table, const PairView& pair, Scratch& scratch);

}  // namespace weam
