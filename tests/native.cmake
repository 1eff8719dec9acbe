# The native sources without Python: tests/native as one program, each tests/fuzz/fuzz_*.cpp as its own.
list(FILTER sources EXCLUDE REGEX "/(bind_[^/]*|module\\.cpp)$")
add_library(weam STATIC ${sources})
target_include_directories(weam PUBLIC csrc tests/native)
target_link_libraries(weam PUBLIC Threads::Threads)

file(GLOB tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/native/*.cpp)
add_executable(native_tests ${tests})
target_link_libraries(native_tests PRIVATE weam)

# libFuzzer learns from what it covers; where there is none, our own driver mutates blindly.
include(CheckCXXSourceCompiles)
set(CMAKE_REQUIRED_FLAGS -fsanitize=fuzzer)
check_cxx_source_compiles(
  "#include <cstddef>
  #include <cstdint>
  extern \"C\" int LLVMFuzzerTestOneInput(const std::uint8_t*, std::size_t) { return 0; }"
  WEAM_LIBFUZZER)
unset(CMAKE_REQUIRED_FLAGS)
if(WEAM_LIBFUZZER)
  target_compile_options(weam PUBLIC -fsanitize=fuzzer-no-link)
else()
  add_library(driver OBJECT tests/fuzz/driver.cpp)
endif()
file(GLOB targets CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/tests/fuzz/fuzz_*.cpp)
foreach(target ${targets})
  get_filename_component(name ${target} NAME_WE)
  add_executable(${name} ${target})
  target_link_libraries(${name} PRIVATE weam)
  if(WEAM_LIBFUZZER)
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    target_link_libraries(${name} PRIVATE driver)
  endif()
endforeach()
