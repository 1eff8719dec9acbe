// Expected counts, which are the same in whatever order and parts they are added up, and the M-step of a distribution.
#pragma once

#include "diagonal.h"

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

// What a value of a distribution with these counts in all, over so many cells, is multiplied with: 2^96 / exp(digamma(
// sum of (count + alpha))), or 2^96 / sum.
double normalizer(const DiagonalSettings& settings, double counts, double cells);

// Counts, of this total, into probabilities times 2^96: t = exp(digamma(c + alpha)) / exp(digamma(sum(c + alpha))), or
// c / sum(c).
void normalize(const DiagonalSettings& settings, double* values, std::size_t size, double counts);

// The expected counts of all cells [cells][directions], as they were when the update made t. The totals must be known.
std::vector<float> recover_counts(const DiagonalModel& model, std::size_t target_words, const Parallel& parallel);

// The update of NULL's row of direction d from the counts of its words, with those of init, where they are known.
void update_null(DiagonalModel& model, int d, const DiagonalModel* init, const WordSums& counts);

// What an iteration measures of one direction.
struct Measures {
  double log_likelihood = 0, null = 0, feature = 0;
};

// Adds an iteration to the history, from its measures by chunk over so many generated words.
void record(DiagonalModel& model, int d, const std::vector<Measures>& chunks, std::size_t tokens);

}  // namespace weam
