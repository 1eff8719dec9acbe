// The hidden Markov model of word alignment (Vogel, Ney & Tillmann 1996) with the NULL states of Och & Ney (2003,
// section 2.2), both directions over one translation table. States are the positions 0 .. I of the given sentence, each
// real or NULL; 0, before the first word, is where a sentence starts, and has no word.
#pragma once

#include <array>
#include <condition_variable>
#include <mutex>

#include "diagonal.h"
#include "symmetrize.h"

namespace weam {

struct HmmSettings {
  int start_iterations = 3;  // of the diagonal model
  int iterations = 3;        // of this one
  double p0 = 0.1;           // of a word to come from NULL
  double alpha = 0.13;       // Dirichlet prior of the variational update
  bool fertility = false;    // whether the numbers of links of words are modelled
};

// Jumps of a text of less than 2^60 words weigh more.
constexpr float kLeastJump = 1e-20f;

// How likely a jump of `distance` positions is, but for a factor. All beyond the band share one weight: then the sum
// over all jumps into a position is a constant part and a narrow convolution.
struct Jumps {
  static constexpr int kBand = 10;
  static constexpr std::size_t kNear = 2 * kBand + 1;

  std::array<float, kNear> near{};  // of -kBand .. kBand; none below `far`
  float far = 0;                    // of every longer one

  Jumps();  // 1 / (1 + |distance - 1|)
  float operator()(std::int64_t distance) const {
    return distance >= -kBand && distance <= kBand ? near[static_cast<std::size_t>(distance + kBand)] : far;
  }
};

// No t counts as less, so that what is made of a few stays a normal number.
constexpr float kLeast = static_cast<float>(1e-30 * kScale);

// Of the given words: 0, 1, 2, and more links.
constexpr std::size_t kFertilities = 4;
struct Fertility {
  std::vector<double> counts;  // [words][kFertilities], expected; nothing where it is not modelled
  std::vector<float> ratios;   // [words + 1][kFertilities - 1]: of n + 1 links to n, the last row of unknown words
};

// Of the table of a model, once it is trained.
DiagonalSettings trained_settings(const HmmSettings& settings);

struct JumpCounts {
  std::array<double, Jumps::kNear> near{};
  double all = 0;

  void add(const JumpCounts& other);
  Jumps weights() const;
};

// The table and the measures are those of the diagonal model that it started from, trained further.
struct HmmModel {
  HmmSettings settings;
  DiagonalModel base;
  Jumps jumps[2];
  Fertility fertility[2];
};

// One direction of one sentence pair. Rows are of the generated words, in states 0 .. given, padded: t and what is made
// of it is 0 in state 0 and in the padding.
class Chain {
 public:
  void begin(std::size_t given, std::size_t generated);  // every t is kUnseen

  std::size_t width() const { return width_; }
  std::size_t given() const { return given_; }
  std::size_t generated() const { return generated_; }
  // t(word | state), times 2^96.
  float* t(std::size_t word) { return t_.data() + word * width_; }
  float& null(std::size_t word) { return null_[word]; }  // t(word | NULL)
  // The posteriors of the real states, after `run`.
  const float* posterior(std::size_t word) const { return real_.data() + word * width_; }

  // The forward-backward algorithm. Returns the logarithm of the probability; adds to the counts, if any.
  double run(const Jumps& jumps, double p0, JumpCounts* counts);
  // The most probable states (Viterbi): of each word its given word, or -1 for NULL.
  void best_path(const Jumps& jumps, double p0, std::vector<std::int32_t>& partners);

 private:
  friend struct Steps;
  static constexpr std::size_t kMargin = 16;  // zeros on both sides of what is convolved

  void leave_weights(const Jumps& jumps, double p0);
  float* clear_jumps(bool all);

  std::size_t given_ = 0, generated_ = 0, width_ = 0;
  LargeFloats t_, real_;             // [generated][width]
  std::vector<float> null_, scale_;  // [generated]
  std::vector<float> state_, y_;     // [width], with margins
  std::vector<float> leave_, end_;   // [width]
};

// One thread's space for what does not outlive a call: of a long pair, as much as its chains have.
LargeFloats& spare_space();

// What a pair takes while it is worked on: the chains of both directions and, one after the other, what each needs
// beside; and their mean.
std::uint64_t pair_bytes(const Pair& pair);
// No thread keeps more than this from one pair to the next, so that what all of them keep is little.
constexpr std::uint64_t kLongPair = 4 << 20;

// Keeps what threads hold at once below a number of bytes.
class Gate {
 public:
  explicit Gate(std::uint64_t most) : most_(most) {}

  // Waits until there is room. One alone may hold more than there is.
  void enter(std::uint64_t bytes) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return held_ == 0 || held_ + bytes <= most_; });
    held_ += bytes;
  }
  void leave(std::uint64_t bytes) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      held_ -= bytes;
    }
    changed_.notify_all();
  }

 private:
  const std::uint64_t most_;
  std::uint64_t held_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
};

// Waits until a pair can be worked on; if it is a long one, what it has taken is given back.
class LongPair {
 public:
  LongPair(Gate& gate, const Pair& pair, Chain* chains);
  ~LongPair();
  LongPair(const LongPair&) = delete;
  LongPair& operator=(const LongPair&) = delete;

  bool is_long() const { return bytes_ > 0; }

 private:
  Gate& gate_;
  Chain* const chains_;
  const std::uint64_t bytes_;
};

// The posteriors of a loaded chain of direction d, by its fertilities, if any. Returns the logarithm of the probability
// without them; adds to the counts of jumps, if any.
double run(const HmmModel& model, int d, const Word* given, Chain& chain, JumpCounts* counts);

// How links are taken from posteriors or paths.
struct Decoding {
  enum class Method { kPosterior, kForward, kBackward, kSymmetrized };
  Method method = Method::kPosterior;
  Heuristic heuristic = Heuristic::kIntersect;  // of kSymmetrized
  float threshold = 0.5f;                       // of kPosterior
};

// A model with sorted rows, and a text in its words.
struct HmmView {
  const HmmModel* model;
  const Bitext* bitext;
};

// Links for a text under one model, or under several, whose posteriors are averaged; then the text comes once in the
// words of each. Long pairs share so many bytes.
void align_hmm(const std::vector<HmmView>& views, const Decoding& decoding, std::uint64_t bytes,
               const Parallel& parallel, const Sink& sink);

// Begins both chains of a pair and writes t into them. With a tile, which has all its known words; else looked up.
void load_pair(const HmmModel& model, const Tile* tile, const Bitext& bitext, std::size_t k, Chain* chains,
               std::vector<std::uint64_t>& cells);

}  // namespace weam
