// Sums that are the same in whatever order and in whatever parts they are added up.
#pragma once

#include <vector>

#include "numeric.h"

namespace weam {

// A sum of values >= 0 in fixed point: units of 2^-32, and the rest of each value in units of 2^-68. Integers add up in
// any order. Room for totals below 2^31 from fewer than 2^28 values, with an error below 2^-69 for each.
class FixedSum {
 public:
  WEAM_INLINE void add(double value) {
    const double scaled = value * 0x1p32;
    const std::uint64_t whole = static_cast<std::uint64_t>(static_cast<std::int64_t>(scaled));
    whole_ += whole;
    rest_ += static_cast<std::uint64_t>(static_cast<std::int64_t>((scaled - static_cast<double>(whole)) * 0x1p36));
  }
  void add(const FixedSum& other) {
    whole_ += other.whole_;
    rest_ += other.rest_;
  }
  double value() const { return static_cast<double>(whole_) * 0x1p-32 + static_cast<double>(rest_) * 0x1p-68; }

 private:
  std::uint64_t whole_ = 0, rest_ = 0;
};

// A sum for each word, of which every thread has a part.
class WordSums {
 public:
  WordSums(int threads) : parts_(threads) {}

  void clear(std::size_t words) {
    for (std::vector<FixedSum>& part : parts_) part.assign(words, FixedSum());
  }
  FixedSum* part(int thread) { return parts_[thread].data(); }
  double value(std::size_t word) const {
    FixedSum sum;
    for (const std::vector<FixedSum>& part : parts_) sum.add(part[word]);
    return sum.value();
  }

 private:
  std::vector<std::vector<FixedSum>> parts_;
};

}  // namespace weam
