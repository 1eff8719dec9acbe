// A growing array of plain values: on the heap or, for what may exceed memory, in an unlinked file that is mapped,
// whose pages can be given back once they have been passed over.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace weam {

// The bytes of an Array.
class Region {
 public:
  Region() = default;
  Region(Region&& other) noexcept { swap(other); }
  Region& operator=(Region&& other) noexcept {
    Region taken(std::move(other));
    swap(taken);
    return *this;
  }
  ~Region();

  unsigned char* data() const { return data_; }
  std::size_t capacity() const { return capacity_; }
  // Throw std::bad_alloc, and std::system_error where the directory cannot take it.
  void reserve(std::size_t bytes);
  void move_to_file(const std::string& directory);
  // Lets the system drop these pages of a file from memory; they are read again when touched.
  void release_pages(std::size_t begin, std::size_t end) const;

 private:
  void swap(Region& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    std::swap(file_, other.file_);
  }
  void map(std::size_t bytes);

  unsigned char* data_ = nullptr;
  std::size_t capacity_ = 0;
  int file_ = -1;
};

template <class T>
class Array {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Array() = default;
  Array(Array&& other) noexcept : region_(std::move(other.region_)), size_(std::exchange(other.size_, 0)) {}
  Array& operator=(Array&& other) noexcept {
    region_ = std::move(other.region_);
    size_ = std::exchange(other.size_, 0);
    return *this;
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return reinterpret_cast<T*>(region_.data()); }
  const T* data() const { return reinterpret_cast<const T*>(region_.data()); }
  T& operator[](std::size_t k) { return data()[k]; }
  const T& operator[](std::size_t k) const { return data()[k]; }
  T* begin() { return data(); }
  T* end() { return data() + size_; }
  const T* begin() const { return data(); }
  const T* end() const { return data() + size_; }

  // New elements are not initialised.
  void resize(std::size_t size) {
    if (size * sizeof(T) > region_.capacity()) region_.reserve(size * sizeof(T));
    size_ = size;
  }
  // The same for an array that will grow further.
  void grow_to(std::size_t size) {
    if (size > size_) grow(size - size_);
  }
  void assign(std::size_t size, T value) {
    resize(size);
    std::fill(begin(), end(), value);
  }
  void append(const T* values, std::size_t count) {
    if (count == 0) return;
    grow(count);
    std::memcpy(data() + size_ - count, values, count * sizeof(T));
  }
  void push_back(T value) {
    grow(1);
    data()[size_ - 1] = value;
  }

  void move_to_file(const std::string& directory) { region_.move_to_file(directory); }
  void release_pages(std::size_t begin, std::size_t end) const {
    region_.release_pages(begin * sizeof(T), end * sizeof(T));
  }
  void release_pages() const { release_pages(0, size_); }

 private:
  void grow(std::size_t count) {
    const std::size_t bytes = (size_ + count) * sizeof(T);
    if (bytes > region_.capacity()) region_.reserve(std::max(bytes, region_.capacity() + region_.capacity() / 2));
    size_ += count;
  }

  Region region_;
  std::size_t size_ = 0;
};

// Allocates for vectors that may be large for a while: what those take goes back to the system with them, while a heap
// would keep it for the thread.
void* allocate_large(std::size_t bytes);  // throws std::bad_alloc
void free_large(void* data, std::size_t bytes);

template <class T>
struct LargeAllocator {
  using value_type = T;

  LargeAllocator() = default;
  template <class Other>
  explicit LargeAllocator(const LargeAllocator<Other>&) {}

  T* allocate(std::size_t count) { return static_cast<T*>(allocate_large(count * sizeof(T))); }
  void deallocate(T* data, std::size_t count) { free_large(data, count * sizeof(T)); }
  bool operator==(const LargeAllocator&) const = default;
};

using LargeFloats = std::vector<float, LargeAllocator<float>>;

}  // namespace weam
