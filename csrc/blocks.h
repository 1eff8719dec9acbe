// A corpus in pieces: chunks of sentence pairs, which threads share, and blocks of chunks, whose index is in memory.
#pragma once

#include "links.h"
#include "ttable.h"

namespace weam {

constexpr std::uint64_t kTileBytes = 64 << 20;

// Chunks have about equal numbers of cells. They follow from the corpus alone: sums by chunk are the same however the
// work is cut and shared.
class Blocks {
 public:
  // Of blocks of which the index takes up to so many bytes.
  Blocks(const Bitext& bitext, std::uint64_t tile_bytes);

  std::size_t chunks() const { return bounds_.size() - 1; }
  Range pairs(Range block) const { return {bounds_[block.begin], bounds_[block.end]}; }
  Range whole() const { return {0, chunks()}; }
  const std::vector<Range>& list() const { return blocks_; }
  // Blocks of up to so many pairs.
  std::vector<Range> of_pairs(std::size_t most) const;

  // Calls body(pair, chunk, thread) for every pair of a block, those of a chunk in order on one thread.
  template <class Body>
  void run(Range block, const Parallel& parallel, Body body) const {
    parallel.run(block.size(), [&](std::size_t part, int thread) {
      const std::size_t chunk = block.begin + part;
      for (std::size_t k = bounds_[chunk]; k < bounds_[chunk + 1]; ++k) body(k, chunk, thread);
    });
  }

 private:
  Bounds bounds_;
  std::vector<Range> blocks_;
};

// The links of consecutive sentence pairs, by direction, or of an HMM those of both; and the scores of each pair, by
// direction, and of an HMM their mean per generated word.
struct AlignedBlock {
  std::size_t begin = 0;  // the first pair
  std::vector<Links> links;
  std::vector<std::vector<double>> scores;
};

// Takes the blocks of a corpus in order.
using Sink = std::function<void(AlignedBlock&&)>;

// A block while its chunks are worked on.
class OpenBlock {
 public:
  OpenBlock(const Blocks& blocks, Range block, std::size_t links, std::size_t scores);
  Links& links(std::size_t number, std::size_t chunk) { return parts_[number][chunk - first_chunk_]; }
  double& score(std::size_t number, std::size_t pair) { return aligned_.scores[number][pair - aligned_.begin]; }
  AlignedBlock close();

 private:
  AlignedBlock aligned_;
  std::size_t first_chunk_;
  std::vector<std::vector<Links>> parts_;
};

// A text in the words of a table with sorted rows.
struct TableView {
  const TTable& table;
  const Bitext& bitext;
};

// Calls use(blocks, block, a tile of each view) for the blocks of a text, which comes once in the words of each table.
// Few pairs have no tiles: they are looked up word by word, as an index would cost more.
void for_each_block(const std::vector<TableView>& views, const Parallel& parallel,
                    const std::function<void(const Blocks&, Range, const std::vector<Tile>&)>& use);

}  // namespace weam
