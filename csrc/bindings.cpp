// The Python module: text in, NumPy arrays out. Everything that touches Python happens here; the work runs without the
// GIL.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <string_view>

#include "corpus.h"
#include "diagonal.h"
#include "links.h"
#include "parallel.h"
#include "symmetrize.h"

namespace py = pybind11;
using namespace weam;

namespace {

using LinkArrays =
    std::pair<py::array_t<std::int64_t>, py::array_t<std::int32_t>>;  // offsets [n + 1], pairs [links, 2]

std::string_view text_of(py::handle word) {
  Py_ssize_t size = 0;
  const char* text = PyUnicode_AsUTF8AndSize(word.ptr(), &size);
  if (!text) throw py::error_already_set();
  return {text, static_cast<std::size_t>(size)};
}

// A sentence is a string, its words set off by blanks, or a sequence of words.
std::vector<std::string_view> words_of(py::handle sentence) {
  std::vector<std::string_view> words;
  if (py::isinstance<py::str>(sentence)) {
    split_blanks(text_of(sentence), [&](std::string_view word) { words.push_back(word); });
  } else {
    const auto items = py::reinterpret_steal<py::object>(
        PySequence_Fast(sentence.ptr(), "a sentence is a string or a sequence of words"));
    if (!items) throw py::error_already_set();
    PyObject** const word = PySequence_Fast_ITEMS(items.ptr());
    for (Py_ssize_t k = 0; k < PySequence_Fast_GET_SIZE(items.ptr()); ++k) words.push_back(text_of(word[k]));
  }
  return words;
}

struct Read {
  Corpus source, target;
  std::size_t empty = 0, too_long = 0;
};

// Reads both sides; a pair with an empty side, or one longer than `max_length` words (0: any), becomes an empty pair.
template <class Number>
Read read_pairs(const py::sequence& source, const py::sequence& target, std::size_t max_length, Number number) {
  if (source.size() != target.size()) {
    throw py::value_error("source has " + std::to_string(source.size()) + " sentences, target has " +
                          std::to_string(target.size()));
  }
  Read read;
  const std::size_t size = source.size();
  for (std::size_t k = 0; k < size; ++k) {
    if (k % 4096 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
    const py::object sentences[2] = {source[k], target[k]};  // keeps the words' text alive
    const std::vector<std::string_view> words[2] = {words_of(sentences[0]), words_of(sentences[1])};
    const std::size_t longest = std::max(words[0].size(), words[1].size());
    if (words[0].empty() || words[1].empty()) {
      ++read.empty;
    } else if (max_length && longest > max_length) {
      ++read.too_long;
    } else {
      for (const std::string_view word : words[0]) read.source.words.push_back(number(0, word));
      for (const std::string_view word : words[1]) read.target.words.push_back(number(1, word));
    }
    read.source.end_sentence();
    read.target.end_sentence();
  }
  return read;
}

void check_interrupt() {
  py::gil_scoped_acquire acquire;
  if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

template <class T, class Owner>
py::array_t<T> view_of(std::shared_ptr<Owner> owner, const T* data, std::vector<py::ssize_t> shape) {
  auto* const kept = new std::shared_ptr<Owner>(std::move(owner));
  const py::capsule release(kept, [](void* pointer) { delete static_cast<std::shared_ptr<Owner>*>(pointer); });
  return py::array_t<T>(std::move(shape), data, release);
}

LinkArrays to_arrays(Links&& links) {
  static_assert(sizeof(Link) == 2 * sizeof(std::int32_t));
  const auto owner = std::make_shared<Links>(std::move(links));
  const auto count = static_cast<py::ssize_t>(owner->links.size());
  return {view_of<std::int64_t>(owner, owner->offsets.data(), {static_cast<py::ssize_t>(owner->offsets.size())}),
          view_of<std::int32_t>(owner, reinterpret_cast<const std::int32_t*>(owner->links.data()), {count, 2})};
}

using Offsets = py::array_t<std::int64_t, py::array::c_style>;
using LinkPairs = py::array_t<std::int32_t, py::array::c_style>;

Links from_arrays(const Offsets& offsets, const LinkPairs& pairs) {
  if (offsets.ndim() != 1 || offsets.size() < 1 || pairs.ndim() != 2 || pairs.shape(1) != 2) {
    throw py::value_error("links are offsets [pairs + 1] and indices [links, 2]");
  }
  Links links;
  links.offsets.assign(offsets.data(), offsets.data() + offsets.size());
  const Link* const data = reinterpret_cast<const Link*>(pairs.data());
  links.links.assign(data, data + pairs.shape(0));
  bool valid = links.offsets.front() == 0 && links.offsets.back() == pairs.shape(0);
  for (std::size_t k = 1; valid && k < links.offsets.size(); ++k) valid = links.offsets[k - 1] <= links.offsets[k];
  for (const Link& link : links.links) valid = valid && link.source >= 0 && link.target >= 0;
  if (!valid) throw py::value_error("the offsets of the links must ascend from 0 to their number, the indices be >= 0");
  for (std::size_t k = 1; k < links.offsets.size(); ++k) {
    std::sort(links.links.begin() + links.offsets[k - 1], links.links.begin() + links.offsets[k]);
  }
  return links;
}

// What training made. It never changes, so that one thread may align while another trains anew.
struct Fitted {
  Vocabulary vocabularies[2];
  DiagonalModel model;
};

class NativeAligner {
 public:
  NativeAligner(const DiagonalSettings& settings, int directions, std::size_t max_length, int threads)
      : settings_(settings),
        directions_(directions),
        max_length_(max_length),
        parallel_{std::min(threads, 256), check_interrupt} {}  // no pass has more chunks, each thread has its buffers

  // Returns the links of each direction when asked for. An exception leaves everything as it was.
  std::vector<LinkArrays> fit(const py::sequence& source, const py::sequence& target, bool with_links,
                              const std::function<void(int)>& progress) {
    const auto fitted = std::make_shared<Fitted>();
    Vocabulary* const vocabularies = fitted->vocabularies;
    const Read read = read_pairs(source, target, max_length_,
                                 [&](int side, std::string_view word) { return vocabularies[side].intern(word); });
    if (read.source.words.empty()) {
      throw py::value_error("no sentence pair to learn from: " + std::to_string(read.empty) + " with an empty side, " +
                            std::to_string(read.too_long) + " over-long");
    }
    std::vector<Links> links;
    const auto report = [&](const DiagonalModel& model) {
      check_interrupt();  // short runs never come to poll
      py::gil_scoped_acquire acquire;
      if (progress) progress(static_cast<int>(model.history[0].size()));
    };
    {
      py::gil_scoped_release release;
      fitted->model = fit_diagonal(read.source, read.target, vocabularies[0].size(), vocabularies[1].size(),
                                   directions_, settings_, parallel_, report, with_links ? &links : nullptr);
    }
    fitted_ = fitted;
    return finish(read, std::move(links));
  }

  std::vector<LinkArrays> align(const py::sequence& source, const py::sequence& target) {
    const std::shared_ptr<const Fitted> fitted = fitted_;
    const Vocabulary* const vocabularies = fitted->vocabularies;
    const Read read = read_pairs(source, target, max_length_,
                                 [&](int side, std::string_view word) { return vocabularies[side].find(word); });
    std::vector<Links> links;
    {
      py::gil_scoped_release release;
      links = align_diagonal(fitted->model, read.source, read.target, vocabularies[1].size(), parallel_);
    }
    return finish(read, std::move(links));
  }

  std::vector<Iteration> history(int direction) const { return fitted_->model.history[direction]; }
  std::pair<std::size_t, std::size_t> dropped() const { return dropped_; }
  std::pair<std::size_t, std::size_t> vocabulary_sizes() const {
    return {fitted_->vocabularies[0].size(), fitted_->vocabularies[1].size()};
  }
  std::size_t cells() const { return fitted_->model.table.cells(); }

 private:
  std::vector<LinkArrays> finish(const Read& read, std::vector<Links>&& links) {
    dropped_ = {read.empty, read.too_long};
    std::vector<LinkArrays> arrays;
    for (Links& direction : links) arrays.push_back(to_arrays(std::move(direction)));
    return arrays;
  }

  const DiagonalSettings settings_;
  const int directions_;
  const std::size_t max_length_;
  const Parallel parallel_;
  std::shared_ptr<const Fitted> fitted_ = std::make_shared<Fitted>();
  std::pair<std::size_t, std::size_t> dropped_;
};

LinkArrays symmetrize_arrays(const Offsets& forward_offsets, const LinkPairs& forward_pairs,
                             const Offsets& backward_offsets, const LinkPairs& backward_pairs,
                             const std::string& method, int threads) {
  const std::optional<Heuristic> heuristic = parse_heuristic(method);
  if (!heuristic) throw py::value_error("unknown heuristic: " + method);
  const Links forward = from_arrays(forward_offsets, forward_pairs);
  const Links backward = from_arrays(backward_offsets, backward_pairs);
  if (forward.size() != backward.size()) throw py::value_error("the two directions have different numbers of pairs");
  py::gil_scoped_release release;
  Links links = symmetrize(forward, backward, *heuristic, Parallel{threads, check_interrupt});
  py::gil_scoped_acquire acquire;
  return to_arrays(std::move(links));
}

py::bytes pharaoh(const Offsets& offsets, const LinkPairs& pairs, bool by_target) {
  const Links links = from_arrays(offsets, pairs);
  std::string text;
  {
    py::gil_scoped_release release;
    text = to_pharaoh(links, by_target);
  }
  return py::bytes(text);
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "The native word aligner; use weam_ext.align.";
  py::class_<Iteration>(m, "Iteration")
      .def_readonly("log_likelihood", &Iteration::log_likelihood)
      .def_readonly("perplexity", &Iteration::perplexity)
      .def_readonly("posterior_p0", &Iteration::posterior_p0)
      .def_readonly("posterior_feature", &Iteration::posterior_feature)
      .def_readonly("tension", &Iteration::tension);
  py::class_<NativeAligner>(m, "DiagonalAligner")
      .def(py::init([](int iterations, double p0, double tension, double alpha, bool favor_diagonal,
                       bool optimize_tension, bool variational_bayes, bool null_word, int directions,
                       std::size_t max_length, int threads) {
             return NativeAligner(
                 {iterations, p0, tension, alpha, favor_diagonal, optimize_tension, variational_bayes, null_word},
                 directions, max_length, threads);
           }),
           py::kw_only(), py::arg("iterations"), py::arg("p0"), py::arg("tension"), py::arg("alpha"),
           py::arg("favor_diagonal"), py::arg("optimize_tension"), py::arg("variational_bayes"), py::arg("null_word"),
           py::arg("directions"), py::arg("max_length"), py::arg("threads"))
      .def("fit", &NativeAligner::fit, py::arg("source"), py::arg("target"), py::arg("with_links"), py::arg("progress"))
      .def("align", &NativeAligner::align, py::arg("source"), py::arg("target"))
      .def("history", &NativeAligner::history, py::arg("direction"))
      .def_property_readonly("dropped", &NativeAligner::dropped)
      .def_property_readonly("vocabulary_sizes", &NativeAligner::vocabulary_sizes)
      .def_property_readonly("cells", &NativeAligner::cells);
  m.def("symmetrize", &symmetrize_arrays, py::arg("forward_offsets"), py::arg("forward_pairs"),
        py::arg("backward_offsets"), py::arg("backward_pairs"), py::arg("method"), py::arg("threads"));
  m.def("pharaoh", &pharaoh, py::arg("offsets"), py::arg("pairs"), py::arg("by_target"));
}
