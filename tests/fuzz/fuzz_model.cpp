// A model's arrays: whatever they hold, they are refused or can be used.
#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "fuzz.h"
#include "lexicon.h"
#include "model_arrays.h"
#include "training.h"

using namespace weam;

namespace {

// Arrays one behind the other, each after its number of elements in one byte: small ones find more.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::uint8_t byte() {
    if (size_ == 0) return 0;
    --size_;
    return *data_++;
  }
  template <class T>
  std::span<const T> view(std::vector<T>& kept) {
    const std::size_t wanted = byte();
    kept.resize(std::min(wanted, size_ / sizeof(T)));
    if (!kept.empty()) std::memcpy(kept.data(), data_, kept.size() * sizeof(T));
    data_ += kept.size() * sizeof(T);
    size_ -= kept.size() * sizeof(T);
    return {kept.data(), kept.size()};
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

template <class Values>
void append(std::string& text, const Values& values) {
  text.push_back(static_cast<char>(values.end() - values.begin()));
  test::append_bytes(text, values);
}

std::string seed(int directions) {
  Bitext bitext = test::random_bitext(1, 8, 4);
  DiagonalModel model = test::train(bitext, 4, directions, Layout(), 1).model;
  model.table.sort_rows(Parallel());
  std::string text(1, static_cast<char>(directions - 1));
  const std::string words = "abcdefg";
  const std::vector<std::uint64_t> ends{0, 1, 3, 4, 7};
  for (int side = 0; side < 2; ++side) {
    append(text, words);
    append(text, ends);
  }
  append(text, model.table.rows);
  append(text, model.table.columns);
  append(text, model.table.t);
  for (int d = 0; d < 2; ++d) {
    append(text, model.table.null_row[d]);
    append(text, model.totals[d]);
  }
  return text;
}

std::string hmm_seed() {
  std::string text = seed(2);
  text[0] = 3;
  for (int d = 0; d < 2; ++d) {
    const Jumps jumps;
    std::vector<float> values(jumps.near.begin(), jumps.near.end());
    for (float& value : values) value /= 16;
    values.push_back(jumps.far / 16);
    append(text, values);
    append(text, std::vector<double>(4 * kFertilities, 1.5));
  }
  return text;
}

void use(DiagonalModel& model, const Vocabulary* vocabularies) {
  const Parallel alone;
  for (const std::size_t pairs : {std::size_t{3}, std::size_t{70}}) {
    Bitext text = test::random_bitext(2, pairs, 6);
    for (int side = 0; side < 2; ++side) {
      for (Word& word : text.words[side]) word = word < vocabularies[side].size() ? word : kUnknown;
    }
    align_diagonal(model, text, alone,
                   [&](AlignedBlock&& block) { link_posteriors(model, text, block.begin, block.links[0], alone); });
  }
  for (int d = 0; d < model.table.directions; ++d) {
    const Lexicon lexicon = make_lexicon(model.table, vocabularies[1].size(), d, 3, alone);
    lexicon_text(lexicon, vocabularies[d], vocabularies[1 - d]);
  }
  parameters_text(model.table, vocabularies[0], vocabularies[1], true, -4, alone);
  const std::size_t words = std::max(vocabularies[0].size(), vocabularies[1].size()) + 3;
  Bitext more = test::random_bitext(3, 10, words);
  fit_diagonal(more, model.table.directions, DiagonalSettings(), {{words, words}, Layout(), alone, {}}, &model, {});
}

void use_hmm(const HmmModel& model, const Vocabulary* vocabularies) {
  for (const std::size_t pairs : {std::size_t{3}, std::size_t{70}}) {
    Bitext text = test::random_bitext(2, pairs, 6);
    for (int side = 0; side < 2; ++side) {
      for (Word& word : text.words[side]) word = word < vocabularies[side].size() ? word : kUnknown;
    }
    for (const auto method : {Decoding::Method::kPosterior, Decoding::Method::kSymmetrized}) {
      Decoding decoding;
      decoding.method = method;
      test::aligned(model, text, decoding, 1);
    }
  }
  const std::size_t words = std::max(vocabularies[0].size(), vocabularies[1].size()) + 3;
  Bitext more = test::random_bitext(3, 10, words);
  test::train_hmm(more, words, Layout(), 1, &model);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  HmmModel hmm;
  DiagonalModel& model = hmm.base;
  const std::uint8_t kind = input.byte();
  const bool is_hmm = (kind & 3) == 3;
  model.table.directions = 1 + (kind & 1);
  if (is_hmm) model.settings = trained_settings(hmm.settings);
  ModelArrays arrays;
  std::vector<std::uint8_t> words[2];
  std::vector<std::uint64_t> ends[2], rows;
  std::vector<std::uint32_t> columns;
  std::vector<float> t, null_row[2];
  std::vector<double> totals[2];
  std::vector<float> jumps[2];
  std::vector<double> fertility[2];
  for (int side = 0; side < 2; ++side) {
    arrays.words[side] = input.view(words[side]);
    arrays.word_ends[side] = input.view(ends[side]);
  }
  arrays.rows = input.view(rows);
  arrays.columns = input.view(columns);
  arrays.t = input.view(t);
  for (int d = 0; d < 2; ++d) {
    arrays.null_row[d] = input.view(null_row[d]);
    arrays.totals[d] = input.view(totals[d]);
  }
  Vocabulary vocabularies[2];
  try {
    take_arrays(arrays, vocabularies, model);
    for (int d = 0; is_hmm && d < 2; ++d) {
      take_jumps(input.view(jumps[d]), hmm.jumps[d]);
      take_fertility(input.view(fertility[d]), vocabularies[d].size(), hmm.fertility[d]);
    }
  } catch (const std::invalid_argument&) {
    return 0;
  }
  if (is_hmm) {
    use_hmm(hmm, vocabularies);
  } else {
    use(model, vocabularies);
  }
  return 0;
}

std::vector<std::string> seeds() { return {seed(1), seed(2), hmm_seed()}; }

std::vector<std::string> dictionary() {
  return {std::string(8, '\0'),          std::string("\x01\0\0\0\0\0\0\0", 8), std::string(8, '\xff'),
          std::string(4, '\0'),          std::string("\0\0\x80\x7f", 4),       std::string("\0\0\xc0\x7f", 4),
          std::string("\0\0\x80\xff", 4)};
}
