// Links for Python: symmetrisation and Pharaoh's format.

#include "bind.h"

namespace weam {

py::tuple to_arrays(Links&& links) {
  static_assert(sizeof(Link) == 2 * sizeof(std::int32_t));
  const auto owner = std::make_shared<Links>(std::move(links));
  const auto count = static_cast<py::ssize_t>(owner->links.size());
  py::object probability = py::none();
  if (!owner->probability.empty()) probability = view_of<float>(owner, owner->probability.data(), {count});
  return py::make_tuple(
      view_of<std::int64_t>(owner, owner->offsets.data(), {static_cast<py::ssize_t>(owner->offsets.size())}),
      view_of<std::int32_t>(owner, reinterpret_cast<const std::int32_t*>(owner->links.data()), {count, 2}),
      probability);
}

py::list to_arrays(const std::vector<std::vector<double>>& scores) {
  py::list arrays;
  for (const std::vector<double>& own : scores) {
    arrays.append(py::array_t<double>(static_cast<py::ssize_t>(own.size()), own.data()));
  }
  return arrays;
}

Links from_arrays(const Offsets& offsets, const LinkPairs& pairs, const std::optional<Probabilities>& probability) {
  require(offsets.ndim() == 1 && offsets.size() >= 1 && pairs.ndim() == 2 && pairs.shape(1) == 2,
          "links are offsets [pairs + 1] and indices [links, 2]");
  Links links;
  links.offsets.assign(offsets.data(), offsets.data() + offsets.size());
  const Link* const data = reinterpret_cast<const Link*>(pairs.data());
  links.links.assign(data, data + pairs.shape(0));
  require(links.offsets.front() == 0 && links.offsets.back() == pairs.shape(0) &&
              std::ranges::is_sorted(links.offsets) &&
              std::ranges::all_of(links.links, [](Link link) { return link.source >= 0 && link.target >= 0; }),
          "the offsets of the links must ascend from 0 to their number, the indices be >= 0");
  if (probability) {
    require(probability->ndim() == 1 && probability->size() == pairs.shape(0),
            "the probabilities of the links are [links]");
    links.probability.assign(probability->data(), probability->data() + probability->size());
  }
  sort_pairs(links);
  return links;
}

Links combined(AlignedBlock& block, const std::optional<Heuristic>& method, const Parallel& parallel) {
  if (!method || block.links.size() == 1) return std::move(block.links[0]);
  return symmetrize(block.links[0], block.links[1], *method, parallel);
}

namespace {

py::tuple symmetrize_arrays(const Offsets& forward_offsets, const LinkPairs& forward_pairs,
                            const Offsets& backward_offsets, const LinkPairs& backward_pairs, const std::string& method,
                            int threads) {
  const Heuristic heuristic = parse_heuristic(method);
  const Links forward = from_arrays(forward_offsets, forward_pairs);
  const Links backward = from_arrays(backward_offsets, backward_pairs);
  require(forward.size() == backward.size(), "the two directions have different numbers of pairs");
  const Parallel parallel = parallel_of(threads);
  return to_arrays(without_gil([&] { return symmetrize(forward, backward, heuristic, parallel); }));
}

py::bytes format_pharaoh(const Offsets& offsets, const LinkPairs& pairs,
                         const std::optional<Probabilities>& probability, bool by_target, int threads) {
  const Links links = from_arrays(offsets, pairs, probability);
  const Parallel parallel = parallel_of(threads);
  return py::bytes(without_gil([&] { return to_pharaoh(links, by_target, parallel); }));
}

py::tuple read_pharaoh(const py::bytes& text, std::uint64_t first_line, std::optional<bool> probabilities, bool fields,
                       int threads) {
  const std::string_view view = text;
  const Parallel parallel = parallel_of(threads);
  return to_arrays(without_gil([&] { return parse_pharaoh(view, {first_line, probabilities, fields}, parallel); }));
}

PYBIND11_CONSTINIT py::gil_safe_call_once_and_store<py::object> line_error;

void translate_line_error(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const LineError& error) {
    // What it quotes of the input need not be UTF-8.
    const std::string_view what = error.what();
    const auto message = py::reinterpret_steal<py::object>(
        PyUnicode_DecodeUTF8(what.data(), static_cast<py::ssize_t>(what.size()), "backslashreplace"));
    PyErr_SetObject(line_error.get_stored().ptr(), py::make_tuple(error.file, error.line, message).ptr());
  }
}

}  // namespace

void bind_links(py::module_& m) {
  line_error.call_once_and_store_result([&] { return py::exception<LineError>(m, "LineError", PyExc_ValueError); });
  py::register_local_exception_translator(&translate_line_error);
  define(m, "symmetrize", &symmetrize_arrays, "forward_offsets", "forward_pairs", "backward_offsets", "backward_pairs",
         "method", "threads");
  define(m, "format_pharaoh", &format_pharaoh, "offsets", "pairs", py::arg("probability"), "by_target", "threads");
  define(m, "parse_pharaoh", &read_pharaoh, "text", "first_line", py::arg("probabilities"), "fields", "threads");
}

}  // namespace weam
