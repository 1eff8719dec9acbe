#include "parallel.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>

namespace weam {

namespace {

struct Workers {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable started, finished;
  int starting = 0, working = 0;
  std::exception_ptr error;

  void fail(std::exception_ptr cause) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!error) error = std::move(cause);
    stop = true;
  }

  // Work takes memory, and the system ends a program that has none for a new thread's own variables, or to throw in
  // it: so nobody works before all threads have theirs.
  void begin() {
    thread_local volatile char own = 0;
    (void)own;
    (void)std::current_exception();
    std::unique_lock<std::mutex> lock(mutex);
    if (--starting == 0) started.notify_all();
    started.wait(lock, [&] { return starting == 0; });
  }

  void work(std::size_t chunks, int thread, const std::function<void(std::size_t, int)>& body) {
    try {
      for (std::size_t chunk; !stop && (chunk = next++) < chunks;) body(chunk, thread);
    } catch (...) {
      fail(std::current_exception());
    }
  }
};

}  // namespace

Bounds split_evenly(std::size_t size) {
  Bounds bounds;
  for (std::size_t chunk = 0; chunk <= kChunks; ++chunk) bounds.push_back(size * chunk / kChunks);
  return bounds;
}

Bounds split_every(std::size_t most, std::size_t size) {
  Bounds bounds{0};
  while (bounds.back() < size) bounds.push_back(std::min(size, bounds.back() + most));
  return bounds;
}

Bounds split_by_weight(const std::vector<std::uint64_t>& cumulative) {
  const std::size_t size = cumulative.size() - 1;
  const std::uint64_t share = cumulative.back() / kChunks, rest = cumulative.back() % kChunks;
  Bounds bounds{0};
  for (std::size_t part = 1; part <= kChunks && bounds.back() < size; ++part) {
    const std::uint64_t goal = share * part + rest * part / kChunks;
    const auto at = std::lower_bound(cumulative.begin() + bounds.back() + 1, cumulative.end(), goal);
    bounds.push_back(std::min<std::size_t>(at - cumulative.begin(), size));
  }
  if (bounds.back() != size) bounds.push_back(size);
  return bounds;
}

std::vector<Range> split_below(const std::vector<std::uint64_t>& cumulative, std::uint64_t most) {
  const std::size_t size = cumulative.size() - 1;
  std::vector<Range> ranges;
  for (std::size_t begin = 0; begin < size; begin = ranges.back().end) {
    std::size_t end = begin + 1;
    while (end < size && cumulative[end + 1] - cumulative[begin] <= most) ++end;
    ranges.push_back({begin, end});
  }
  return ranges;
}

void Parallel::run(std::size_t chunks, const std::function<void(std::size_t, int)>& body) const {
  if (chunks == 0) return;
  Workers workers;
  if (!poll && (threads == 1 || chunks == 1)) {
    workers.work(chunks, 0, body);
  } else {
    const int size = static_cast<int>(std::min<std::size_t>(std::max(threads, 1), chunks));
    std::vector<std::thread> running;
    running.reserve(static_cast<std::size_t>(size));
    std::unique_lock<std::mutex> lock(workers.mutex);
    for (int thread = 0; thread < size; ++thread) {
      try {
        running.emplace_back([&workers, chunks, thread, &body] {
          workers.begin();
          workers.work(chunks, thread, body);
          std::lock_guard<std::mutex> done(workers.mutex);
          --workers.working;
          workers.finished.notify_one();
        });
      } catch (const std::exception&) {
        break;  // fewer threads than asked for still finish the work
      }
    }
    workers.starting = workers.working = static_cast<int>(running.size());
    while (!workers.finished.wait_for(lock, std::chrono::milliseconds(50), [&] { return workers.working == 0; })) {
      lock.unlock();
      if (poll && !workers.stop) {
        try {
          poll();
        } catch (...) {
          workers.fail(std::current_exception());
        }
      }
      lock.lock();
    }
    lock.unlock();
    for (std::thread& thread : running) thread.join();
    if (running.empty()) workers.work(chunks, 0, body);
  }
  if (workers.error) std::rethrow_exception(workers.error);
}

}  // namespace weam
