// Models for Python: settings, what is asked of them, and their arrays for storage.
#include "bind_model.h"

#include "bind_text.h"
#include "lexicon.h"
#include "model_arrays.h"

namespace weam {

namespace {

DiagonalSettings diagonal_settings(int iterations, double p0, double tension, double alpha, bool favor_diagonal,
                                   bool optimize_tension, bool variational_bayes, bool null_word) {
  require(iterations >= 1 && p0 >= 0 && p0 < 1 && alpha > 0 && alpha <= 1e6 && tension >= kLeastTension &&
              tension <= kMostTension,
          "a setting is out of range");
  return {iterations, p0, tension, alpha, favor_diagonal, optimize_tension, variational_bayes, null_word};
}

HmmSettings hmm_settings(int start_iterations, int iterations, double p0, double alpha, bool fertility) {
  require(start_iterations >= 1 && iterations >= 0 && p0 >= 0 && p0 < 1 && alpha > 0 && alpha <= 1e6,
          "a setting is out of range");
  return {start_iterations, iterations, p0, alpha, fertility};
}

// One pair on this thread: no array of the size of a vocabulary, no thread started.
std::vector<std::pair<std::int32_t, std::int32_t>> align_pair(const std::shared_ptr<Model>& model, py::handle source,
                                                              py::handle target,
                                                              const std::optional<std::string>& heuristic,
                                                              std::size_t max_length) {
  const std::optional<Heuristic> method = heuristic ? std::optional(parse_heuristic(*heuristic)) : std::nullopt;
  std::vector<Word> numbers[2];
  const py::handle items[2] = {source, target};
  for (int side = 0; side < 2; ++side) {
    Sentence sentence;
    for (const std::string_view word : sentence.read(items[side])) {
      numbers[side].push_back(model->vocabularies[side].find(word));
    }
  }
  std::vector<std::pair<std::int32_t, std::int32_t>> result;
  if (numbers[0].empty() || numbers[1].empty()) return result;
  if (max_length && std::max(numbers[0].size(), numbers[1].size()) > max_length) return result;
  // A thread that sorts the rows has the lock and may be waiting for the GIL.
  const py::gil_scoped_release release;
  const Parallel alone;
  Bitext bitext;
  bitext.add(numbers[0].data(), numbers[0].size(), numbers[1].data(), numbers[1].size());
  align_diagonal(model->sorted(alone), bitext, alone, [&](AlignedBlock&& block) {
    for (const Link& link : combined(block, method, alone).links) result.emplace_back(link.source, link.target);
  });
  return result;
}

template <class T, class Values>
py::array_t<T> copy_of(const Values& values) {
  py::array_t<T> array(values.end() - values.begin());
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

// The model keeps to what these say, so that nobody may write to them.
template <class T>
py::array_t<T> constant_view_of(const std::shared_ptr<Model>& model, const T* data, std::vector<py::ssize_t> shape) {
  py::array_t<T> view = view_of<T>(model, data, std::move(shape));
  py::detail::array_proxy(view.ptr())->flags &= ~py::detail::npy_api::NPY_ARRAY_WRITEABLE_;
  return view;
}

// The arrays of a model by name; those of both sides end in 0 and 1.
py::dict to_dict(const std::shared_ptr<Model>& model) {
  const DiagonalModel& diagonal = *without_gil([&] { return &model->sorted(parallel_of(1)); });
  const TTable& table = diagonal.table;
  const auto cells = static_cast<py::ssize_t>(table.cells());
  py::dict arrays;
  const auto rows = static_cast<py::ssize_t>(table.rows.size());
  arrays["rows"] = constant_view_of<std::uint64_t>(model, table.rows.data(), {rows});
  arrays["columns"] = constant_view_of<std::uint32_t>(model, table.columns.data(), {cells});
  arrays["t"] = constant_view_of<float>(model, table.t.data(), {cells, table.directions});
  for (int side = 0; side < 2; ++side) {
    const std::string number = std::to_string(side);
    const Vocabulary& vocabulary = model->vocabularies[side];
    arrays[("words" + number).c_str()] = copy_of<std::uint8_t>(vocabulary.bytes());
    arrays[("word_ends" + number).c_str()] = copy_of<std::uint64_t>(vocabulary.ends());
    if (side >= table.directions) continue;
    arrays[("null" + number).c_str()] = copy_of<float>(table.null_row[side]);
    arrays[("totals" + number).c_str()] = copy_of<double>(diagonal.totals[side]);
    if (!model->is_hmm) continue;
    const Jumps& jumps = model->hmm.jumps[side];
    std::vector<float> weights(jumps.near.begin(), jumps.near.end());
    weights.push_back(jumps.far);
    arrays[("jumps" + number).c_str()] = copy_of<float>(weights);
    arrays[("fertility" + number).c_str()] = copy_of<double>(model->hmm.fertility[side].counts);
  }
  return arrays;
}

template <class T>
std::span<const T> view(const py::dict& arrays, const std::string& name, int dimensions = 1) {
  if (!arrays.contains(name.c_str())) throw py::value_error("there is no " + name);
  const py::object array = arrays[name.c_str()];
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(array)) throw py::value_error(name + " has another type");
  const auto values = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(array);
  if (!(values.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) throw py::value_error(name + " is not aligned");
  if (values.ndim() != dimensions) throw py::value_error(name + " has another number of dimensions");
  return {values.data(), static_cast<std::size_t>(values.size())};
}

// Throws ValueError for arrays that are not those of a model.
std::shared_ptr<Model> from_dict(const py::dict& arrays, const std::shared_ptr<DiagonalSettings>& settings,
                                 int directions, const std::array<double, 2>& tension,
                                 const std::array<double, 2>& length_ratio, const std::array<double, 2>& null_totals,
                                 const std::vector<std::vector<Iteration>>& history) {
  require((directions == 1 || directions == 2) && history.size() == static_cast<std::size_t>(directions),
          "a model has one or two directions");
  const auto model = std::make_shared<Model>();
  DiagonalModel& diagonal = model->diagonal;
  diagonal.settings = *settings;
  diagonal.table.directions = directions;
  ModelArrays views;
  views.rows = view<std::uint64_t>(arrays, "rows");
  views.columns = view<std::uint32_t>(arrays, "columns");
  views.t = view<float>(arrays, "t", 2);
  require(py::array(arrays["t"]).shape(1) == directions, "t has another shape");
  for (int side = 0; side < 2; ++side) {
    const std::string number = std::to_string(side);
    views.words[side] = view<std::uint8_t>(arrays, "words" + number);
    views.word_ends[side] = view<std::uint64_t>(arrays, "word_ends" + number);
    if (side >= directions) continue;
    views.null_row[side] = view<float>(arrays, "null" + number);
    views.totals[side] = view<double>(arrays, "totals" + number);
    const double least = settings->favor_diagonal ? kLeastTension : 0.0;
    const auto within = [](double value, double low, double high) { return value >= low && value <= high; };
    require(within(tension[side], least, kMostTension) && within(length_ratio[side], 0, 0x1p32) &&
                within(null_totals[side], 0, 0x1p32),
            "a tension, a length ratio or a count of NULL is out of range");
    diagonal.tension[side] = tension[side];
    diagonal.length_ratio[side] = length_ratio[side];
    diagonal.null_totals[side] = null_totals[side];
    diagonal.history[side] = history[side];
  }
  take_arrays(views, model->vocabularies, diagonal);
  return model;
}

std::shared_ptr<Model> hmm_from_dict(const py::dict& arrays, const std::shared_ptr<HmmSettings>& settings,
                                     const std::array<double, 2>& tension, const std::array<double, 2>& length_ratio,
                                     const std::array<double, 2>& null_totals,
                                     const std::vector<std::vector<Iteration>>& history) {
  const auto diagonal_settings = std::make_shared<DiagonalSettings>(trained_settings(*settings));
  const auto model = from_dict(arrays, diagonal_settings, 2, tension, length_ratio, null_totals, history);
  model->is_hmm = true;
  model->hmm.settings = *settings;
  for (int d = 0; d < 2; ++d) {
    const std::string number = std::to_string(d);
    take_jumps(view<float>(arrays, "jumps" + number), model->hmm.jumps[d]);
    const std::size_t words = model->vocabularies[d].size();
    take_fertility(view<double>(arrays, "fertility" + number), words, model->hmm.fertility[d]);
  }
  return model;
}

std::shared_ptr<Model> model_of_parameters(const py::bytes& text, const std::shared_ptr<DiagonalSettings>& settings,
                                           double length_ratio) {
  require(length_ratio > 0 && length_ratio <= 0x1p32, "the length ratio is above 0");
  const std::string_view view = text;
  const auto model = std::make_shared<Model>();
  model->diagonal.settings = *settings;
  model->diagonal.tension[0] = settings->favor_diagonal ? settings->tension : 0.0;
  model->diagonal.length_ratio[0] = length_ratio;
  without_gil([&] { model->diagonal.table = read_parameters(view, model->vocabularies[0], model->vocabularies[1]); });
  return model;
}

py::bytes parameters(const std::shared_ptr<Model>& model, double threshold, int threads) {
  require(model->diagonal.table.directions == 1, "a parameter file holds one direction only");
  const Parallel parallel = parallel_of(threads);
  return py::bytes(without_gil([&] {
    const DiagonalModel& diagonal = model->sorted(parallel);
    return parameters_text(diagonal.table, model->vocabularies[0], model->vocabularies[1], diagonal.settings.null_word,
                           threshold, parallel);
  }));
}

Lexicon lexicon_of(Model& model, int d, std::size_t top, const Parallel& parallel) {
  const TTable& table = model.sorted(parallel).table;
  return make_lexicon(table, model.vocabularies[1].size(), model.direction(d), top, parallel);
}

py::tuple lexicon(const std::shared_ptr<Model>& model, int d, std::size_t top, int threads) {
  const Parallel parallel = parallel_of(threads);
  const Lexicon made = without_gil([&] { return lexicon_of(*model, d, top, parallel); });
  return py::make_tuple(copy_of<std::int64_t>(made.offsets), copy_of<std::uint32_t>(made.words),
                        copy_of<float>(made.probabilities));
}

py::bytes lexicon_lines(const std::shared_ptr<Model>& model, int d, std::size_t top, int threads) {
  const Parallel parallel = parallel_of(threads);
  return py::bytes(without_gil([&] {
    return lexicon_text(lexicon_of(*model, d, top, parallel), model->vocabularies[given_side(d)],
                        model->vocabularies[generated_side(d)]);
  }));
}

}  // namespace

void bind_model(py::module_& m) {
  py::class_<Iteration>(m, "Iteration")
      .def(py::init<double, double, double, double, double>(), py::arg("log_likelihood"), py::arg("perplexity"),
           py::arg("posterior_p0"), py::arg("posterior_feature"), py::arg("tension"))
      .def_readonly("log_likelihood", &Iteration::log_likelihood)
      .def_readonly("perplexity", &Iteration::perplexity)
      .def_readonly("posterior_p0", &Iteration::posterior_p0)
      .def_readonly("posterior_feature", &Iteration::posterior_feature)
      .def_readonly("tension", &Iteration::tension);
  py::class_<DiagonalSettings, std::shared_ptr<DiagonalSettings>>(m, "Settings")
      .def(py::init(&diagonal_settings), py::kw_only(), py::arg("iterations"), py::arg("p0"), py::arg("tension"),
           py::arg("alpha"), py::arg("favor_diagonal"), py::arg("optimize_tension"), py::arg("variational_bayes"),
           py::arg("null_word"));
  py::class_<HmmSettings, std::shared_ptr<HmmSettings>>(m, "HmmSettings")
      .def(py::init(&hmm_settings), py::kw_only(), py::arg("start_iterations"), py::arg("iterations"), py::arg("p0"),
           py::arg("alpha"), py::arg("fertility"));
  using Pointer = std::shared_ptr<Model>;
  const auto both = [](const double* values) { return std::pair(values[0], values[1]); };
  py::class_<Model, Pointer> model(m, "Model");
  model.def_property_readonly("directions", [](const Pointer& self) { return self->diagonal.table.directions; })
      .def_property_readonly("cells", [](const Pointer& self) { return self->diagonal.table.cells(); })
      .def_property_readonly("tension", [=](const Pointer& self) { return both(self->diagonal.tension); })
      .def_property_readonly("length_ratio", [=](const Pointer& self) { return both(self->diagonal.length_ratio); })
      .def_property_readonly("null_totals", [=](const Pointer& self) { return both(self->diagonal.null_totals); })
      .def("arrays", &to_dict);
  define(
      model, "history", [](const Pointer& self, int d) { return self->diagonal.history[self->direction(d)]; },
      "direction");
  define(model, "words", [](const Pointer& self, int side) { return words_in(self->vocabulary(side)); }, "side");
  define(model, "lexicon", &lexicon, "direction", "top", "threads");
  define(model, "lexicon_text", &lexicon_lines, "direction", "top", "threads");
  define(model, "parameters", &parameters, "threshold", "threads");
  define(model, "align_pair", &align_pair, py::arg("source"), py::arg("target"), py::arg("heuristic"), "max_length");
  define(m, "load_model", &from_dict, "arrays", "settings", "directions", "tension", "length_ratio", "null_totals",
         "history");
  define(m, "load_hmm", &hmm_from_dict, "arrays", "settings", "tension", "length_ratio", "null_totals", "history");
  define(m, "load_parameters", &model_of_parameters, "text", "settings", "length_ratio");
}

}  // namespace weam
