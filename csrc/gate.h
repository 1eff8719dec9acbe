// Keeps what threads hold at once below a number of bytes.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>

namespace weam {

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

}  // namespace weam
