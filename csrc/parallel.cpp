#include "parallel.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace weam {

namespace {

struct Crew {
  std::atomic<std::size_t> next{0};
  std::atomic<bool> stop{false};
  std::mutex mutex;
  std::condition_variable finished;
  int working = 0;
  std::exception_ptr error;

  void fail(std::exception_ptr cause) {
    std::lock_guard<std::mutex> lock(mutex);
    if (!error) error = std::move(cause);
    stop = true;
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

void Parallel::run(std::size_t chunks, const std::function<void(std::size_t, int)>& body) const {
  if (chunks == 0) return;
  Crew crew;
  if (!poll && (threads == 1 || chunks == 1)) {
    crew.work(chunks, 0, body);
  } else {
    const int size = static_cast<int>(std::min<std::size_t>(std::max(threads, 1), chunks));
    std::vector<std::thread> workers;
    for (int thread = 0; thread < size; ++thread) {
      try {
        std::unique_lock<std::mutex> lock(crew.mutex);
        workers.emplace_back([&crew, chunks, thread, &body] {
          crew.work(chunks, thread, body);
          std::lock_guard<std::mutex> done(crew.mutex);
          --crew.working;
          crew.finished.notify_one();
        });
        ++crew.working;
      } catch (const std::system_error&) {
        if (workers.empty()) throw;  // fewer threads than asked for still finish the work
        break;
      }
    }
    std::unique_lock<std::mutex> lock(crew.mutex);
    while (!crew.finished.wait_for(lock, std::chrono::milliseconds(50), [&] { return crew.working == 0; })) {
      lock.unlock();
      if (poll && !crew.stop) {
        try {
          poll();
        } catch (...) {
          crew.fail(std::current_exception());
        }
      }
      lock.lock();
    }
    lock.unlock();
    for (std::thread& worker : workers) worker.join();
  }
  if (crew.error) std::rethrow_exception(crew.error);
}

}  // namespace weam
