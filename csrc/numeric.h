// The arithmetic of the hot loops: compiled once for each instruction set and chosen when the program starts. The code
// is the same, sums run in fixed lanes and nothing is contracted, so all versions give the same bits.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(__x86_64__) && defined(__linux__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(WEAM_NO_CLONES)
#define WEAM_CLONES __attribute__((target_clones("default", "avx2", "arch=x86-64-v4")))
#else
#define WEAM_CLONES
#endif

#if defined(__GNUC__)
#define WEAM_INLINE inline __attribute__((always_inline))
// GCC takes a function that only prefetches for one without effect and drops calls of it: make it WEAM_INLINE.
#define WEAM_PREFETCH(address) __builtin_prefetch(address)
#else
#define WEAM_INLINE inline
#define WEAM_PREFETCH(address)
#endif

namespace weam {

constexpr std::size_t kLanes = 8;

constexpr std::size_t padded(std::size_t length) { return (length + kLanes - 1) / kLanes * kLanes; }

WEAM_INLINE float add_lanes(const float* lane) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

// kLanes numbers as one value, where a loop over them would not become one instruction. By reference only: how such a
// value is passed depends on the instruction set.
using Lanes = float __attribute__((vector_size(kLanes * sizeof(float))));
using LanesInMemory = float __attribute__((vector_size(kLanes * sizeof(float)), aligned(sizeof(float)), may_alias));

WEAM_INLINE const LanesInMemory& lanes(const float* at) { return *reinterpret_cast<const LanesInMemory*>(at); }
WEAM_INLINE LanesInMemory& lanes(float* at) { return *reinterpret_cast<LanesInMemory*>(at); }
WEAM_INLINE float add_lanes(const Lanes& values) {
  float lane[kLanes];
  lanes(lane) = values;
  return add_lanes(lane);
}

// exp(x) for x <= 0 without a branch or a table, so that a loop over it vectorises. Relative error below 1e-14 (Taylor
// to the 11th power on |r| <= ln(2)/2) down to x = -700, where it stays: 1e-304 is nothing here.
WEAM_INLINE double exp_negative(double x) {
  x = x > -700.0 ? x : -700.0;
  constexpr double kRound = 6755399441055744.0;  // 1.5 * 2^52: the sum's low bits hold the rounded quotient
  const double shifted = x * 1.4426950408889634 + kRound;
  const double quotient = shifted - kRound;
  const double r = (x - quotient * 0.6931471803691238) - quotient * 1.9082149292705877e-10;
  constexpr double kTaylor[] = {1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                                1.0 / 24,      1.0 / 6,      0.5,         1.0,        1.0};
  double p = 1.0 / 39916800;
  for (const double coefficient : kTaylor) p = p * r + coefficient;
  return p * std::bit_cast<double>((std::bit_cast<std::uint64_t>(shifted) + 1023) << 52);
}

// exp(digamma(x)) for x > 0, relative error below 1e-7. Six steps of the recurrence digamma(x) = digamma(x + 1) - 1/x,
// their reciprocals over one denominator, then exp of the asymptotic series in z = x + 5.5 expanded: no logarithm.
WEAM_INLINE double exp_digamma(double x) {
  const double q = x * x + 5.0 * x;
  const double steps = (2.0 * x + 5.0) * (3.0 * q * q + 20.0 * q + 24.0) / (q * (q + 4.0) * (q + 6.0));
  const double z = x + 5.5;
  const double r = 1.0 / z;
  return (z + r * (1.0 / 24 - 37.0 / 5760 * r * r)) * exp_negative(-steps);
}

}  // namespace weam
