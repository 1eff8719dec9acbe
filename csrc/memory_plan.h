// What training will take, and how its work is cut to fit the memory that there is.
#pragma once

#include <array>

#include "corpus.h"
#include "parallel.h"

namespace weam {

// How the work is cut. None of it changes a bit of the result.
struct Layout {
  static constexpr std::uint64_t kUnlimited = ~std::uint64_t{0} >> 2;

  bool keep_index = true;                  // else made anew, a tile at a time, whenever it is needed
  std::uint64_t tile_bytes = kUnlimited;   // of the index of one tile
  std::string directory;                   // of temporary files for all that grows with the corpus; "": in memory
  std::uint64_t table_bytes = kUnlimited;  // of the table's rows in memory at once, where it lies in such a file
  std::uint64_t pair_bytes = kUnlimited;   // of the long pairs that an HMM works on at once; one may take more
};

// What training will take, in bytes, beside the text that has been read.
struct MemoryEstimate {
  double cells;
  std::uint64_t text;   // of the text itself, which files would take over
  std::uint64_t fixed;  // that grows with the vocabularies only
  std::uint64_t table;  // with the sums that counting it needs
  std::uint64_t index;
  std::uint64_t tile;        // the least of the index that there is at once: of the longest pair
  std::uint64_t fast, low;   // low: in tiles of the default size
  std::uint64_t random = 0;  // of the table, where it is read at random: then all of it is in memory
  // What is taken while the longest pair is worked on, and while as many long ones are as there are threads.
  std::uint64_t longest = 0, together = 0;
};

MemoryEstimate estimate_memory(const Bitext& bitext, const std::array<std::size_t, 2>& vocabulary, int directions,
                               const Parallel& parallel);

// Whether `bytes` are enough for the text, for what else is needed, and for its longest pair.
bool fits(const MemoryEstimate& estimate, std::uint64_t needed, std::uint64_t bytes);

// Cuts the work for `bytes` of memory, text included: in one piece, with tiles, or with files in `directory`; then not
// into more parts than can be worked through, even if that takes more.
Layout choose_layout(const MemoryEstimate& estimate, std::uint64_t bytes, const std::string& directory);

// What training will take in a layout.
std::uint64_t needed_bytes(const MemoryEstimate& estimate, const Layout& layout);

// Tiles of the default size, in memory.
Layout low_layout();

// The same for the HMM, which begins with the diagonal model.
MemoryEstimate estimate_hmm_memory(const Bitext& bitext, const std::array<std::size_t, 2>& vocabulary,
                                   const Parallel& parallel);

// What its model takes, once it is trained.
std::uint64_t kept_bytes(const MemoryEstimate& estimate, std::size_t words);

}  // namespace weam
