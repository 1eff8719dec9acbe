// Work in chunks over std::thread. What a chunk computes may depend on its number, never on the thread that took it:
// that is what makes every result the same at any thread count.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace weam {

struct Parallel {
  int threads = 1;
  // Called from the waiting thread about 20 times a second; may throw to stop the work (an interrupt).
  std::function<void()> poll;

  // Runs body(chunk, thread) for every chunk below `chunks`, thread < threads. The first exception is thrown again here
  // once every thread has stopped.
  void run(std::size_t chunks, const std::function<void(std::size_t chunk, int thread)>& body) const;
};

// Adds whole numbers to one that several threads add to: the sum is the same in any order.
inline void add_relaxed(std::uint64_t& sum, std::uint64_t value) {
  std::atomic_ref<std::uint64_t>(sum).fetch_add(value, std::memory_order_relaxed);
}

}  // namespace weam
