// What the parts of the Python module share. The work runs without the GIL.
//
// Whatever Python calls, and from whatever thread or callback, is done or refused with an exception. Objects come as
// shared_ptr: one whose __init__ has not run (of T.__new__(T)) has none, which pybind11 refuses; a plain reference
// would be to memory that nobody has set.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>

#include "blocks.h"
#include "errors.h"
#include "symmetrize.h"

namespace weam {

namespace py = pybind11;

// Threads beyond this have no chunk to work on, and each has its buffers.
constexpr int kMostThreads = 256;

inline void check_interrupt() {
  py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

// Throws IndexError.
inline int checked(int index, int size, const char* what) {
  if (index < 0 || index >= size) throw std::out_of_range("there is no " + std::string(what) + std::to_string(index));
  return index;
}

inline Parallel parallel_of(int threads) {
  require(threads >= 1, "threads must be at least 1");
  return {std::min(threads, kMostThreads), check_interrupt};
}

// What work without the GIL makes.
template <class Work>
auto without_gil(Work work) {
  const py::gil_scoped_release release;
  return work();
}

// Adds a function to a module or a class, with the names of its arguments. None is refused for all of them that are not
// given as py::arg.
inline py::arg argument(const char* name) { return py::arg(name).none(false); }
inline py::arg argument(const py::arg& given) { return given; }
template <class Scope, class Function, class... Names>
void define(Scope& scope, const char* name, Function function, const Names&... names) {
  scope.def(name, function, argument(names)...);
}

// An array over what the owner keeps alive.
template <class T, class Owner>
py::array_t<T> view_of(std::shared_ptr<Owner> owner, const T* data, std::vector<py::ssize_t> shape) {
  auto* const kept = new std::shared_ptr<Owner>(std::move(owner));
  const py::capsule release(kept, [](void* pointer) { delete static_cast<std::shared_ptr<Owner>*>(pointer); });
  return py::array_t<T>(std::move(shape), data, release);
}

// offsets [pairs + 1], (source, target) [links, 2], and the probabilities [links] or None.
py::tuple to_arrays(Links&& links);
py::list to_arrays(const std::vector<std::vector<double>>& scores);

// The links of a block: those of both directions combined, if there is a method, or those of the only one.
Links combined(AlignedBlock& block, const std::optional<Heuristic>& method, const Parallel& parallel);

// An array that is of one piece and aligned: a copy where the caller's is not.
constexpr int kPlain = int{py::array::c_style} | int{py::detail::npy_api::NPY_ARRAY_ALIGNED_};
using Offsets = py::array_t<std::int64_t, kPlain>;
using LinkPairs = py::array_t<std::int32_t, kPlain>;
using Probabilities = py::array_t<float, kPlain>;

Links from_arrays(const Offsets& offsets, const LinkPairs& pairs,
                  const std::optional<Probabilities>& probability = std::nullopt);

void bind_links(py::module_& m);
void bind_text(py::module_& m);
void bind_model(py::module_& m);
void bind_train(py::module_& m);

}  // namespace weam
