#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.h"
#include "parallel.h"

using namespace weam;

namespace {

constexpr int kThreads[] = {1, 2, 3, 8};

struct Stopped {};

}  // namespace

TEST(every_chunk_is_run_once) {
  for (const bool polled : {false, true}) {
    for (const int threads : kThreads) {
      const Parallel parallel{threads, polled ? [] {} : std::function<void()>()};
      for (const std::size_t chunks : {0, 1, 2, 5, 1000}) {
        std::vector<int> runs(chunks, 0);
        std::atomic<bool> known_thread{true};
        parallel.run(chunks, [&](std::size_t chunk, int thread) {
          ++runs[chunk];
          if (thread < 0 || thread >= threads) known_thread = false;
        });
        CHECK(runs == std::vector<int>(chunks, 1));
        CHECK(known_thread);
      }
    }
  }
}

TEST(an_exception_stops_the_work_and_comes_out) {
  for (const int threads : kThreads) {
    std::atomic<int> runs{0};
    try {
      Parallel{threads, {}}.run(1'000'000, [&](std::size_t chunk, int) {
        ++runs;
        if (chunk == 10) throw std::out_of_range("ten");
        std::this_thread::sleep_for(std::chrono::microseconds(10));
      });
      CHECK(!"no exception");
    } catch (const std::out_of_range& error) {
      CHECK_EQUAL(error.what(), "ten");
    }
    CHECK(runs > 10 && runs < 1'000'000);
  }
}

TEST(a_poll_that_throws_stops_the_work) {
  for (const int threads : kThreads) {
    const std::thread::id caller = std::this_thread::get_id();
    bool called_here = false;
    const Parallel parallel{threads, [&] {
                              called_here = std::this_thread::get_id() == caller;
                              throw Stopped();
                            }};
    std::atomic<int> runs{0};
    CHECK_THROWS(Stopped, parallel.run(100'000, [&](std::size_t, int) {
      ++runs;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }));
    CHECK(called_here);
    CHECK(runs < 100'000);
  }
}
