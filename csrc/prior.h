// The diagonal prior of Dyer, Chahuneau & Smith (2013): exp(-tension |i/I - j/J|) for words i of I and j of J.
#pragma once

#include "corpus.h"
#include "numeric.h"
#include "parallel.h"

namespace weam {

// Below the least, 1 - exp(-tension/n) has too few digits left to divide by; beyond the most training does not go.
constexpr double kLeastTension = 1e-6, kMostTension = 14.0;

// exp(-tension |i/I - j/J|) = min(down_I[i] up_J[j], up_I[i] down_J[j]) with up_n[k] = exp(tension k/n), down = 1/up:
// one-dimensional tables by length instead of an exp for each pair of positions. All begin with k = 1 and are padded
// with zeros, so that what is multiplied with the padding adds nothing.
struct LengthTables {
  struct Direction {
    std::vector<float> up, down;
    std::vector<float> up_sum, down_sum;  // of the first 0 .. n, and of all the others
  };

  explicit LengthTables(const Bitext& bitext);
  void set_tension(int direction, double tension);

  std::vector<std::size_t> start;       // by length; tables of absent lengths are empty
  std::vector<float> position, before;  // k/n and (k - 1)/n
  Direction directions[2];
};

WEAM_INLINE float prior(float up_a, float down_a, float up_b, float down_b) {
  const float above = down_a * up_b, below = up_a * down_b;
  return above < below ? above : below;
}

// So many sentence pairs have so many generated and given words.
struct SizeCount {
  std::uint32_t generated, given;
  double pairs;
};

// Eight gradient steps from `tension` towards the one whose expected feature -|i/I - j/J| is `empirical`.
double fit_tension(double tension, double empirical, const std::vector<SizeCount>& sizes, const Parallel& parallel);

}  // namespace weam
