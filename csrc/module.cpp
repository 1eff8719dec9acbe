// The Python module. Everything else that touches Python is in the files bind*.
#include "bind.h"

#include <system_error>

namespace weam {

namespace {

void translate_system_error(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const std::system_error& error) {
    const py::object arguments = py::make_tuple(error.code().value(), error.what());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  }
}

}  // namespace

}  // namespace weam

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native word aligner; use weam_ext.align.";
  weam::py::register_local_exception_translator(&weam::translate_system_error);
  weam::bind_links(m);
  weam::bind_model(m);
  weam::bind_text(m);
  weam::bind_train(m);
}
