// Work in chunks over std::thread. What a chunk computes may depend on its number, never on the thread that took it:
// that is what makes every result the same at any thread count.
#pragma once

#include <cstddef>
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

}  // namespace weam
