#include "fertility.h"

namespace weam {

namespace {

// Of word types' mean distribution, as many counts as this are added to those of each word: it is all that is known of
// a rare one. 1 to 10 are alike on development sets (docs/aligner-settings.md).
constexpr double kShared = 5;
constexpr double kLeastShare = 0.01;
constexpr float kLeastRatio = 0.02f, kMostRatio = 50.0f;

// The probabilities that 0, 1 and 2 of some words are linked to each state.
struct Numbers {
  float *none, *one, *two;

  // Those of no word.
  void begin(std::size_t width) const {
    std::fill_n(none, width, 1.0f);
    std::fill_n(one, width, 0.0f);
    std::fill_n(two, width, 0.0f);
  }
};

// One thread's, in `rows` rows of `width` each but for `two`, which has one row.
Numbers numbers_in(LargeFloats& space, std::size_t rows, std::size_t width) {
  space.resize(std::max(space.size(), (2 * rows + 1) * width));
  return {space.data(), space.data() + rows * width, space.data() + 2 * rows * width};
}

// One word more, from `before` to `after`, which may be the same.
WEAM_CLONES void add_word(const float* posterior, std::size_t width, const float* before, const float* one_before,
                          const float* two_before, float* none, float* one, float* two) {
  for (std::size_t s = 0; s < width; ++s) {
    const float linked = posterior[s] < 1.0f ? posterior[s] : 1.0f, not_linked = 1.0f - linked;
    two[s] = two_before[s] * not_linked + one_before[s] * linked;
    one[s] = one_before[s] * not_linked + before[s] * linked;
    none[s] = before[s] * not_linked;
  }
}

// t times the expected ratio, where the words before and after it are linked independently.
WEAM_CLONES void weigh(const float* none, const float* one, const float* none_after, const float* one_after,
                       const float* ratios, std::size_t width, float* t) {
  for (std::size_t s = 0; s < width; ++s) {
    const float no_other = none[s] * none_after[s];
    const float one_other = none[s] * one_after[s] + one[s] * none_after[s];
    const float more = 1.0f - no_other - one_other;
    const float ratio =
        no_other * ratios[s] + one_other * ratios[width + s] + (more > 0 ? more : 0) * ratios[2 * width + s];
    const float value = t[s] * ratio;
    t[s] = t[s] > 0 ? (value > kLeast ? value : kLeast) : 0.0f;
  }
}

// Of all the words from j on: with a step of `width`, row j of `none` and `one`, [generated + 1][width]; with none,
// what is left at the end is that of all words.
void from_the_end(const Chain& chain, const Numbers& numbers, std::size_t step) {
  const std::size_t width = chain.width(), last = chain.generated() * step;
  Numbers{numbers.none + last, numbers.one + last, numbers.two}.begin(width);
  for (std::size_t j = chain.generated(); j-- > 0;) {
    const std::size_t here = j * step, next = here + step;
    add_word(chain.posterior(j), width, numbers.none + next, numbers.one + next, numbers.two, numbers.none + here,
             numbers.one + here, numbers.two);
  }
}

}  // namespace

void weigh_fertility(const Fertility& fertility, const Word* given, Chain& chain) {
  constexpr std::size_t kRatios = kFertilities - 1;
  const std::size_t width = chain.width(), unknown = fertility.ratios.size() / kRatios - 1;
  thread_local std::vector<float> ratios;
  thread_local LargeFloats row;
  const Numbers after = numbers_in(spare_space(), chain.generated() + 1, width), before = numbers_in(row, 1, width);
  from_the_end(chain, after, width);
  before.begin(width);
  ratios.assign(kRatios * width, 1.0f);
  for (std::size_t i = 0; i < chain.given(); ++i) {
    const float* const own = fertility.ratios.data() + std::min<std::size_t>(given[i], unknown) * kRatios;
    for (std::size_t n = 0; n < kRatios; ++n) ratios[n * width + i + 1] = own[n];
  }
  for (std::size_t j = 0; j < chain.generated(); ++j) {
    const std::size_t next = (j + 1) * width;
    weigh(before.none, before.one, after.none + next, after.one + next, ratios.data(), width, chain.t(j));
    add_word(chain.posterior(j), width, before.none, before.one, before.two, before.none, before.one, before.two);
  }
}

void count_fertility(const Word* given, const Chain& chain, double unit, std::uint64_t* counts) {
  thread_local LargeFloats row;
  const Numbers all = numbers_in(row, 1, chain.width());
  from_the_end(chain, all, 0);
  for (std::size_t i = 0; i < chain.given(); ++i) {
    const std::size_t s = i + 1;
    const double few = double{all.none[s]} + all.one[s] + all.two[s];
    const double numbers[kFertilities] = {all.none[s], all.one[s], all.two[s], std::max(0.0, 1 - few)};
    for (std::size_t n = 0; n < kFertilities; ++n) {
      const auto units = static_cast<std::uint64_t>(numbers[n] / unit + 0.5);
      if (units) add_relaxed(counts[std::size_t{given[i]} * kFertilities + n], units);
    }
  }
}

void update_fertility(Fertility& fertility) {
  const std::size_t words = fertility.counts.size() / kFertilities;
  double shared[kFertilities] = {}, types = 0;
  for (std::size_t word = 0; word < words; ++word) {
    const double* const own = fertility.counts.data() + word * kFertilities;
    const double total = own[0] + own[1] + own[2] + own[3];
    if (total <= 0) continue;
    for (std::size_t n = 0; n < kFertilities; ++n) shared[n] += own[n] / total;
    ++types;
  }
  for (double& share : shared) share = (share + kLeastShare) / (types + kFertilities * kLeastShare);
  fertility.ratios.clear();
  for (std::size_t word = 0; word <= words; ++word) {
    const auto value = [&](std::size_t n) {
      return (word < words ? fertility.counts[word * kFertilities + n] : 0.0) + kShared * shared[n];
    };
    for (std::size_t n = 0; n + 1 < kFertilities; ++n) {
      const float ratio = static_cast<float>(value(n + 1) / value(n));
      fertility.ratios.push_back(std::clamp(ratio, kLeastRatio, kMostRatio));
    }
  }
}

}  // namespace weam
