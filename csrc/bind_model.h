// A trained model as Python holds it.
#pragma once

#include "bind.h"
#include "hmm.h"

namespace weam {

// What training made. It never changes, but for the order of its cells, which is a matter of its own.
class Model {
 public:
  Vocabulary vocabularies[2];
  HmmModel hmm;  // of the diagonal model, `base` alone
  bool is_hmm = false;
  DiagonalModel& diagonal = hmm.base;

  const Vocabulary& vocabulary(int side) const { return vocabularies[checked(side, 2, "side ")]; }
  int direction(int d) const { return checked(d, diagonal.table.directions, "direction "); }
  // With sorted rows; called without the GIL.
  const DiagonalModel& sorted(const Parallel& parallel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    diagonal.table.sort_rows(parallel);
    return diagonal;
  }

 private:
  std::mutex mutex_;
};

}  // namespace weam
