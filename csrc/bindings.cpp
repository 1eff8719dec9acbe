// The Python module. Everything that touches Python is in the files bindings*.
#include "bindings.h"

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native word aligner; use weam_ext.align.";
  weam::bind_links(m);
  weam::bind_aligner(m);
}
