// native_tests [ROUNDS]: runs every test, random ones so many times as long.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "check.h"

int main(int argc, char** argv) {
  if (argc > 1) weam::test::rounds() = std::atoi(argv[1]);
  int failed = 0;
  for (const weam::test::Test& test : weam::test::tests()) {
    try {
      test.run();
    } catch (const std::exception& error) {
      ++failed;
      std::printf("FAILED %s\n  %s\n", test.name, error.what());
    }
  }
  std::printf("%zu tests, %d failed\n", weam::test::tests().size(), failed);
  return failed != 0;
}
