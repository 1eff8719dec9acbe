// Work in chunks over std::thread. What a chunk computes may depend on its number, never on the thread that took it:
// that is what makes every result the same at any thread count.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

namespace weam {

struct Range {
  std::size_t begin, end;

  std::size_t size() const { return end - begin; }
};

// Ranges one behind the other: range p is [bounds[p], bounds[p + 1]).
using Bounds = std::vector<std::size_t>;

constexpr std::size_t kChunks = 256;  // more than there are threads, so that none waits long for the last

// Splits 0 .. size into kChunks ranges of about equal size, or into ranges of `most` elements.
Bounds split_evenly(std::size_t size);
Bounds split_every(std::size_t most, std::size_t size);

// Splits 0 .. size into at most kChunks ranges of about equal weight, or into ranges of one element or of a weight up
// to `most`. `cumulative` has size + 1 ascending entries.
Bounds split_by_weight(const std::vector<std::uint64_t>& cumulative);
std::vector<Range> split_below(const std::vector<std::uint64_t>& cumulative, std::uint64_t most);

struct Parallel {
  int threads = 1;
  // Called from the waiting thread about 20 times a second; may throw to stop the work (an interrupt).
  std::function<void()> poll;

  // Runs body(chunk, thread) for every chunk below `chunks`, thread < threads. The first exception is thrown again here
  // once every thread has stopped.
  void run(std::size_t chunks, const std::function<void(std::size_t chunk, int thread)>& body) const;

  // The same with body(range, chunk, thread) for every range.
  template <class Body>
  void run_ranges(const Bounds& bounds, Body body) const {
    run(bounds.size() - 1,
        [&](std::size_t chunk, int thread) { body(Range{bounds[chunk], bounds[chunk + 1]}, chunk, thread); });
  }
  // The same with body(element, thread) for every element of every range.
  template <class Body>
  void for_each(const Bounds& bounds, Body body) const {
    run_ranges(bounds, [&](Range range, std::size_t, int thread) {
      for (std::size_t k = range.begin; k < range.end; ++k) body(k, thread);
    });
  }
};

// What the chunks have made, one behind the other. Each part is freed as soon as it has been copied.
template <class Values>
Values joined(std::vector<Values> parts) {
  std::size_t size = 0;
  for (const Values& part : parts) size += part.size();
  Values whole;
  whole.reserve(size);
  for (Values& part : parts) {
    whole.insert(whole.end(), part.begin(), part.end());
    part = Values();
  }
  return whole;
}

// Adds whole numbers to one that several threads add to: the sum is the same in any order.
inline void add_relaxed(std::uint64_t& sum, std::uint64_t value) {
  std::atomic_ref<std::uint64_t>(sum).fetch_add(value, std::memory_order_relaxed);
}

}  // namespace weam
