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
  std::uint64_t words;  // of both sides
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

// The same for the HMM, which begins with the diagonal model.
MemoryEstimate estimate_hmm_memory(const Bitext& bitext, const std::array<std::size_t, 2>& vocabulary,
                                   const Parallel& parallel);

// How a training is laid out, and what it will take in bytes.
struct MemoryPlan {
  Layout layout;
  std::uint64_t needed, fast;  // beside the text; as the fast mode would
  std::uint64_t longest;       // while the longest pair is worked on
  std::uint64_t kept;          // of a model for both directions, once it is done

  const char* mode() const { return layout.keep_index ? "fast" : layout.directory.empty() ? "low" : "files"; }
};

// Cuts the work for `bytes` of memory, text included: in one piece (fast), with tiles (low), or with files in
// `directory`; then not into more parts than can be worked through, even if that takes more. What is left is for long
// pairs. The mode is that one, or "auto". Throws std::invalid_argument for another.
MemoryPlan plan_memory(const MemoryEstimate& estimate, const std::string& mode, std::uint64_t bytes,
                       const std::string& directory);

}  // namespace weam
