// Training of the diagonal model by expectation maximisation, in as much memory as there is.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "diagonal.h"
#include "hints.h"

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
struct Footprint {
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

Footprint predict_footprint(const Bitext& bitext, std::size_t source_words, std::size_t target_words, int directions,
                            const Parallel& parallel);

// Whether `bytes` are enough for the text, for what else is needed, and for its longest pair.
bool fits(const Footprint& footprint, std::uint64_t needed, std::uint64_t bytes);

// Cuts the work for `bytes` of memory, text included: in one piece, with tiles, or with files in `directory`; then not
// into more parts than can be worked through, even if that takes more.
Layout choose_layout(const Footprint& footprint, std::uint64_t bytes, const std::string& directory);

// What training will take in a layout.
std::uint64_t needed_bytes(const Footprint& footprint, const Layout& layout);

// Tiles of the default size, in memory.
Layout low_layout();

// Trains P(target | source), and P(source | target) as well when `directions` is 2. The last iteration only measures,
// as in fast_align; its best links go to `sink`, if any. The text is moved to files if the layout says so.
//
// With `init` the words of that model must have the same numbers. Its probabilities are the start, and its expected
// counts, where known, are added to those of the text in every update: incremental EM (Neal & Hinton 1998).
DiagonalModel fit_diagonal(Bitext& bitext, std::size_t source_words, std::size_t target_words, int directions,
                           const DiagonalSettings& settings, const Layout& layout, const DiagonalModel* init,
                           const Parallel& parallel, const std::function<void(const DiagonalModel&)>& progress,
                           const Sink& sink);

// Where the diagonal model has trained for another one to go on.
struct DiagonalStart {
  DiagonalModel model;
  std::vector<CellCount> hinted;  // of the cells that are not of `init`
  std::optional<Tile> index;      // of a layout that keeps it
};

// Trains both directions as the start of another model: all iterations end with an update. Without `init`, t begins as
// 1 + kHintedTimes * count times that of other cells.
DiagonalStart start_diagonal(Bitext& bitext, std::size_t source_words, std::size_t target_words,
                             const DiagonalSettings& settings, const Hints& hints, const Layout& layout,
                             const DiagonalModel* init, const Parallel& parallel,
                             const std::function<void(const DiagonalModel&)>& progress);
constexpr float kHintedTimes = 3;

}  // namespace weam
