#include "fertility.h"

#include <algorithm>

#include "numeric.h"

namespace weam {

namespace {

// Of word types' mean distribution, as many counts as this are added to those of each word: it is all that is known of
// a rare one. 1 to 10 are alike on development sets (docs/aligner.md).
constexpr double kShared = 5;
constexpr double kLeastShare = 0.01;
constexpr float kLeastRatio = 0.02f, kMostRatio = 50.0f;

// The probabilities that 0, 1 and 2 of some words are linked to each state.
struct Numbers {
  std::vector<float> none, one, two;

  void resize(std::size_t size) {
    for (std::vector<float>* values : {&none, &one, &two}) values->resize(std::max(values->size(), size));
  }
};

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

// Of all the words from j on, row j of [generated + 1][width].
void from_the_end(const Chain& chain, Numbers& numbers) {
  const std::size_t width = chain.width();
  numbers.resize((chain.generated() + 1) * width);
  float* const rows[3] = {numbers.none.data(), numbers.one.data(), numbers.two.data()};
  const std::size_t last = chain.generated() * width;
  std::fill_n(rows[0] + last, width, 1.0f);
  std::fill_n(rows[1] + last, width, 0.0f);
  std::fill_n(rows[2] + last, width, 0.0f);
  for (std::size_t j = chain.generated(); j-- > 0;) {
    const std::size_t here = j * width, next = here + width;
    add_word(chain.posterior(j), width, rows[0] + next, rows[1] + next, rows[2] + next, rows[0] + here, rows[1] + here,
             rows[2] + here);
  }
}

}  // namespace

void weigh_fertility(const Fertility& fertility, const Word* given, Chain& chain) {
  constexpr std::size_t kRatios = kFertilities - 1;
  const std::size_t width = chain.width(), unknown = fertility.ratios.size() / kRatios - 1;
  thread_local Numbers after, before;
  thread_local std::vector<float> ratios;
  from_the_end(chain, after);
  before.resize(width);
  std::fill_n(before.none.begin(), width, 1.0f);
  std::fill_n(before.one.begin(), width, 0.0f);
  std::fill_n(before.two.begin(), width, 0.0f);
  ratios.assign(kRatios * width, 1.0f);
  for (std::size_t i = 0; i < chain.given(); ++i) {
    const float* const own = fertility.ratios.data() + std::min<std::size_t>(given[i], unknown) * kRatios;
    for (std::size_t n = 0; n < kRatios; ++n) ratios[n * width + i + 1] = own[n];
  }
  float *const none = before.none.data(), *const one = before.one.data(), *const two = before.two.data();
  for (std::size_t j = 0; j < chain.generated(); ++j) {
    const std::size_t next = (j + 1) * width;
    weigh(none, one, after.none.data() + next, after.one.data() + next, ratios.data(), width, chain.t(j));
    add_word(chain.posterior(j), width, none, one, two, none, one, two);
  }
}

void count_fertility(const Word* given, const Chain& chain, double unit, std::uint64_t* counts) {
  thread_local Numbers all;
  from_the_end(chain, all);
  for (std::size_t i = 0; i < chain.given(); ++i) {
    const std::size_t s = i + 1;
    const double few = double{all.none[s]} + all.one[s] + all.two[s];
    const double numbers[kFertilities] = {all.none[s], all.one[s], all.two[s], std::max(0.0, 1 - few)};
    for (std::size_t n = 0; n < kFertilities; ++n) {
      const auto units = static_cast<std::uint64_t>(numbers[n] / unit + 0.5);
      if (units) __atomic_fetch_add(counts + std::size_t{given[i]} * kFertilities + n, units, __ATOMIC_RELAXED);
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
