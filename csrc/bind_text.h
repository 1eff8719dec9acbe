// Sentence pairs as Python holds them.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bind.h"
#include "bind_model.h"
#include "corpus.h"
#include "reader.h"

namespace weam {

using Numbers = py::array_t<std::int32_t, kPlain>;

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
  void add(const py::sequence& source, const py::sequence& target, std::size_t max_length);
  // The same for sentences whose words have numbers in a vocabulary of their own: that is, by side, a word a line.
  void add_numbered(const std::array<py::bytes, 2>& vocabularies, const std::array<Offsets, 2>& offsets,
                    const std::array<Numbers, 2>& numbers, std::size_t max_length);

  const Vocabulary& vocabulary(int side) const {
    return learn_ ? vocabularies_[checked(side, 2, "side ")] : model_->vocabulary(side);
  }
  // The words that were learnt now belong to a model.
  void hand_over(const std::shared_ptr<Model>& model) {
    for (int side = 0; side < 2; ++side) model->vocabularies[side] = std::move(vocabularies_[side]);
    model_ = model;
    learn_ = false;
  }
  std::array<std::size_t, 2> vocabulary_sizes() const { return {vocabulary(0).size(), vocabulary(1).size()}; }
  bool learns() const { return learn_; }
  const Model* model() const { return model_.get(); }
  // The same text with these words in place of its own, by side and in the order of their numbers: for a model to
  // learn, or in the words that a model knows.
  std::shared_ptr<Text> renamed(const std::array<std::vector<std::string>, 2>& words,
                                std::shared_ptr<const Model> model, bool learn) const;
  // Moves what there is, and what comes, to files in a directory.
  void keep_in_files(const std::string& directory);
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
  void release_pages() const {
    for (const Array<Word>& words : bitext.words) words.release_pages();
    bitext.pairs.release_pages();
  }
  // Whether a pair of sentences is kept; if not, an empty one takes its place.
  bool take(std::size_t source_length, std::size_t target_length, std::size_t max_length);
  Word number(int side, std::string_view word) {
    return learn_ ? vocabularies_[side].intern(word) : model_->vocabularies[side].find(word);
  }

  std::shared_ptr<const Model> model_;
  bool learn_;
  Vocabulary vocabularies_[2];
  std::string directory_;  // of files, if it is in them
};

// The words of a vocabulary in the order of their numbers.
py::list words_in(const Vocabulary& vocabulary);

}  // namespace weam
