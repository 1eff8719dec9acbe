// Training of the diagonal model by expectation maximisation, in as much memory as there is.
#pragma once

#include <memory>

#include "diagonal.h"
#include "hints.h"
#include "memory_plan.h"

namespace weam {

struct TrainOptions {
  std::array<std::size_t, 2> vocabulary{};  // how many words each side's has
  Layout layout;
  Parallel parallel;
  std::function<void(const DiagonalModel&)> progress;  // called after each iteration, if any
};

// Trains P(target | source), and P(source | target) as well when `directions` is 2. The last iteration only measures,
// as in fast_align; its best links go to `sink`, if any. The text is moved to files if the layout says so.
//
// With `init` the words of that model must have the same numbers. Its probabilities are the start, and its expected
// counts, where known, are added to those of the text in every update: incremental EM (Neal & Hinton 1998).
DiagonalModel fit_diagonal(Bitext& bitext, int directions, const DiagonalSettings& settings,
                           const TrainOptions& options, const DiagonalModel* init, const Sink& sink);

// Where the diagonal model has trained for another one to go on.
struct DiagonalStart {
  DiagonalModel model;
  std::vector<CellCount> hinted;      // of the cells that are not of `init`
  std::shared_ptr<const Tile> index;  // of a layout that keeps it
};

// Trains both directions as the start of another model: all iterations end with an update. Without `init`, t begins as
// 1 + kHintedTimes * count times that of other cells.
DiagonalStart start_diagonal(Bitext& bitext, const DiagonalSettings& settings, const Hints& hints,
                             const TrainOptions& options, const DiagonalModel* init);
constexpr float kHintedTimes = 3;

}  // namespace weam
