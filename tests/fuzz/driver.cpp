// Runs a fuzz target on mutations of its seeds: for compilers without libFuzzer, with its flags.
//
//   fuzz_reader [-max_total_time=60] [-runs=1000] [-seed=1]   until then; a seed always tries the same inputs
//   fuzz_reader FILE ...                                      tries these inputs
//
// An input that fails is left in ./failed-SEED-RUN.
#include <fcntl.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

#include "fuzz.h"

// A finding is a signal, so that there is one way to learn of it.
extern "C" const char* __asan_default_options() { return "abort_on_error=1"; }
extern "C" const char* __ubsan_default_options() { return "abort_on_error=1:print_stacktrace=1"; }
extern "C" const char* __tsan_default_options() { return "abort_on_error=1:halt_on_error=1"; }

namespace {

constexpr std::size_t kLongest = 4096;
constexpr std::size_t kKept = 256;

std::string input;
char failed_name[64];

// Only what is allowed in a signal handler.
void leave_input(int signal) {
  std::signal(signal, SIG_DFL);
  const int file = ::open(failed_name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  const bool left = file >= 0 && ::write(file, input.data(), input.size()) == static_cast<ssize_t>(input.size());
  const char* const message = left ? "\nthe input that fails is in " : "\ncannot write ";
  for (const char* const part : {message, static_cast<const char*>(failed_name), "\n"}) {
    if (::write(2, part, std::strlen(part)) < 0) break;
  }
  std::raise(signal);
}

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15 | 1) {}
  std::size_t below(std::size_t bound) {  // xorshift64*
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return static_cast<std::size_t>((state_ * 0x2545f4914f6cdd1d) >> 32) % bound;
  }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

 private:
  std::uint64_t state_;
};

// A stretch of a text, mostly short.
std::string stretch(const std::string& text, Random& random) {
  if (text.empty()) return text;
  const std::size_t length = 1 + random.below(1 + random.below(text.size()));
  return text.substr(random.below(text.size()), length);
}

void mutate(std::string& text, const std::vector<std::string>& kept, const std::vector<std::string>& words,
            Random& random) {
  const std::size_t at = random.below(text.size() + 1);
  switch (random.below(8)) {
    case 0:
      if (at < text.size()) text[at] = static_cast<char>(text[at] ^ 1 << random.below(8));
      break;
    case 1:
      if (at < text.size()) text[at] = static_cast<char>(random.below(256));
      break;
    case 2:
      text.erase(at, 1 + random.below(1 + random.below(64)));
      break;
    case 3:
      text.insert(at, 1 + random.below(1 + random.below(256)), static_cast<char>(random.below(256)));
      break;
    case 4:
      text.insert(at, stretch(text, random));
      break;
    case 5:
      text = text.substr(0, at) + stretch(random.one_of(kept), random);
      break;
    case 6:
      text.insert(at, random.one_of(words));
      break;
    default:  // a word again and again
      for (std::size_t times = random.below(200); times > 0; --times) text.insert(at, random.one_of(words));
  }
  if (text.size() > kLongest) text.resize(kLongest);
}

void try_input() { LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(input.data()), input.size()); }

void fuzz(std::uint64_t seed, double seconds, std::uint64_t runs) {
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, leave_input);
  Random random(seed);
  const std::vector<std::string> words = dictionary();
  std::vector<std::string> kept = seeds();
  const auto begin = std::chrono::steady_clock::now();
  std::uint64_t run = 0;
  for (; run < runs; ++run) {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin;
    if (passed.count() > seconds) break;
    std::snprintf(failed_name, sizeof failed_name, "failed-%llu-%llu", static_cast<unsigned long long>(seed),
                  static_cast<unsigned long long>(run));
    input = random.one_of(kept);
    for (std::size_t times = random.below(6); times > 0; --times) mutate(input, kept, words, random);
    try_input();
    // Mutations of mutations, but never far from the seeds.
    if (kept.size() < kKept && random.below(16) == 0) kept.push_back(input);
    if (kept.size() == kKept) kept = seeds();
  }
  std::printf("%llu inputs, seed %llu\n", static_cast<unsigned long long>(run), static_cast<unsigned long long>(seed));
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t seed = 1, runs = std::numeric_limits<std::uint64_t>::max();
  double seconds = std::numeric_limits<double>::infinity();
  bool mutating = true;
  for (int k = 1; k < argc; ++k) {
    if (std::strncmp(argv[k], "-seed=", 6) == 0) {
      seed = std::strtoull(argv[k] + 6, nullptr, 10);
    } else if (std::strncmp(argv[k], "-runs=", 6) == 0) {
      runs = std::strtoull(argv[k] + 6, nullptr, 10);
    } else if (std::strncmp(argv[k], "-max_total_time=", 16) == 0) {
      seconds = std::strtod(argv[k] + 16, nullptr);
    } else {
      mutating = false;
      std::ifstream file(argv[k], std::ios::binary);
      if (!file) {
        std::fprintf(stderr, "%s: cannot be read\n", argv[k]);
        return 2;
      }
      input.assign(std::istreambuf_iterator<char>(file), {});
      try_input();
    }
  }
  if (mutating) fuzz(seed, seconds, runs);
  return 0;
}
