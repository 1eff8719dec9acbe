#include "prior.h"

namespace weam {

namespace {

// floor(x) for 0 <= x < 2^51, in operations that vectorise everywhere.
WEAM_INLINE double floor_positive(double x) {
  constexpr double kRound = 4503599627370496.0;  // 2^52
  const double nearest = (x + kRound) - kRound;
  return nearest > x ? nearest - 1.0 : nearest;
}

// The prior of position i of m over the n positions of the other side, as two geometric series that fall by the ratio
// exp(-tension/n) away from the diagonal (section 3.1).
struct Series {
  double below, above;                  // how many positions lie up to the diagonal, and beyond it
  double below_feature, above_feature;  // of the position next to it
  double below_first, above_first;      // the term there
  double below_power, above_power;      // the ratio to the power of the length

  WEAM_INLINE Series(double i, double m, double n, double tension) {
    below = floor_positive(i * n / m);
    above = n - below;
    below_feature = below / n - i / m;
    above_feature = i / m - (below + 1.0) / n;
    below_first = exp_negative(tension * below_feature);
    above_first = exp_negative(tension * above_feature);
    below_power = exp_negative(-tension / n * below);
    // Where the lengths are swapped, i may exceed m. fast_align's unsigned length then wraps: an endless series.
    above_power = above < 0 ? 0.0 : exp_negative(-tension / n * above);
  }
  // Sum of the terms, times 1 - ratio.
  WEAM_INLINE double sum() const { return above_first * (1.0 - above_power) + below_first * (1.0 - below_power); }
  // Sum of the terms, each times its feature, which falls by 1/n from one to the next; times 1 - ratio.
  WEAM_INLINE double sum_with_feature(double n, double ratio) const {
    const double drop = ratio / (1.0 - ratio) / n;
    return above_first * ((1.0 - above_power) * (above_feature - drop) + above * above_power / n) +
           below_first * ((1.0 - below_power) * (below_feature - drop) + below * below_power / n);
  }
};

// The expected feature, which is d log Z / d tension, summed over the m generated words of a sentence (section 3.2).
// fast_align divides by Z with the two lengths swapped; its tension, and so its links, are only met by doing the same.
WEAM_CLONES double expected_feature(std::uint32_t generated, std::uint32_t given, double tension) {
  const double m = generated, n = given;
  const double ratio = exp_negative(-tension / n), swapped_ratio = exp_negative(-tension / m);
  double sum = 0;
  for (std::uint32_t first = 0; first < generated; first += kLanes) {
    double terms[kLanes];
    for (std::uint32_t lane = 0; lane < kLanes; ++lane) {
      const double i = static_cast<std::int32_t>(first + lane + 1);
      terms[lane] = Series(i, m, n, tension).sum_with_feature(n, ratio) / Series(i, n, m, tension).sum();
    }
    const std::uint32_t lanes = std::min<std::uint32_t>(kLanes, generated - first);
    for (std::uint32_t lane = 0; lane < lanes; ++lane) sum += terms[lane];
  }
  return sum * (1.0 - swapped_ratio) / (1.0 - ratio);
}

}  // namespace

LengthTables::LengthTables(const Bitext& bitext) {
  std::vector<char> present(1, 0);
  for (const Pair& pair : bitext.pairs) {
    for (const Span& side : pair.sides) {
      if (side.length >= present.size()) present.resize(side.length + std::size_t{1}, 0);
      present[side.length] = 1;
    }
  }
  for (std::size_t n = 0; n < present.size(); ++n) {
    start.push_back(position.size());
    if (!present[n]) continue;
    for (std::size_t k = 1; k <= n; ++k) {
      position.push_back(static_cast<float>(static_cast<double>(k) / static_cast<double>(n)));
      before.push_back(static_cast<float>(static_cast<double>(k - 1) / static_cast<double>(n)));
    }
    position.resize(start.back() + padded(n + 1), 0.0f);
    before.resize(position.size(), 0.0f);
  }
  start.push_back(position.size());
}

void LengthTables::set_tension(int direction, double tension) {
  Direction& tables = directions[direction];
  for (std::vector<float>* table : {&tables.up, &tables.down, &tables.up_sum, &tables.down_sum}) {
    table->assign(position.size(), 0.0f);
  }
  for (std::size_t n = 1; n + 1 < start.size(); ++n) {
    if (start[n] == start[n + 1]) continue;
    float* const up = tables.up.data() + start[n];
    float* const down = tables.down.data() + start[n];
    float* const up_sum = tables.up_sum.data() + start[n];
    float* const down_sum = tables.down_sum.data() + start[n];
    for (std::size_t k = 0; k < n; ++k) {
      // Not std::exp, which differs from one C library to the next.
      const double value = exp_negative(-tension * static_cast<double>(k + 1) / static_cast<double>(n));
      up[k] = static_cast<float>(1.0 / value);
      down[k] = static_cast<float>(value);
    }
    double sum = 0;
    for (std::size_t k = 0; k < n; ++k) up_sum[k + 1] = static_cast<float>(sum += up[k]);
    sum = 0;
    for (std::size_t k = n; k-- > 0;) down_sum[k] = static_cast<float>(sum += down[k]);
  }
}

double fit_tension(double tension, double empirical, const std::vector<SizeCount>& sizes, const Parallel& parallel) {
  const Bounds bounds = split_every(64, sizes.size());
  double tokens = 0;
  for (const SizeCount& size : sizes) tokens += size.pairs * size.generated;
  std::vector<double> parts(sizes.size());
  for (int step = 0; step < 8; ++step) {
    parallel.for_each(bounds, [&](std::size_t k, int) {
      parts[k] = sizes[k].pairs * expected_feature(sizes[k].generated, sizes[k].given, tension);
    });
    double expected = 0;
    for (const double part : parts) expected += part;
    tension = std::clamp(tension + (empirical - expected / tokens) * 20.0, 0.1, kMostTension);
  }
  return tension;
}

}  // namespace weam
