// Text for Python: sentences in memory, and the bytes of files.
#include "bind_text.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <span>
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
    for (int side = 0; side < 2; ++side) numbers[side].clear();
    if (take(words[0]->size(), words[1]->size(), max_length)) {
      other_spaces += sentences[0].other_spaces() || sentences[1].other_spaces();
      for (int side = 0; side < 2; ++side) {
        for (const std::string_view word : *words[side]) numbers[side].push_back(number(side, word));
      }
    }
    bitext.add(numbers[0].data(), numbers[0].size(), numbers[1].data(), numbers[1].size());
  }
}

bool Text::take(std::size_t source_length, std::size_t target_length, std::size_t max_length) {
  const bool is_empty = source_length == 0 || target_length == 0;
  const bool is_long = !is_empty && max_length && std::max(source_length, target_length) > max_length;
  dropped.empty += is_empty;
  dropped.too_long += is_long;
  return !is_empty && !is_long;
}

namespace {

// The sentences of a side whose words have numbers, checked.
struct NumberedSide {
  NumberedSide(std::string_view vocabulary, const Offsets& offsets, const Numbers& numbers)
      : offsets(offsets.data(), static_cast<std::size_t>(offsets.size())),
        numbers(numbers.data(), static_cast<std::size_t>(numbers.size())) {
    for (std::size_t end; !vocabulary.empty(); vocabulary.remove_prefix(end + 1)) {
      end = vocabulary.find('\n');
      require(end != vocabulary.npos, "the last word of a vocabulary ends with a line feed, too");
      words.push_back(vocabulary.substr(0, end));
    }
    require(!this->offsets.empty() && this->offsets.front() >= 0 && std::ranges::is_sorted(this->offsets) &&
                static_cast<std::size_t>(this->offsets.back()) <= this->numbers.size(),
            "the offsets of the sentences do not ascend within their words");
    require(std::ranges::all_of(this->numbers, [&](std::int32_t n) { return n >= 0 && std::size_t(n) < words.size(); }),
            "the number of a word is not in the vocabulary");
    known.resize(words.size());
  }
  std::size_t size() const { return offsets.size() - 1; }
  std::span<const std::int32_t> sentence(std::size_t k) const {
    return numbers.subspan(offsets[k], offsets[k + 1] - offsets[k]);
  }

  std::vector<std::string_view> words;
  std::span<const std::int64_t> offsets;
  std::span<const std::int32_t> numbers;
  std::vector<std::optional<Word>> known;  // of the words that have been met, their numbers in the text
};

}  // namespace

void Text::add_numbered(const std::array<py::bytes, 2>& vocabularies, const std::array<Offsets, 2>& offsets,
                        const std::array<Numbers, 2>& numbers, std::size_t max_length) {
  const Use use(*this, true);
  NumberedSide sides[2] = {{vocabularies[0], offsets[0], numbers[0]}, {vocabularies[1], offsets[1], numbers[1]}};
  require(sides[0].size() == sides[1].size(), "source has " + std::to_string(sides[0].size()) +
                                                  " sentences, target has " + std::to_string(sides[1].size()));
  const py::gil_scoped_release release;
  std::vector<Word> words[2];
  for (std::size_t k = 0; k < sides[0].size(); ++k) {
    const bool taken = take(sides[0].sentence(k).size(), sides[1].sentence(k).size(), max_length);
    for (int side = 0; side < 2; ++side) {
      words[side].clear();
      if (!taken) continue;
      for (const std::int32_t local : sides[side].sentence(k)) {
        std::optional<Word>& known = sides[side].known[static_cast<std::size_t>(local)];
        if (!known) known = number(side, sides[side].words[static_cast<std::size_t>(local)]);
        words[side].push_back(*known);
      }
    }
    bitext.add(words[0].data(), words[0].size(), words[1].data(), words[1].size());
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

// split_pair for Python: both sides less the blanks around them, and whether the file is tab-separated.
py::tuple split_line(const py::str& line, const std::optional<Columns>& columns, std::optional<bool> tabs) {
  const auto stripped = [](std::string_view side) {
    const std::size_t begin = std::min(side.find_first_not_of(" \t"), side.size());
    return py::str(side.substr(begin, side.find_last_not_of(" \t") + 1 - begin));
  };
  Py_ssize_t size = 0;
  const char* const text = PyUnicode_AsUTF8AndSize(line.ptr(), &size);
  if (!text) throw py::error_already_set();
  const Sides sides = split_pair({text, static_cast<std::size_t>(size)}, columns, tabs, 0);
  return py::make_tuple(stripped(sides[0]), stripped(sides[1]), tabs);
}

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
          "add_numbered",
          [](const TextPointer& text, const std::array<py::bytes, 2>& vocabularies,
             const std::array<Offsets, 2>& offsets, const std::array<Numbers, 2>& numbers,
             std::size_t max_length) { text->add_numbered(vocabularies, offsets, numbers, max_length); },
          py::arg("vocabularies"), py::arg("offsets"), py::arg("numbers"), py::arg("max_length"))
      .def(
          "keep_in_files",
          [](const TextPointer& text, const std::string& directory) {
            const Text::Use use(*text, true);
            text->keep_in_files(directory);
          },
          py::arg("directory"))
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
      .def(
          "sentences",
          [](const TextPointer& text, int side) {
            const Text::Use use(*text, false);
            checked(side, 2, "side ");
            py::array_t<std::int64_t> offsets(static_cast<py::ssize_t>(text->bitext.size() + 1));
            std::int64_t* end = offsets.mutable_data();
            *end = 0;
            for (const Pair& pair : text->bitext.pairs) {
              *(end + 1) = *end + pair.sides[side].length;
              ++end;
            }
            const Array<Word>& words = text->bitext.words[side];
            return py::make_tuple(offsets, py::array_t<Word>(static_cast<py::ssize_t>(words.size()), words.data()));
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
  m.def("split_line", &split_line, py::arg("line"), py::arg("columns"), py::arg("tabs"));
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
