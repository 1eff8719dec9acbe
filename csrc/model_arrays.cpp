#include "model_arrays.h"

#include <stdexcept>
#include <string>
#include <string_view>

#include "fertility.h"
#include "reader.h"

namespace weam {

namespace {

void require(bool valid, const std::string& what) {
  if (!valid) throw std::invalid_argument(what);
}

// Row bounds: they begin at 0, do not descend, and end at `last`.
void check_ascending(View<std::uint64_t> bounds, std::size_t last, const std::string& name) {
  bool valid = bounds.size >= 1 && bounds[0] == 0 && bounds[bounds.size - 1] == last;
  for (std::size_t k = 1; valid && k < bounds.size; ++k) valid = bounds[k - 1] <= bounds[k];
  require(valid, name + " does not ascend from 0 to what there is");
}

void take_words(View<std::uint8_t> bytes, View<std::uint64_t> ends, const std::string& side, Vocabulary& vocabulary) {
  const std::string name = "word_ends" + side;
  check_ascending(ends, bytes.size, name);
  require(ends.size - 1 < kUnknown, name + " has too many words");
  const std::string_view text(reinterpret_cast<const char*>(bytes.values), bytes.size);
  for (std::size_t word = 0; word + 1 < ends.size; ++word) {
    const std::string_view characters = text.substr(ends[word], ends[word + 1] - ends[word]);
    require(valid_utf8(characters) == characters.size(), "words" + side + " has a word that is not UTF-8");
    require(vocabulary.intern(characters) == word, name + " has a word twice");
  }
}

void check_probabilities(View<float> values, const std::string& name) {
  bool valid = true;
  for (const float value : values) valid = valid && value >= 0 && value <= 1.01 * kScale;  // float32 rounds
  require(valid, name + " has a value that is no probability");
}

void take_table(const ModelArrays& arrays, std::size_t source_words, std::size_t target_words, TTable& table) {
  const View<std::uint64_t> rows = arrays.rows;
  const View<std::uint32_t> columns = arrays.columns;
  const View<float> t = arrays.t;
  require(rows.size == source_words + 1, "rows has another number of words");
  check_ascending(rows, columns.size, "rows");
  bool valid = true;
  for (std::size_t e = 0; e < source_words; ++e) {
    for (std::uint64_t cell = rows[e]; valid && cell < rows[e + 1]; ++cell) {
      valid = columns[cell] < target_words && (cell == rows[e] || columns[cell - 1] < columns[cell]);
    }
  }
  require(valid, "columns does not ascend within its rows, or names a word that is not there");
  require(t.size == columns.size * static_cast<std::size_t>(table.directions), "t has another shape");
  check_probabilities(t, "t");
  table.rows.assign(rows.begin(), rows.end());
  table.columns.append(columns.values, columns.size);
  table.t.append(t.values, t.size);
  table.sorted = true;
}

}  // namespace

void take_arrays(const ModelArrays& arrays, Vocabulary* vocabularies, DiagonalModel& model) {
  const bool known = arrays.totals[0].size > 0;  // in both directions or in neither
  for (int side = 0; side < 2; ++side) {
    take_words(arrays.words[side], arrays.word_ends[side], std::to_string(side), vocabularies[side]);
  }
  take_table(arrays, vocabularies[0].size(), vocabularies[1].size(), model.table);
  for (int d = 0; d < model.table.directions; ++d) {
    const View<float> null = arrays.null_row[d];
    const View<double> totals = arrays.totals[d];
    const std::string number = std::to_string(d);
    require(null.size == vocabularies[generated_side(d)].size(), "null" + number + " has another number of words");
    check_probabilities(null, "null" + number);
    require(totals.size == (known ? vocabularies[given_side(d)].size() : 0),
            "totals" + number + " has another number of words");
    bool valid = true;
    for (const double total : totals) valid = valid && total >= 0 && total < 0x1p31;
    require(valid, "totals" + number + " has a value that is no count");
    model.table.null_row[d].assign(null.begin(), null.end());
    model.totals[d].assign(totals.begin(), totals.end());
  }
}

void take_jumps(View<float> values, Jumps& jumps) {
  require(values.size == Jumps::kNear + 1, "jumps has another size");
  jumps.far = values[Jumps::kNear];
  bool valid = jumps.far >= kLeastJump && jumps.far <= 1;
  for (std::size_t d = 0; d < Jumps::kNear; ++d) {
    jumps.near[d] = values[d];
    valid = valid && values[d] >= jumps.far && values[d] <= 1;
  }
  require(valid, "jumps has a value that is no weight");
}

void take_fertility(View<double> counts, std::size_t words, Fertility& fertility) {
  require(counts.size == 0 || counts.size == words * kFertilities, "fertility has another number of words");
  bool valid = true;
  for (const double count : counts) valid = valid && count >= 0 && count < 0x1p31;
  require(valid, "fertility has a value that is no count");
  fertility.counts.assign(counts.begin(), counts.end());
  if (!fertility.counts.empty()) update_fertility(fertility);
}

}  // namespace weam
