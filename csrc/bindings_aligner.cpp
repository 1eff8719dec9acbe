// Text, models, training and aligning for Python. The work runs without the GIL.
//
// Whatever Python calls, and from whatever thread or callback, is done or refused with an exception. Objects come as
// shared_ptr: one whose __init__ has not run (of T.__new__(T)) has none, which pybind11 refuses; a plain reference
// would be to memory that nobody has set.
#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>
#include <system_error>
#include <tuple>

#include "bindings.h"
#include "corpus.h"
#include "diagonal.h"
#include "errors.h"
#include "fit_diagonal.h"
#include "fit_hmm.h"
#include "hmm.h"
#include "lexicon.h"
#include "model_arrays.h"
#include "reader.h"
#include "symmetrize.h"

namespace weam {

namespace {

// Throws IndexError.
int checked(int index, int size, const char* what) {
  if (index < 0 || index >= size) throw std::out_of_range("there is no " + std::string(what) + std::to_string(index));
  return index;
}

// What training made. It never changes, but for the order of its cells, which is a matter of its own.
class Model {
 public:
  Vocabulary vocabularies[2];
  HmmModel hmm;  // of the diagonal model, `base` alone
  bool is_hmm = false;
  DiagonalModel& diagonal = hmm.base;

  const Vocabulary& vocabulary(int side) const { return vocabularies[checked(side, 2, "side ")]; }
  int direction(int d) const { return checked(d, diagonal.table.directions, "direction "); }
  // With sorted rows; called without the GIL.
  const DiagonalModel& sorted(const Parallel& parallel) {
    const std::lock_guard<std::mutex> lock(mutex_);
    diagonal.table.sort_rows(parallel);
    return diagonal;
  }

 private:
  std::mutex mutex_;
};

// ------------------------------------------------------------------------------------------------- text

// The words of a sentence, and what keeps them alive.
class Sentence {
 public:
  const std::vector<std::string_view>& read(py::handle sentence) {
    words_.clear();
    owners_.clear();
    made_.clear();
    other_spaces_ = false;
    if (py::isinstance<py::str>(sentence)) {
      const std::string_view text = text_of(sentence);
      other_spaces_ = has_other_space(text);
      split_blanks(text, [&](std::string_view word) { words_.push_back(word); });
    } else if (py::isinstance<py::array>(sentence)) {
      read_numbers(sentence);
    } else if (PyBytes_Check(sentence.ptr()) || PyByteArray_Check(sentence.ptr())) {
      throw py::type_error(std::string(kForms) + ", not bytes");
    } else {
      read_sequence(sentence);
    }
    return words_;
  }
  // Whether a sentence given as one string has white space within words.
  bool other_spaces() const { return other_spaces_; }

 private:
  static constexpr const char* kForms =
      "a sentence is a string, a sequence of words or of whole numbers, or a one-dimensional array of integers";

  // As UTF-8. A string that is not ASCII would keep its UTF-8 form as long as it lives, so it is encoded apart.
  std::string_view text_of(py::handle string) {
    if (!PyUnicode_IS_COMPACT_ASCII(string.ptr())) {
      owners_.push_back(py::reinterpret_steal<py::object>(PyUnicode_AsUTF8String(string.ptr())));
      if (!owners_.back()) throw py::error_already_set();
      PyObject* const bytes = owners_.back().ptr();
      return {PyBytes_AS_STRING(bytes), static_cast<std::size_t>(PyBytes_GET_SIZE(bytes))};
    }
    Py_ssize_t size = 0;
    const char* const text = PyUnicode_AsUTF8AndSize(string.ptr(), &size);
    if (!text) throw py::error_already_set();
    return {text, static_cast<std::size_t>(size)};
  }

  std::string_view word_of(py::handle word) {
    if (PyUnicode_Check(word.ptr())) return text_of(word);
    if (!PyIndex_Check(word.ptr()) || PyBool_Check(word.ptr())) {
      throw py::type_error("a word is a string or a whole number, not " + std::string(Py_TYPE(word.ptr())->tp_name));
    }
    const auto number = py::reinterpret_steal<py::object>(PyNumber_Index(word.ptr()));
    if (!number) throw py::error_already_set();
    made_.push_back(py::str(number));
    return made_.back();
  }

  // A number stands for the word of its decimal digits.
  void read_numbers(py::handle sentence) {
    const auto array = py::reinterpret_borrow<py::array>(sentence);
    const char kind = array.dtype().kind();
    if (array.ndim() != 1 || (kind != 'i' && kind != 'u')) {
      throw py::type_error(kForms);
    }
    kind == 'u' ? read_numbers_as<std::uint64_t>(array) : read_numbers_as<std::int64_t>(array);
  }

  template <class Number>
  void read_numbers_as(const py::array& array) {
    const auto numbers = py::array_t<Number, py::array::forcecast | kPlain>::ensure(array);
    if (!numbers) throw py::error_already_set();
    for (py::ssize_t k = 0; k < numbers.size(); ++k) {
      made_.push_back(std::to_string(numbers.data()[k]));
      words_.push_back(made_.back());
    }
  }

  void read_sequence(py::handle sentence) {
    if (!Py_TYPE(sentence.ptr())->tp_iter && !PySequence_Check(sentence.ptr())) throw py::type_error(kForms);
    // A copy: reading the other sentence of the pair may run code that changes a list.
    const auto items = py::reinterpret_steal<py::tuple>(PySequence_Tuple(sentence.ptr()));
    if (!items) throw py::error_already_set();
    owners_.push_back(items);
    for (const py::handle word : items) words_.push_back(word_of(word));
  }

  bool other_spaces_ = false;
  std::vector<std::string_view> words_;
  std::vector<py::object> owners_;
  std::deque<std::string> made_;
};

// Who uses a text: one who changes it, or any number who read it.
class Users {
 public:
  // Throws std::runtime_error where others are in the way.
  void begin(bool alone) {
    int users = users_;
    do {
      if (users < 0 || (alone && users > 0)) {
        throw std::runtime_error("the text is in use, or was not read to its end");
      }
    } while (!users_.compare_exchange_weak(users, alone ? -1 : users + 1));
  }
  void end() {
    if (users_ < 0) {
      users_ = 0;
    } else {
      --users_;
    }
  }

 private:
  std::atomic<int> users_{0};  // -1: one who changes it
};

// Sentence pairs as numbers: of the words that they have, or of those that a model knows.
class Text {
 public:
  // Holds a text as long as it lives: see Users.
  class Use {
   public:
    Use(const Text& text, bool alone) : text_(text) { text.users.begin(alone); }
    ~Use() { text_.users.end(); }
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    const Text& text_;
  };

  // With a model, its words have its numbers; new ones are learnt or unknown.
  Text(std::shared_ptr<const Model> model, bool learn) : model_(std::move(model)), learn_(learn || !model_) {
    if (model_ && learn_) {
      for (int side = 0; side < 2; ++side) vocabularies_[side] = model_->vocabularies[side];
    }
  }

  // A pair with an empty side, or one longer than `max_length` words (0: any), becomes an empty pair.
  void add(const py::sequence& source, const py::sequence& target, std::size_t max_length) {
    const Use use(*this, true);
    if (source.size() != target.size()) {
      throw py::value_error("source has " + std::to_string(source.size()) + " sentences, target has " +
                            std::to_string(target.size()));
    }
    Sentence sentences[2];
    std::vector<Word> numbers[2];
    for (std::size_t k = 0; k < source.size(); ++k) {
      if (k % 4096 == 0 && PyErr_CheckSignals() != 0) throw py::error_already_set();
      const py::object items[2] = {source[k], target[k]};
      const std::vector<std::string_view>* words[2];
      for (int side = 0; side < 2; ++side) {
        try {
          words[side] = &sentences[side].read(items[side]);
        } catch (const py::type_error& error) {
          throw py::type_error("pair " + std::to_string(k) + ": " + error.what());
        }
      }
      const std::size_t longest = std::max(words[0]->size(), words[1]->size());
      const bool is_empty = words[0]->empty() || words[1]->empty();
      const bool is_long = !is_empty && max_length && longest > max_length;
      dropped.empty += is_empty;
      dropped.too_long += is_long;
      other_spaces += !is_empty && !is_long && (sentences[0].other_spaces() || sentences[1].other_spaces());
      for (int side = 0; side < 2; ++side) {
        numbers[side].clear();
        if (is_empty || is_long) continue;
        for (const std::string_view word : *words[side]) numbers[side].push_back(number(side, word));
      }
      bitext.add(numbers[0].data(), numbers[0].size(), numbers[1].data(), numbers[1].size());
    }
  }

  const Vocabulary& vocabulary(int side) const {
    return learn_ ? vocabularies_[checked(side, 2, "side ")] : model_->vocabulary(side);
  }
  // The words that were learnt now belong to a model.
  void hand_over(const std::shared_ptr<Model>& model) {
    for (int side = 0; side < 2; ++side) model->vocabularies[side] = std::move(vocabularies_[side]);
    model_ = model;
    learn_ = false;
  }
  bool learns() const { return learn_; }
  const Model* model() const { return model_.get(); }
  // The same text with these words in place of its own, by side and in the order of their numbers: for a model to
  // learn, or in the words that a model knows.
  std::shared_ptr<Text> renamed(const std::array<std::vector<std::string>, 2>& words,
                                std::shared_ptr<const Model> model, bool learn) const {
    const Use use(*this, false);
    const auto text = std::make_shared<Text>(std::move(model), learn);
    text->dropped = dropped;
    if (!directory_.empty()) text->keep_in_files(directory_);
    for (int side = 0; side < 2; ++side) {
      std::vector<Word> numbers;
      for (const std::string& word : words[side]) numbers.push_back(text->number(side, word));
      text->bitext.words[side].resize(bitext.words[side].size());
      std::transform(bitext.words[side].begin(), bitext.words[side].end(), text->bitext.words[side].begin(),
                     [&](Word word) { return numbers.at(word); });
    }
    text->bitext.pairs.append(bitext.pairs.data(), bitext.pairs.size());
    text->forget();
    forget();
    return text;
  }
  // Moves what there is, and what comes, to files in a directory.
  void keep_in_files(const std::string& directory) {
    directory_ = directory;
    for (Array<Word>& words : bitext.words) words.move_to_file(directory);
    bitext.pairs.move_to_file(directory);
    forget();
  }
  std::uint64_t bytes() const {
    return (bitext.words[0].size() + bitext.words[1].size()) * sizeof(Word) + bitext.size() * sizeof(Pair);
  }

  Numbering numbering(bool reversed) {
    return [this, reversed](int side, const Vocabulary& words) {
      if (reversed) side = 1 - side;
      return learn_ ? vocabularies_[side].intern(words) : model_->vocabularies[side].find(words);
    };
  }

  Bitext bitext;
  DroppedPairs dropped;
  mutable Users users;
  std::uint64_t other_spaces = 0;  // pairs that have other white space than blanks in their words

 private:
  void forget() const {
    for (const Array<Word>& words : bitext.words) words.forget();
    bitext.pairs.forget();
  }
  Word number(int side, std::string_view word) {
    return learn_ ? vocabularies_[side].intern(word) : model_->vocabularies[side].find(word);
  }

  std::shared_ptr<const Model> model_;
  bool learn_;
  Vocabulary vocabularies_[2];
  std::string directory_;  // of files, if it is in them
};

// Reads the bytes of text files into a text, which nobody else may use from then on until all is read: where that
// fails, never.
class TextReader {
 public:
  // `reversed` exchanges the two languages. Beyond so many bytes the text moves to files in a directory.
  TextReader(std::shared_ptr<Text> text, int files, std::optional<std::array<std::size_t, 2>> columns,
             std::size_t max_length, std::uint64_t limit, bool reversed, int threads, std::uint64_t bytes,
             std::string directory)
      : text_(std::move(text)),
        files_(files),
        reversed_(reversed),
        bytes_(bytes),
        directory_(std::move(directory)),
        parallel_(parallel_of(threads)),
        reader_(text_->numbering(reversed), {files, columns, max_length, limit}, parallel_, text_->bitext) {
    require(files == 1 || files == 2, "a text is in one file or in two");
    text_->users.begin(true);
    if (text_->bitext.size() == 0) return;
    text_->users.end();
    throw std::invalid_argument("the text has been read");
  }

  bool feed(int file, const py::bytes& data) {
    const std::string_view view = data;
    const py::gil_scoped_release release;
    const std::unique_lock<std::mutex> lock = begin(file);
    const bool more = reader_.feed(file, view.data(), view.size());
    if (text_->bytes() > bytes_) text_->keep_in_files(directory_);
    return more;
  }
  void end(int file) {
    const py::gil_scoped_release release;
    const std::unique_lock<std::mutex> lock = begin(file);
    reader_.end(file);
  }
  void finish() {
    const py::gil_scoped_release release;
    const std::unique_lock<std::mutex> lock = begin(0);
    finished_ = true;
    text_->dropped = reader_.finish();
    text_->other_spaces = reader_.other_spaces();
    if (reversed_) text_->bitext.reverse();
    text_->users.end();
  }

 private:
  std::unique_lock<std::mutex> begin(int file) {
    std::unique_lock<std::mutex> lock(mutex_, std::try_to_lock);
    if (!lock) throw std::runtime_error("the reader is in use by another thread");
    require(!finished_, "the text has been read");
    checked(file, files_, "file ");
    return lock;
  }
  const std::shared_ptr<Text> text_;
  const int files_;
  const bool reversed_;
  const std::uint64_t bytes_;
  const std::string directory_;
  const Parallel parallel_;
  BitextReader reader_;
  std::mutex mutex_;
  bool finished_ = false;
};

PYBIND11_CONSTINIT py::gil_safe_call_once_and_store<py::object> unequal_lines;

void translate_unequal_lines(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const UnequalLines& error) {
    PyErr_SetObject(unequal_lines.get_stored().ptr(), py::make_tuple(error.lines[0], error.lines[1]).ptr());
  }
}

// ------------------------------------------------------------------------------------ training and aligning

Heuristic heuristic_of(const std::string& name) {
  const std::optional<Heuristic> heuristic = parse_heuristic(name);
  if (!heuristic) throw py::value_error("unknown heuristic: " + name);
  return *heuristic;
}

// What becomes of the links: those of both directions are combined, or those of the only one taken, their posteriors
// added if asked for; then Python gets them.
struct Output {
  std::optional<std::string> heuristic;
  bool posteriors = false;
  py::function take;  // take(arrays, scores by direction)

  Sink sink(const DiagonalModel* model, const Bitext& bitext, const Parallel& parallel) const {
    const std::optional<Heuristic> method = heuristic ? std::optional(heuristic_of(*heuristic)) : std::nullopt;
    return [=, this_take = &take, with_posteriors = posteriors, &bitext, &parallel](AlignedBlock&& block) {
      const std::size_t directions = block.links.size();
      Links links = method && directions == 2 ? symmetrize(block.links[0], block.links[1], *method, parallel)
                                              : std::move(block.links[0]);
      if (with_posteriors) links.probability = link_posteriors(*model, bitext, block.begin, links, parallel);
      py::gil_scoped_acquire acquire;
      py::list scores;
      for (std::size_t d = 0; d < directions; ++d) {
        scores.append(py::array_t<double>(static_cast<py::ssize_t>(block.scores[d].size()), block.scores[d].data()));
      }
      (*this_take)(to_arrays(std::move(links)), scores);
    };
  }
};

Layout layout_of(const Footprint& footprint, const std::string& memory, std::uint64_t bytes,
                 const std::string& directory) {
  require(memory == "auto" || memory == "low" || memory == "fast", "memory is auto, low or fast");
  if (memory == "fast") return Layout();
  if (memory == "low" && fits(footprint, footprint.low, bytes)) return low_layout();
  return choose_layout(footprint, bytes, directory);
}

// How a training is laid out, and what it will take in bytes.
struct Plan {
  Layout layout;
  std::uint64_t needed, fast;  // beside the text; as the fast mode would
  std::uint64_t kept;          // once it is done
  std::uint64_t longest;       // while the longest pair is worked on

  const char* mode() const { return layout.keep_index ? "fast" : layout.directory.empty() ? "low" : "files"; }
};

// Throws ValueError for a text that no model can be trained on.
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

// What of the memory is left is for long pairs.
Plan plan_of(const Footprint& footprint, const std::string& memory, std::uint64_t bytes, const std::string& directory) {
  Plan plan{layout_of(footprint, memory, bytes, directory), 0, 0, 0, footprint.longest};
  plan.layout.pair_bytes = 0;
  const std::uint64_t others = footprint.text + needed_bytes(footprint, plan.layout) - footprint.longest;
  plan.layout.pair_bytes = bytes > others ? bytes - others : 0;
  plan.needed = needed_bytes(footprint, plan.layout);
  plan.fast = footprint.fast + footprint.longest;
  return plan;
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
  const std::size_t words[2] = {text.vocabulary(0).size(), text.vocabulary(1).size()};
  const Footprint footprint = predict_footprint(text.bitext, words[0], words[1], directions, parallel);
  const Plan plan = plan_of(footprint, memory, bytes, directory);
  on_memory(plan.mode(), plan.needed, plan.fast);
  {
    py::gil_scoped_release release;
    // Sorted now: another thread that aligns with it would sort it meanwhile, and its order is that of the sums.
    const DiagonalModel* const start = init ? &init->sorted(parallel) : nullptr;
    model->diagonal = fit_diagonal(text.bitext, words[0], words[1], directions, *settings, plan.layout, start, parallel,
                                   reporter(progress), output ? output->sink(nullptr, text.bitext, parallel) : Sink());
  }
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
  std::sort(hints.dictionary.begin(), hints.dictionary.end(), [](const DictionaryEntry& a, const DictionaryEntry& b) {
    return std::tie(a.source, a.target) < std::tie(b.source, b.target);
  });
  return hints;
}

Plan plan_hmm(const std::shared_ptr<Text>& text, int threads, const std::string& memory, std::uint64_t bytes,
              const std::string& directory) {
  const Text::Use use(*text, false);
  check_learnable(*text, 2, true, nullptr);
  const Parallel parallel = parallel_of(threads);
  const std::size_t words[2] = {text->vocabulary(0).size(), text->vocabulary(1).size()};
  const Footprint footprint = predict_hmm_footprint(text->bitext, words[0], words[1], parallel);
  Plan plan = plan_of(footprint, memory, bytes, directory);
  plan.kept = kept_bytes(footprint, words[0] + words[1]);
  return plan;
}

std::shared_ptr<Model> train_hmm(const std::shared_ptr<Text>& shared, const std::shared_ptr<HmmSettings>& settings,
                                 int threads, const std::shared_ptr<Plan>& plan, const std::shared_ptr<Model>& init,
                                 const py::function& progress, double spelling,
                                 std::array<std::vector<std::string>, 2> spellings, const Dictionary& dictionary) {
  Text& text = *shared;
  const Text::Use use(text, true);
  check_learnable(text, 2, true, init);
  const Hints hints = hints_of(text, spelling, std::move(spellings), dictionary);
  const auto model = std::make_shared<Model>();
  const Parallel parallel = parallel_of(threads);
  const std::size_t words[2] = {text.vocabulary(0).size(), text.vocabulary(1).size()};
  {
    py::gil_scoped_release release;
    if (init) init->sorted(parallel);
    model->hmm = fit_hmm(text.bitext, words[0], words[1], *settings, hints, plan->layout, init ? &init->hmm : nullptr,
                         parallel, reporter(progress));
  }
  model->is_hmm = true;
  text.hand_over(model);
  return model;
}

bool same_lengths(const Bitext& one, const Bitext& other) {
  return std::equal(one.pairs.begin(), one.pairs.end(), other.pairs.begin(), other.pairs.end(),
                    [](const Pair& a, const Pair& b) {
                      return a.sides[0].length == b.sides[0].length && a.sides[1].length == b.sides[1].length;
                    });
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
    require(texts[view]->model() == models[view].get() && !texts[view]->learns(),
            "the text was read for another model");
    views.push_back({&models[view]->hmm, &texts[view]->bitext});
    require(same_lengths(*views[0].bitext, *views[view].bitext), "the texts differ");
  }
  // One pair is no work for several threads.
  const Parallel parallel = views[0].bitext->size() == 1 ? Parallel() : parallel_of(threads);
  py::gil_scoped_release release;
  for (const std::shared_ptr<Model>& model : models) model->sorted(parallel);
  align_hmm(views, *decoding, bytes, parallel, [&](HmmBlock&& block) {
    py::gil_scoped_acquire acquire;
    py::list scores;
    for (const std::vector<double>* values : {&block.scores[0], &block.scores[1], &block.per_word}) {
      scores.append(py::array_t<double>(static_cast<py::ssize_t>(values->size()), values->data()));
    }
    take(to_arrays(std::move(block.links)), scores);
  });
}

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

Decoding decoding_of(const std::string& name, float threshold) {
  Decoding decoding;
  decoding.threshold = threshold;
  if (name == "posterior") return decoding;
  decoding.method = name == "forward"    ? Decoding::Method::kForward
                    : name == "backward" ? Decoding::Method::kBackward
                                         : Decoding::Method::kSymmetrized;
  if (decoding.method == Decoding::Method::kSymmetrized) decoding.heuristic = heuristic_of(name);
  return decoding;
}

void align(const std::shared_ptr<Model>& model, const std::shared_ptr<Text>& text, int threads,
           const std::shared_ptr<Output>& output) {
  const Text::Use use(*text, false);
  require(text->model() == model.get() && !text->learns(), "the text was read for another model");
  const Parallel parallel = parallel_of(threads);
  py::gil_scoped_release release;
  const DiagonalModel& diagonal = model->sorted(parallel);
  align_diagonal(diagonal, text->bitext, parallel, output->sink(&diagonal, text->bitext, parallel));
}

// One pair on this thread: no array of the size of a vocabulary, no thread started.
std::vector<std::pair<std::int32_t, std::int32_t>> align_pair(const std::shared_ptr<Model>& model, py::handle source,
                                                              py::handle target,
                                                              const std::optional<std::string>& heuristic,
                                                              std::size_t max_length) {
  const Parallel alone;
  const std::optional<Heuristic> method = heuristic ? std::optional(heuristic_of(*heuristic)) : std::nullopt;
  Bitext bitext;
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
  bitext.add(numbers[0].data(), numbers[0].size(), numbers[1].data(), numbers[1].size());
  Links links;
  align_diagonal(model->sorted(alone), bitext, alone, [&](AlignedBlock&& block) {
    links = method && block.links.size() == 2 ? symmetrize(block.links[0], block.links[1], *method, alone)
                                              : std::move(block.links[0]);
  });
  for (const Link& link : links.links) result.emplace_back(link.source, link.target);
  return result;
}

// ------------------------------------------------------------------------------------------------- models

template <class T, class Values>
py::array_t<T> copy_of(const Values& values, std::vector<py::ssize_t> shape) {
  py::array_t<T> array(std::move(shape));
  std::copy(values.begin(), values.end(), array.mutable_data());
  return array;
}

template <class T, class Values>
py::array_t<T> copy_of(const Values& values) {
  return copy_of<T>(values, {static_cast<py::ssize_t>(values.end() - values.begin())});
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
  {
    py::gil_scoped_release release;
    model->sorted(parallel_of(1));
  }
  const DiagonalModel& diagonal = model->diagonal;
  const TTable& table = diagonal.table;
  const auto cells = static_cast<py::ssize_t>(table.cells());
  py::dict arrays;
  arrays["rows"] =
      constant_view_of<std::uint64_t>(model, table.rows.data(), {static_cast<py::ssize_t>(table.rows.size())});
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
View<T> view(const py::dict& arrays, const std::string& name, int dimensions = 1) {
  if (!arrays.contains(name.c_str())) throw py::value_error("there is no " + name);
  const py::object array = arrays[name.c_str()];
  if (!py::isinstance<py::array_t<T, py::array::c_style>>(array)) throw py::value_error(name + " has another type");
  const auto values = py::reinterpret_borrow<py::array_t<T, py::array::c_style>>(array);
  if (!(values.flags() & py::detail::npy_api::NPY_ARRAY_ALIGNED_)) throw py::value_error(name + " is not aligned");
  if (values.ndim() != dimensions) throw py::value_error(name + " has another number of dimensions");
  return {values.data(), static_cast<std::size_t>(values.size())};
}

// Throws ValueError for arrays that are not those of a model.
std::shared_ptr<Model> model_of_arrays(const py::dict& arrays, const DiagonalSettings& settings, int directions,
                                       const std::array<double, 2>& tension, const std::array<double, 2>& length_ratio,
                                       const std::array<double, 2>& null_totals,
                                       const std::vector<std::vector<Iteration>>& history) {
  if (directions < 1 || directions > 2 || history.size() != static_cast<std::size_t>(directions)) {
    throw py::value_error("a model has one or two directions");
  }
  const auto model = std::make_shared<Model>();
  DiagonalModel& diagonal = model->diagonal;
  diagonal.settings = settings;
  diagonal.table.directions = directions;
  ModelArrays views;
  views.rows = view<std::uint64_t>(arrays, "rows");
  views.columns = view<std::uint32_t>(arrays, "columns");
  views.t = view<float>(arrays, "t", 2);
  if (py::array(arrays["t"]).shape(1) != directions) throw py::value_error("t has another shape");
  for (int side = 0; side < 2; ++side) {
    const std::string number = std::to_string(side);
    views.words[side] = view<std::uint8_t>(arrays, "words" + number);
    views.word_ends[side] = view<std::uint64_t>(arrays, "word_ends" + number);
    if (side >= directions) continue;
    views.null_row[side] = view<float>(arrays, "null" + number);
    views.totals[side] = view<double>(arrays, "totals" + number);
    const double least = settings.favor_diagonal ? kLeastTension : 0.0;
    const auto within = [](double value, double low, double high) { return value >= low && value <= high; };
    if (!within(tension[side], least, kMostTension) || !within(length_ratio[side], 0, 0x1p32) ||
        !within(null_totals[side], 0, 0x1p32)) {
      throw py::value_error("a tension, a length ratio or a count of NULL is out of range");
    }
    diagonal.tension[side] = tension[side];
    diagonal.length_ratio[side] = length_ratio[side];
    diagonal.null_totals[side] = null_totals[side];
    diagonal.history[side] = history[side];
  }
  take_arrays(views, model->vocabularies, diagonal);
  return model;
}

std::shared_ptr<Model> from_dict(const py::dict& arrays, const std::shared_ptr<DiagonalSettings>& settings,
                                 int directions, const std::array<double, 2>& tension,
                                 const std::array<double, 2>& length_ratio, const std::array<double, 2>& null_totals,
                                 const std::vector<std::vector<Iteration>>& history) {
  return model_of_arrays(arrays, *settings, directions, tension, length_ratio, null_totals, history);
}

std::shared_ptr<Model> hmm_from_dict(const py::dict& arrays, const std::shared_ptr<HmmSettings>& settings,
                                     const std::array<double, 2>& tension, const std::array<double, 2>& length_ratio,
                                     const std::array<double, 2>& null_totals,
                                     const std::vector<std::vector<Iteration>>& history) {
  const std::shared_ptr<Model> model =
      model_of_arrays(arrays, trained_settings(*settings), 2, tension, length_ratio, null_totals, history);
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
  py::gil_scoped_release release;
  model->diagonal.settings = *settings;
  model->diagonal.table = read_parameters(view, model->vocabularies[0], model->vocabularies[1]);
  model->diagonal.tension[0] = settings->favor_diagonal ? settings->tension : 0.0;
  model->diagonal.length_ratio[0] = length_ratio;
  return model;
}

py::bytes parameters(const std::shared_ptr<Model>& model, double threshold, int threads) {
  require(model->diagonal.table.directions == 1, "a parameter file holds one direction only");
  std::string text;
  {
    py::gil_scoped_release release;
    const Parallel parallel = parallel_of(threads);
    const DiagonalModel& diagonal = model->sorted(parallel);
    text = parameters_text(diagonal.table, model->vocabularies[0], model->vocabularies[1], diagonal.settings.null_word,
                           threshold, parallel);
  }
  return py::bytes(text);
}

Lexicon lexicon_of(Model& model, int d, std::size_t top, const Parallel& parallel) {
  const DiagonalModel& diagonal = model.sorted(parallel);
  return make_lexicon(diagonal.table, model.vocabularies[1].size(), model.direction(d), top, parallel);
}

py::tuple lexicon(const std::shared_ptr<Model>& model, int d, std::size_t top, int threads) {
  std::optional<Lexicon> made;
  {
    py::gil_scoped_release release;
    made = lexicon_of(*model, d, top, parallel_of(threads));
  }
  return py::make_tuple(copy_of<std::int64_t>(made->offsets), copy_of<std::uint32_t>(made->words),
                        copy_of<float>(made->probabilities));
}

py::bytes lexicon_lines(const std::shared_ptr<Model>& model, int d, std::size_t top, int threads) {
  std::string text;
  {
    py::gil_scoped_release release;
    const Lexicon made = lexicon_of(*model, d, top, parallel_of(threads));
    text = lexicon_text(made, model->vocabularies[d], model->vocabularies[1 - d]);
  }
  return py::bytes(text);
}

py::list words_in(const Vocabulary& vocabulary) {
  py::list words;
  for (Word word = 0; word < vocabulary.size(); ++word) words.append(py::str(vocabulary.text(word)));
  return words;
}

void translate_system_error(std::exception_ptr pointer) {
  try {
    std::rethrow_exception(pointer);
  } catch (const std::system_error& error) {
    const py::object arguments = py::make_tuple(error.code().value(), error.what());
    PyErr_SetObject(PyExc_OSError, arguments.ptr());
  }
}

}  // namespace

void bind_aligner(py::module_& m) {
  unequal_lines.call_once_and_store_result(
      [&] { return py::exception<UnequalLines>(m, "UnequalLines", PyExc_ValueError); });
  py::register_local_exception_translator(&translate_unequal_lines);
  py::register_local_exception_translator(&translate_system_error);
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
  py::class_<Output, std::shared_ptr<Output>>(m, "Output")
      .def(py::init<std::optional<std::string>, bool, py::function>(), py::arg("heuristic"), py::arg("posteriors"),
           py::arg("take"));
  using ModelPointer = std::shared_ptr<Model>;
  const auto both = [](const double* values) { return std::pair(values[0], values[1]); };
  py::class_<Model, ModelPointer>(m, "Model")
      .def_property_readonly("directions", [](const ModelPointer& model) { return model->diagonal.table.directions; })
      .def_property_readonly("cells", [](const ModelPointer& model) { return model->diagonal.table.cells(); })
      .def_property_readonly("tension", [=](const ModelPointer& model) { return both(model->diagonal.tension); })
      .def_property_readonly("length_ratio",
                             [=](const ModelPointer& model) { return both(model->diagonal.length_ratio); })
      .def_property_readonly("null_totals",
                             [=](const ModelPointer& model) { return both(model->diagonal.null_totals); })
      .def(
          "history", [](const ModelPointer& model, int d) { return model->diagonal.history[model->direction(d)]; },
          py::arg("direction"))
      .def(
          "words", [](const ModelPointer& model, int side) { return words_in(model->vocabulary(side)); },
          py::arg("side"))
      .def("arrays", &to_dict)
      .def("lexicon", &lexicon, py::arg("direction"), py::arg("top"), py::arg("threads"))
      .def("lexicon_text", &lexicon_lines, py::arg("direction"), py::arg("top"), py::arg("threads"))
      .def("parameters", &parameters, py::arg("threshold"), py::arg("threads"))
      .def("align_pair", &align_pair, py::arg("source"), py::arg("target"), py::arg("heuristic"),
           py::arg("max_length"));
  using TextPointer = std::shared_ptr<Text>;
  py::class_<Text, TextPointer>(m, "Text")
      .def(py::init<std::shared_ptr<const Model>, bool>(), py::arg("model"), py::arg("learn"))
      .def(
          "add",
          [](const TextPointer& text, const py::sequence& source, const py::sequence& target, std::size_t max_length) {
            text->add(source, target, max_length);
          },
          py::arg("source"), py::arg("target"), py::arg("max_length"))
      .def(
          "renamed",
          [](const TextPointer& text, const std::array<std::vector<std::string>, 2>& words, const ModelPointer& model,
             bool learn) { return text->renamed(words, model, learn); },
          py::arg("words"), py::arg("model"), py::arg("learn"))
      .def(
          "words",
          [](const TextPointer& text, int side) {
            const Text::Use use(*text, false);
            return words_in(text->vocabulary(side));
          },
          py::arg("side"))
      .def("__len__", [](const TextPointer& text) { return text->bitext.size(); })
      .def_property_readonly(
          "dropped", [](const TextPointer& text) { return std::pair(text->dropped.empty, text->dropped.too_long); })
      .def_property_readonly(
          "tokens",
          [](const TextPointer& text) { return std::pair(text->bitext.words[0].size(), text->bitext.words[1].size()); })
      .def_property_readonly("other_spaces", [](const TextPointer& text) { return text->other_spaces; })
      .def_property_readonly("bytes", [](const TextPointer& text) { return text->bytes(); });
  using ReaderPointer = std::shared_ptr<TextReader>;
  py::class_<TextReader, ReaderPointer>(m, "TextReader")
      .def(py::init<TextPointer, int, std::optional<std::array<std::size_t, 2>>, std::size_t, std::uint64_t, bool, int,
                    std::uint64_t, std::string>(),
           py::kw_only(), py::arg("text").none(false), py::arg("files"), py::arg("columns"), py::arg("max_length"),
           py::arg("limit"), py::arg("reversed"), py::arg("threads"), py::arg("bytes"), py::arg("directory"))
      .def(
          "feed", [](const ReaderPointer& reader, int file, const py::bytes& data) { return reader->feed(file, data); },
          py::arg("file"), py::arg("data"))
      .def(
          "end", [](const ReaderPointer& reader, int file) { reader->end(file); }, py::arg("file"))
      .def("finish", [](const ReaderPointer& reader) { reader->finish(); });
  m.def("fit", &fit, py::arg("text").none(false), py::arg("settings").none(false), py::arg("directions"),
        py::arg("threads"), py::arg("memory"), py::arg("bytes"), py::arg("directory"), py::arg("init"),
        py::arg("on_memory"), py::arg("progress"), py::arg("output"));
  py::class_<HmmSettings, std::shared_ptr<HmmSettings>>(m, "HmmSettings")
      .def(py::init(&hmm_settings), py::kw_only(), py::arg("start_iterations"), py::arg("iterations"), py::arg("p0"),
           py::arg("alpha"), py::arg("fertility"));
  py::class_<Decoding, std::shared_ptr<Decoding>>(m, "Decoding")
      .def(py::init(&decoding_of), py::arg("method"), py::arg("threshold"));
  using PlanPointer = std::shared_ptr<Plan>;
  py::class_<Plan, PlanPointer>(m, "Plan")
      .def_property_readonly("mode", [](const PlanPointer& plan) { return plan->mode(); })
      .def_property_readonly("needed", [](const PlanPointer& plan) { return plan->needed; })
      .def_property_readonly("fast", [](const PlanPointer& plan) { return plan->fast; })
      .def_property_readonly("kept", [](const PlanPointer& plan) { return plan->kept; })
      .def_property_readonly("longest", [](const PlanPointer& plan) { return plan->longest; });
  m.def("plan_hmm", &plan_hmm, py::arg("text").none(false), py::arg("threads"), py::arg("memory"), py::arg("bytes"),
        py::arg("directory"));
  m.def("fit_hmm", &train_hmm, py::arg("text").none(false), py::arg("settings").none(false), py::arg("threads"),
        py::arg("plan").none(false), py::arg("init"), py::arg("progress"), py::arg("spelling"), py::arg("spellings"),
        py::arg("dictionary"));
  m.def("likeness", &likeness, py::arg("source"), py::arg("target"));
  m.def("align_hmm", &align_with_hmm, py::arg("models"), py::arg("texts"), py::arg("decoding").none(false),
        py::arg("threads"), py::arg("bytes"), py::arg("take"));
  m.def("align", &align, py::arg("model").none(false), py::arg("text").none(false), py::arg("threads"),
        py::arg("output").none(false));
  m.def("load_model", &from_dict, py::arg("arrays"), py::arg("settings").none(false), py::arg("directions"),
        py::arg("tension"), py::arg("length_ratio"), py::arg("null_totals"), py::arg("history"));
  m.def("load_hmm", &hmm_from_dict, py::arg("arrays"), py::arg("settings").none(false), py::arg("tension"),
        py::arg("length_ratio"), py::arg("null_totals"), py::arg("history"));
  m.def("load_parameters", &model_of_parameters, py::arg("text"), py::arg("settings").none(false),
        py::arg("length_ratio"));
}

}  // namespace weam
