#include "fertility.h"
#include "hmm.h"

namespace weam {

// The arithmetic of a chain, on plain pointers. `x` is what jumps into each word, or with a stride of 0 into the last.
struct Steps {
  Chain& chain;
  float* const x;
  const std::size_t stride;
  const float far, p0;
  float near[Jumps::kNear];  // above `far`
  std::size_t width = chain.width_, generated = chain.generated_;
  const float *t = chain.t_.data(), *null = chain.null_.data(), *leave = chain.leave_.data(), *end = chain.end_.data();
  float *real = chain.real_.data(), *scale = chain.scale_.data(), *state = chain.state_.data();
  float* y = chain.y_.data() + Chain::kMargin;
};

namespace {

// A state that no word has entered loses a factor with every NULL; below this it counts as lost, as denormal numbers
// would take a hundred times longer.
constexpr float kLost = 1e-30f;
constexpr int kBand = Jumps::kBand;

// sum = base + sum over d of values[-kSign * d] * near[d], for kLanes states at once.
template <int kSign>
WEAM_INLINE void convolve(const float* values, const float* near, float base, Lanes& sum) {
  Lanes even = Lanes{} + base, odd = {};  // two sums: each addition waits for the one before
  for (int d = -kBand; d < kBand; d += 2) {
    even += lanes(values - kSign * d) * near[d + kBand];
    odd += lanes(values - kSign * (d + 1)) * near[d + 1 + kBand];
  }
  sum = (even + odd) + lanes(values - kSign * kBand) * near[2 * kBand];
}

// The forward variables, scaled to a sum of 1 at each word: `state` ends with those of the last.
WEAM_CLONES void go_forward(const Steps& c) {
  float* const state = c.state;
  for (std::size_t j = 0; j < c.generated; ++j) {
    const float* const t = c.t + j * c.width;
    float *const real = c.real + j * c.width, *const x = c.x + j * c.stride;
    Lanes sums = {}, totals = {};
    for (std::size_t s = 0; s < c.width; s += kLanes) {
      const Lanes leaving = lanes(c.leave + s) * lanes(state + s);
      sums += leaving;
      lanes(x + s) = leaving;
    }
    const float base = add_lanes(sums) * c.far, null = c.p0 * c.null[j];
    for (std::size_t s = 0; s < c.width; s += kLanes) {
      Lanes enter;
      convolve<1>(x + s, c.near, base, enter);
      enter *= lanes(t + s);
      const Lanes now = enter + lanes(state + s) * null;
      totals += now;
      lanes(real + s) = enter;
      lanes(state + s) = now;
    }
    const float scale = 1.0f / add_lanes(totals);
    for (std::size_t s = 0; s < c.width; ++s) {
      state[s] *= scale;
      real[s] *= scale;
    }
    if (state[0] < kLost) state[0] = 0;
    c.scale[j] = scale;
  }
}

WEAM_INLINE float dot(const float* a, const float* b, std::size_t size) {
  Lanes sums = {};
  for (std::size_t s = 0; s < size; s += kLanes) sums += lanes(a + s) * lanes(b + s);
  return add_lanes(sums);
}

WEAM_CLONES float total_of(const Steps& c) { return dot(c.state, c.end, c.width); }

// Adds to counts[d] what came by a jump of d into a word.
WEAM_INLINE void count_jumps(const Steps& c, const float* x, float factor, double* counts) {
  for (int d = -kBand; d <= kBand; ++d) {
    counts[d + kBand] += static_cast<double>(dot(x - d, c.y, c.width)) * factor * (c.near[d + kBand] + c.far);
  }
}

// The backward variables, in `state`, and with them the posteriors. `total` is the sum of forward * backward, which is
// the same at every word.
WEAM_CLONES void go_backward(const Steps& c, float total, double* jump_counts) {
  float* const state = c.state;
  std::copy(c.end, c.end + c.width, state);
  const float share = 1.0f / total;
  for (std::size_t j = c.generated; j-- > 0;) {
    const float* const t = c.t + j * c.width;
    float* const real = c.real + j * c.width;
    Lanes sums = {};
    for (std::size_t s = 0; s < c.width; s += kLanes) {
      const Lanes now = lanes(state + s), word = lanes(t + s) * now;
      sums += word;
      lanes(c.y + s) = word;
      lanes(real + s) *= now * share;
    }
    if (jump_counts) count_jumps(c, c.x + j * c.stride, c.scale[j] * share, jump_counts);
    const float base = add_lanes(sums) * c.far, null = c.p0 * c.null[j] * c.scale[j];
    for (std::size_t s = 0; s < c.width; s += kLanes) {
      Lanes from;
      convolve<-1>(c.y + s, c.near, base, from);
      lanes(state + s) = (lanes(c.leave + s) * c.scale[j]) * from + lanes(state + s) * null;
    }
  }
}

}  // namespace

DiagonalSettings trained_settings(const HmmSettings& settings) {
  DiagonalSettings trained;
  trained.iterations = settings.start_iterations;
  trained.alpha = settings.alpha;
  return trained;
}

Jumps::Jumps() {
  for (int d = -kBand; d <= kBand; ++d) near[static_cast<std::size_t>(d + kBand)] = 1.0f / (1.0f + std::abs(d - 1.0f));
  far = near[0] / 2;
}

void JumpCounts::add(const JumpCounts& other) {
  for (std::size_t d = 0; d < near.size(); ++d) near[d] += other.near[d];
  all += other.all;
}

Jumps JumpCounts::weights() const {
  double within = 0;
  for (const double count : near) within += count;
  const double share = 1.0 / (all + 0.5 * (Jumps::kNear + 1));
  Jumps jumps;
  jumps.far = static_cast<float>((std::max(0.0, all - within) + 0.5) / 20 * share);
  for (std::size_t d = 0; d < near.size(); ++d) {
    jumps.near[d] = std::max(static_cast<float>((near[d] + 0.5) * share), jumps.far);
  }
  return jumps;
}

void Chain::begin(std::size_t given, std::size_t generated) {
  given_ = given;
  generated_ = generated;
  width_ = padded(given + 1);
  t_.assign(generated * width_, 0.0f);
  for (std::size_t j = 0; j < generated; ++j) std::fill_n(t(j) + 1, given, kUnseen);
  real_.resize(std::max(real_.size(), t_.size()));
  for (std::vector<float>* const values : {&null_, &scale_}) values->resize(std::max(values->size(), generated));
  state_.resize(std::max(state_.size(), width_));
  y_.assign(width_ + 2 * kMargin, 0.0f);
  for (std::vector<float>* const values : {&leave_, &end_}) values->assign(width_, 0.0f);
}

LargeFloats& spare_space() {
  thread_local LargeFloats space;
  return space;
}

std::uint64_t pair_bytes(const Pair& pair) {
  const std::uint64_t source = padded(pair.sides[0].length + std::size_t{1});
  const std::uint64_t target = padded(pair.sides[1].length + std::size_t{1});
  return source * target * 7 * sizeof(float);
}

LongPair::LongPair(Gate& gate, const Pair& pair, Chain* chains)
    : gate_(gate), chains_(chains), bytes_(pair_bytes(pair) > kLongPair ? pair_bytes(pair) : 0) {
  if (bytes_ > 0) gate_.enter(bytes_);
}

LongPair::~LongPair() {
  if (bytes_ == 0) return;
  for (int d = 0; d < 2; ++d) chains_[d] = Chain();
  spare_space() = LargeFloats();
  gate_.leave(bytes_);
}

// Room for what jumps into each word, or into one, with margins of zeros. The rest is written before it is read.
float* Chain::clear_jumps(bool all) {
  LargeFloats& space = spare_space();
  const std::size_t stride = width_ + 2 * kMargin, rows = all ? generated_ : 1;
  space.resize(std::max(space.size(), rows * stride));
  for (std::size_t j = 0; j < rows; ++j) {
    std::fill_n(space.begin() + static_cast<std::ptrdiff_t>(j * stride), kMargin, 0.0f);
    std::fill_n(space.begin() + static_cast<std::ptrdiff_t>(j * stride + kMargin + width_), kMargin, 0.0f);
  }
  return space.data() + kMargin;
}

// From each state, (1 - p0) / the sum of the jumps to all words; and the jump beyond the last word.
void Chain::leave_weights(const Jumps& jumps, double p0) {
  double sums[Jumps::kNear + 1] = {};  // of near[0 .. d)
  for (std::size_t d = 0; d < Jumps::kNear; ++d) sums[d + 1] = sums[d] + jumps.near[d];
  for (std::size_t k = 0; k <= given_; ++k) {
    const std::int64_t first = 1 - static_cast<std::int64_t>(k), last = first + static_cast<std::int64_t>(given_) - 1;
    const std::int64_t low = std::max<std::int64_t>(first, -kBand), high = std::min<std::int64_t>(last, kBand);
    const std::int64_t count = std::max<std::int64_t>(0, high - low + 1);
    const double within = count ? sums[high + kBand + 1] - sums[low + kBand] : 0.0;
    const double all =
        within + static_cast<double>(jumps.far) * static_cast<double>(static_cast<std::int64_t>(given_) - count);
    leave_[k] = static_cast<float>((1.0 - p0) / all);
    end_[k] = jumps(static_cast<std::int64_t>(given_ + 1 - k));
  }
}

double Chain::run(const Jumps& jumps, double p0, JumpCounts* counts) {
  leave_weights(jumps, p0);
  const std::size_t stride = counts ? width_ + 2 * kMargin : 0;
  Steps steps{*this, clear_jumps(counts != nullptr), stride, jumps.far, static_cast<float>(p0), {}};
  for (std::size_t d = 0; d < Jumps::kNear; ++d) steps.near[d] = jumps.near[d] - jumps.far;
  std::fill_n(state_.begin(), width_, 0.0f);
  state_[0] = 1;
  go_forward(steps);
  const float total = total_of(steps);
  double log_probability = 0, product = 1;
  for (std::size_t j = 0; j < generated_; ++j) {
    product *= scale_[j];
    if (j % 4 != 3) continue;  // a logarithm for each word would take longer
    log_probability -= std::log(product);
    product = 1;
  }
  go_backward(steps, total, counts ? counts->near.data() : nullptr);
  if (counts) {
    for (std::size_t j = 0; j < generated_; ++j) {
      for (std::size_t s = 0; s < width_; ++s) counts->all += real_[j * width_ + s];
    }
  }
  return log_probability - std::log(product) + std::log(total) - std::log(kScale) * static_cast<double>(generated_);
}

double run(const HmmModel& model, int d, const Word* given, Chain& chain, JumpCounts* counts) {
  const Fertility& fertility = model.fertility[d];
  if (fertility.ratios.empty()) return chain.run(model.jumps[d], model.settings.p0, counts);
  const double log_probability = chain.run(model.jumps[d], model.settings.p0, nullptr);
  weigh_fertility(fertility, given, chain);
  chain.run(model.jumps[d], model.settings.p0, counts);
  return log_probability;
}

void Chain::best_path(const Jumps& jumps, double p0, std::vector<std::int32_t>& partners) {
  leave_weights(jumps, p0);
  const std::size_t states = given_ + 1;
  std::vector<float> best(generated_ * states), left(states);  // the better of real and NULL, and of leaving it
  std::vector<char> real(generated_ * states);
  const auto entering = [&](std::size_t s, std::size_t k) {
    return left[k] * jumps(static_cast<std::int64_t>(s) - static_cast<std::int64_t>(k));
  };
  const auto leave = [&](std::size_t j) {  // what `left` is before word j
    for (std::size_t k = 0; k < states; ++k) {
      left[k] = (j == 0 ? k == 0 ? 1.0f : 0.0f : best[(j - 1) * states + k]) * leave_[k];
    }
  };
  for (std::size_t j = 0; j < generated_; ++j) {
    float* const row = best.data() + j * states;
    leave(j);
    const float null = static_cast<float>(p0) * null_[j], far = *std::max_element(left.begin(), left.end()) * jumps.far;
    float most = 0;
    for (std::size_t s = 0; s < states; ++s) {
      float into = far;
      for (std::size_t k = s < kBand ? 0 : s - kBand; k < std::min(states, s + kBand + 1); ++k) {
        into = std::max(into, entering(s, k));
      }
      const float stay = null * (j == 0 ? s == 0 ? 1.0f : 0.0f : best[(j - 1) * states + s]);
      const float enter = t_[j * width_ + s] * into;
      real[j * states + s] = enter > stay;
      row[s] = std::max(enter, stay);
      most = std::max(most, row[s]);
    }
    for (std::size_t s = 0; s < states; ++s) row[s] /= most;
  }
  partners.assign(generated_, -1);
  std::size_t state = 0;
  for (std::size_t s = 1; s < states; ++s) {
    const float* const last = best.data() + (generated_ - 1) * states;
    if (last[s] * end_[s] > last[state] * end_[state]) state = s;
  }
  for (std::size_t j = generated_; j-- > 0;) {
    if (!real[j * states + state]) continue;
    partners[j] = static_cast<std::int32_t>(state) - 1;
    leave(j);
    std::size_t from = 0;
    for (std::size_t k = 1; k < states; ++k) {
      if (entering(state, k) > entering(state, from)) from = k;
    }
    state = from;
  }
}

void load_pair(const HmmModel& model, const Tile* tile, const Bitext& bitext, std::size_t k, Chain* chains,
               std::vector<std::uint64_t>& cells) {
  const TTable& table = model.base.table;
  const Pair& pair = bitext.pairs[k];
  const std::size_t source = pair.sides[0].length, target = pair.sides[1].length;
  const Word* const words[2] = {bitext.sentence(0, k), bitext.sentence(1, k)};
  Chain &forward = chains[0], &backward = chains[1];
  forward.begin(source, target);
  backward.begin(target, source);
  for (int d = 0; d < 2; ++d) {
    for (std::size_t n = 0; n < chains[d].generated(); ++n) {
      const Word word = words[generated_side(d)][n];
      chains[d].null(n) = word == kUnknown ? kUnseen : std::max(table.null_row[d][word], kLeast);
    }
  }
  float* const column = forward.t(0) + 1;
  const std::size_t width = forward.width();
  const auto set = [&](std::size_t i, std::size_t j, const float* t) {
    column[j * width + i] = std::max(t[0], kLeast);
    backward.t(i)[j + 1] = std::max(t[1], kLeast);
  };
  if (!tile) {
    cells.resize(std::max(cells.size(), target));
    for (std::size_t i = 0; i < source; ++i) {
      table.find(words[0][i], words[1], target, cells.data());
      for (std::size_t j = 0; j < target; ++j) {
        if (cells[j] != TTable::kNoCell) set(i, j, table.t_of(cells[j]));
      }
    }
    return;
  }
  constexpr float unseen[2] = {kUnseen, kUnseen};
  const Range entries = tile->entries_of(k);
  for (std::uint64_t entry = entries.begin; entry < entries.end; ++entry) {
    tile->prefetch_list(entry + 2);
    const std::size_t i = tile->position[entry];
    const float* const row = table.t.data() + table.rows[words[0][i]] * 2;
    tile->numbers(tile->list[entry], words[0][i] - tile->words.begin, [&](auto numbers) {
      for (std::size_t j = 0; j < target; ++j) {
        set(i, j, numbers[j] == numbers.kMissing ? unseen : row + std::size_t{numbers[j]} * 2);
      }
    });
  }
}

}  // namespace weam
