// The least a test needs: TEST(name) { CHECK(what must hold); }
#pragma once

#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace weam::test {

struct Test {
  const char* name;
  std::function<void()> run;
};

inline std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

struct Register {
  Register(const char* name, std::function<void()> run) { tests().push_back({name, std::move(run)}); }
};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

[[noreturn]] inline void fail(const char* file, int line, const std::string& what) {
  throw Failure(std::string(file) + ":" + std::to_string(line) + ": " + what);
}

inline void check_equal(const char* file, int line, const char* what, const std::string& found,
                        const std::string& expected) {
  if (found != expected) fail(file, line, std::string(what) + ":\n" + found + "\ninstead of\n" + expected);
}

// How often random tests repeat themselves: 1, or what the command line says.
inline int& rounds() {
  static int rounds = 1;
  return rounds;
}

// From 0 up to below `bound`; std's distributions differ between libraries, and a failure must come again.
inline std::size_t below(std::mt19937_64& random, std::size_t bound) { return random() % bound; }

}  // namespace weam::test

#define TEST(name)                                                \
  static void name();                                             \
  static const weam::test::Register register_##name(#name, name); \
  static void name()

#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) weam::test::fail(__FILE__, __LINE__, #condition); \
  } while (false)

// For texts: shows both.
#define CHECK_EQUAL(found, expected) weam::test::check_equal(__FILE__, __LINE__, #found, found, expected)

#define CHECK_THROWS(Type, expression)                                                  \
  do {                                                                                  \
    bool thrown = false;                                                                \
    try {                                                                               \
      static_cast<void>(expression);                                                    \
    } catch (const Type&) {                                                             \
      thrown = true;                                                                    \
    }                                                                                   \
    if (!thrown) weam::test::fail(__FILE__, __LINE__, #expression " throws no " #Type); \
  } while (false)
