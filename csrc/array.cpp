#include "array.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <new>
#include <system_error>

namespace weam {

namespace {

[[noreturn]] void fail(const std::string& what) { throw std::system_error(errno, std::generic_category(), what); }

// The space is taken now: a mapped page that the disk then refused would kill the program.
void extend_file(int file, std::size_t from, std::size_t to) {
#if defined(__linux__)
  errno = posix_fallocate(file, static_cast<off_t>(from), static_cast<off_t>(to - from));
  if (errno != 0) fail("a temporary file of " + std::to_string(to >> 20) + " MiB");
#else
  (void)from;
  if (ftruncate(file, static_cast<off_t>(to)) != 0) fail("a temporary file of " + std::to_string(to >> 20) + " MiB");
#endif
}

constexpr std::size_t kLarge = 1 << 19;

}  // namespace

void* allocate_large(std::size_t bytes) {
  if (bytes < kLarge) return ::operator new(bytes);
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  return mapped;
}

void free_large(void* data, std::size_t bytes) {
  if (bytes < kLarge) {
    ::operator delete(data);
  } else {
    munmap(data, bytes);
  }
}

Region::~Region() {
  if (file_ < 0) {
    std::free(data_);
    return;
  }
  if (data_) munmap(data_, capacity_);
  close(file_);
}

void Region::map(std::size_t bytes) {
  extend_file(file_, capacity_, bytes);
  if (data_) munmap(data_, capacity_);
  data_ = nullptr;
  capacity_ = 0;
  void* const mapped = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_, 0);
  if (mapped == MAP_FAILED) throw std::bad_alloc();
  data_ = static_cast<unsigned char*>(mapped);
  capacity_ = bytes;
}

void Region::reserve(std::size_t bytes) {
  if (bytes <= capacity_) return;
  if (file_ >= 0) return map(bytes);
  void* const moved = std::realloc(data_, bytes);  // large blocks are remapped, not copied
  if (!moved) throw std::bad_alloc();
  data_ = static_cast<unsigned char*>(moved);
  capacity_ = bytes;
}

void Region::move_to_file(const std::string& directory) {
  if (file_ >= 0) return;
  std::string name = directory + "/weam-XXXXXX";
  Region moved;
  moved.file_ = mkstemp(name.data());
  if (moved.file_ < 0) fail(directory);
  unlink(name.c_str());
  if (capacity_ > 0) {
    moved.map(capacity_);
    std::memcpy(moved.data_, data_, capacity_);
  }
  swap(moved);
}

void Region::release_pages(std::size_t begin, std::size_t end) const {
  if (file_ < 0 || !data_) return;
  static const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace weam
