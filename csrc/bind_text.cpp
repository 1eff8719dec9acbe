// Text for Python: sentences in memory, and the bytes of files.
#include "bind_text.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace weam {

void Text::add(const py::sequence& source, const py::sequence& target, std::size_t max_length) {
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

std::shared_ptr<Text> Text::renamed(const std::array<std::vector<std::string>, 2>& words,
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
  text->release_pages();
  release_pages();
  return text;
}

void Text::keep_in_files(const std::string& directory) {
  directory_ = directory;
  for (Array<Word>& words : bitext.words) words.move_to_file(directory);
  bitext.pairs.move_to_file(directory);
  release_pages();
}

py::list words_in(const Vocabulary& vocabulary) {
  py::list words;
  for (Word word = 0; word < vocabulary.size(); ++word) words.append(py::str(vocabulary.text(word)));
  return words;
}

namespace {

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

}  // namespace

void bind_text(py::module_& m) {
  unequal_lines.call_once_and_store_result(
      [&] { return py::exception<UnequalLines>(m, "UnequalLines", PyExc_ValueError); });
  py::register_local_exception_translator(&translate_unequal_lines);
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
          [](const TextPointer& text, const std::array<std::vector<std::string>, 2>& words,
             const std::shared_ptr<Model>& model, bool learn) { return text->renamed(words, model, learn); },
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
}

}  // namespace weam
