// Training and aligning for Python.
#include <tuple>

#include "bind_text.h"
#include "fit_hmm.h"

namespace weam {

namespace {

// What becomes of the links: those of both directions are combined, or those of the only one taken, their posteriors
// added if asked for; then Python gets them.
struct Output {
  std::optional<std::string> heuristic;
  bool posteriors = false;
  py::function take;  // take(arrays, scores by direction)

  Sink sink(const DiagonalModel* model, const Bitext& bitext, const Parallel& parallel) const {
    const std::optional<Heuristic> method = heuristic ? std::optional(parse_heuristic(*heuristic)) : std::nullopt;
    return [=, this, &bitext, &parallel](AlignedBlock&& block) {
      Links links = combined(block, method, parallel);
      if (posteriors) links.probability = link_posteriors(*model, bitext, block.begin, links, parallel);
      const py::gil_scoped_acquire acquire;
      take(to_arrays(std::move(links)), to_arrays(block.scores));
    };
  }
};

// Throw ValueError for a text that is not of a model, and for one that no model can be trained on.
void check_known(const Text& text, const std::shared_ptr<Model>& model) {
  require(text.model() == model.get() && !text.learns(), "the text was read for another model");
}
void check_learnable(const Text& text, int directions, bool is_hmm, const std::shared_ptr<Model>& init) {
  require(text.learns(), "these words are numbered for a model that is finished");
  require(!init || init->is_hmm == is_hmm, "the model to start from is of another kind");
  require(!init || init->diagonal.table.directions == directions,
          "the model to start from has another number of directions");
  require(!init || text.model() == init.get(), "the text was read for another model");
  require(!text.bitext.words[0].empty(), "no sentence pair to learn from: " + std::to_string(text.dropped.empty) +
                                             " with an empty side, " + std::to_string(text.dropped.too_long) +
                                             " over-long");
}

// Passes on what the last iteration measured.
std::function<void(const DiagonalModel&)> reporter(const py::function& progress) {
  return [&progress](const DiagonalModel& trained) {
    check_interrupt();  // short runs never come to poll
    py::gil_scoped_acquire acquire;
    py::list measures;
    for (int d = 0; d < trained.table.directions; ++d) measures.append(trained.history[d].back());
    progress(measures);
  };
}

// Trains on a text, whose words then belong to the model. on_memory(mode, bytes needed beside the text, bytes that the
// fast mode would need) is called before it starts, progress(measures by direction) after each iteration.
std::shared_ptr<Model> fit(const std::shared_ptr<Text>& shared, const std::shared_ptr<DiagonalSettings>& settings,
                           int directions, int threads, const std::string& memory, std::uint64_t bytes,
                           const std::string& directory, const std::shared_ptr<Model>& init,
                           const py::function& on_memory, const py::function& progress,
                           const std::shared_ptr<Output>& output) {
  Text& text = *shared;
  const Text::Use use(text, true);
  require(directions == 1 || directions == 2, "a model has one or two directions");
  require(!output || !output->posteriors, "training has no posteriors to put out");
  check_learnable(text, directions, false, init);
  const auto model = std::make_shared<Model>();
  const Parallel parallel = parallel_of(threads);
  const MemoryEstimate estimate = estimate_memory(text.bitext, text.vocabulary_sizes(), directions, parallel);
  const MemoryPlan plan = plan_memory(estimate, memory, bytes, directory);
  const TrainOptions options{text.vocabulary_sizes(), plan.layout, parallel, reporter(progress)};
  on_memory(plan.mode(), plan.needed, plan.fast);
  without_gil([&] {
    // Sorted now: another thread that aligns with it would sort it meanwhile, and its order is that of the sums.
    const DiagonalModel* const start = init ? &init->sorted(parallel) : nullptr;
    const Sink sink = output ? output->sink(nullptr, text.bitext, parallel) : Sink();
    model->diagonal = fit_diagonal(text.bitext, directions, *settings, options, start, sink);
  });
  text.hand_over(model);
  return model;
}

using Dictionary = std::vector<std::tuple<std::string, std::string, float>>;

// What a dictionary has of words that the text does not have is left out.
Hints hints_of(const Text& text, double spelling, std::array<std::vector<std::string>, 2>&& spellings,
               const Dictionary& dictionary) {
  Hints hints;
  const auto is_count = [](double count) { return count >= 0 && count <= 1e6; };
  require(is_count(spelling), "a number of links seen beforehand is from 0 to 1e6");
  hints.spelling = spelling;
  for (int side = 0; side < 2; ++side) {
    require(spelling == 0 || spellings[side].size() == text.vocabulary(side).size(),
            "each word of the text needs a spelling");
    hints.spellings[side] = std::move(spellings[side]);
  }
  for (const auto& [source, target, count] : dictionary) {
    require(is_count(count), "a number of links seen beforehand is from 0 to 1e6");
    const Word e = text.vocabulary(0).find(source), f = text.vocabulary(1).find(target);
    if (e != kUnknown && f != kUnknown) hints.dictionary.push_back({e, f, count});
  }
  std::ranges::sort(hints.dictionary, {},
                    [](const DictionaryEntry& entry) { return std::pair(entry.source, entry.target); });
  return hints;
}

MemoryPlan plan_hmm(const std::shared_ptr<Text>& text, int threads, const std::string& memory, std::uint64_t bytes,
                    const std::string& directory) {
  const Text::Use use(*text, false);
  check_learnable(*text, 2, true, nullptr);
  const MemoryEstimate estimate = estimate_hmm_memory(text->bitext, text->vocabulary_sizes(), parallel_of(threads));
  return plan_memory(estimate, memory, bytes, directory);
}

std::shared_ptr<Model> train_hmm(const std::shared_ptr<Text>& shared, const std::shared_ptr<HmmSettings>& settings,
                                 int threads, const std::shared_ptr<MemoryPlan>& plan,
                                 const std::shared_ptr<Model>& init, const py::function& progress, double spelling,
                                 std::array<std::vector<std::string>, 2> spellings, const Dictionary& dictionary) {
  Text& text = *shared;
  const Text::Use use(text, true);
  check_learnable(text, 2, true, init);
  const Hints hints = hints_of(text, spelling, std::move(spellings), dictionary);
  const auto model = std::make_shared<Model>();
  const Parallel parallel = parallel_of(threads);
  const TrainOptions options{text.vocabulary_sizes(), plan->layout, parallel, reporter(progress)};
  without_gil([&] {
    if (init) init->sorted(parallel);
    model->hmm = fit_hmm(text.bitext, *settings, hints, options, init ? &init->hmm : nullptr);
  });
  model->is_hmm = true;
  text.hand_over(model);
  return model;
}

bool same_lengths(const Bitext& one, const Bitext& other) {
  const auto lengths = [](const Pair& pair) { return std::pair(pair.sides[0].length, pair.sides[1].length); };
  return std::ranges::equal(one.pairs, other.pairs, {}, lengths, lengths);
}

// take(arrays with probabilities, scores by direction and per word), block by block.
void align_with_hmm(const std::vector<std::shared_ptr<Model>>& models, const std::vector<std::shared_ptr<Text>>& texts,
                    const std::shared_ptr<Decoding>& decoding, int threads, std::uint64_t bytes,
                    const py::function& take) {
  require(!models.empty() && models.size() == texts.size(), "there is one text for each of the models, or no model");
  std::vector<HmmView> views;
  std::deque<Text::Use> uses;
  for (std::size_t view = 0; view < models.size(); ++view) {
    require(models[view] && texts[view], "a model or a text is None");
    uses.emplace_back(*texts[view], false);
    require(models[view]->is_hmm, "the model is no HMM");
    check_known(*texts[view], models[view]);
    views.push_back({&models[view]->hmm, &texts[view]->bitext});
    require(same_lengths(*views[0].bitext, *views[view].bitext), "the texts differ");
  }
  // One pair is no work for several threads.
  const Parallel parallel = views[0].bitext->size() == 1 ? Parallel() : parallel_of(threads);
  const py::gil_scoped_release release;
  for (const std::shared_ptr<Model>& model : models) model->sorted(parallel);
  align_hmm(views, *decoding, bytes, parallel, [&](AlignedBlock&& block) {
    const py::gil_scoped_acquire acquire;
    take(to_arrays(std::move(block.links[0])), to_arrays(block.scores));
  });
}

Decoding decoding_of(const std::string& name, float threshold) {
  Decoding decoding;
  decoding.threshold = threshold;
  if (name == "posterior") return decoding;
  decoding.method = name == "forward"    ? Decoding::Method::kForward
                    : name == "backward" ? Decoding::Method::kBackward
                                         : Decoding::Method::kSymmetrized;
  if (decoding.method == Decoding::Method::kSymmetrized) decoding.heuristic = parse_heuristic(name);
  return decoding;
}

void align(const std::shared_ptr<Model>& model, const std::shared_ptr<Text>& text, int threads,
           const std::shared_ptr<Output>& output) {
  const Text::Use use(*text, false);
  check_known(*text, model);
  const Parallel parallel = parallel_of(threads);
  const py::gil_scoped_release release;
  const DiagonalModel& diagonal = model->sorted(parallel);
  align_diagonal(diagonal, text->bitext, parallel, output->sink(&diagonal, text->bitext, parallel));
}

}  // namespace

void bind_train(py::module_& m) {
  py::class_<Output, std::shared_ptr<Output>>(m, "Output")
      .def(py::init<std::optional<std::string>, bool, py::function>(), py::arg("heuristic"), py::arg("posteriors"),
           py::arg("take"));
  py::class_<Decoding, std::shared_ptr<Decoding>>(m, "Decoding")
      .def(py::init(&decoding_of), py::arg("method"), py::arg("threshold"));
  using Pointer = std::shared_ptr<MemoryPlan>;
  py::class_<MemoryPlan, Pointer>(m, "Plan")
      .def_property_readonly("mode", [](const Pointer& plan) { return plan->mode(); })
      .def_property_readonly("needed", [](const Pointer& plan) { return plan->needed; })
      .def_property_readonly("fast", [](const Pointer& plan) { return plan->fast; })
      .def_property_readonly("kept", [](const Pointer& plan) { return plan->kept; })
      .def_property_readonly("longest", [](const Pointer& plan) { return plan->longest; });
  define(m, "fit", &fit, "text", "settings", "directions", "threads", "memory", "bytes", "directory", py::arg("init"),
         "on_memory", "progress", py::arg("output"));
  define(m, "plan_hmm", &plan_hmm, "text", "threads", "memory", "bytes", "directory");
  define(m, "fit_hmm", &train_hmm, "text", "settings", "threads", "plan", py::arg("init"), "progress", "spelling",
         "spellings", "dictionary");
  define(m, "likeness", &likeness, "source", "target");
  define(m, "align_hmm", &align_with_hmm, "models", "texts", "decoding", "threads", "bytes", "take");
  define(m, "align", &align, "model", "text", "threads", "output");
}

}  // namespace weam
