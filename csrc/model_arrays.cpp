#include "model_arrays.h"

#include "errors.h"
#include "fertility.h"
#include "reader.h"

namespace weam {

namespace {

// Row bounds: they begin at 0, do not descend, and end at `last`.
void check_ascending(std::span<const std::uint64_t> bounds, std::size_t last, const std::string& name) {
  require(!bounds.empty() && bounds.front() == 0 && bounds.back() == last && std::ranges::is_sorted(bounds),
          name + " does not ascend from 0 to what there is");
}

void take_words(std::span<const std::uint8_t> bytes, std::span<const std::uint64_t> ends, const std::string& side,
                Vocabulary& vocabulary) {
  const std::string name = "word_ends" + side;
  check_ascending(ends, bytes.size(), name);
  require(ends.size() - 1 < kUnknown, name + " has too many words");
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t word = 0; word + 1 < ends.size(); ++word) {
    const std::string_view characters = text.substr(ends[word], ends[word + 1] - ends[word]);
    require(valid_utf8(characters) == characters.size(), "words" + side + " has a word that is not UTF-8");
    require(vocabulary.intern(characters) == word, name + " has a word twice");
  }
}

// float32 rounds: a probability may exceed 1 a little.
void check_probabilities(std::span<const float> values, const std::string& name) {
  require(std::ranges::all_of(values, [](float value) { return value >= 0 && value <= 1.01 * kScale; }),
          name + " has a value that is no probability");
}

void check_counts(std::span<const double> values, const std::string& name) {
  require(std::ranges::all_of(values, [](double value) { return value >= 0 && value < 0x1p31; }),
          name + " has a value that is no count");
}

void take_table(const ModelArrays& arrays, std::size_t source_words, std::size_t target_words, TTable& table) {
  const std::span<const std::uint64_t> rows = arrays.rows;
  const std::span<const std::uint32_t> columns = arrays.columns;
  const std::span<const float> t = arrays.t;
  require(rows.size() == source_words + 1, "rows has another number of words");
  check_ascending(rows, columns.size(), "rows");
  bool valid = true;
  for (std::size_t e = 0; e < source_words; ++e) {
    for (std::uint64_t cell = rows[e]; valid && cell < rows[e + 1]; ++cell) {
      valid = columns[cell] < target_words && (cell == rows[e] || columns[cell - 1] < columns[cell]);
    }
  }
  require(valid, "columns does not ascend within its rows, or names a word that is not there");
  require(t.size() == columns.size() * static_cast<std::size_t>(table.directions), "t has another shape");
  check_probabilities(t, "t");
  table.rows.assign(rows.begin(), rows.end());
  table.columns.append(columns.data(), columns.size());
  table.t.append(t.data(), t.size());
  table.sorted = true;
}

}  // namespace

void take_arrays(const ModelArrays& arrays, Vocabulary* vocabularies, DiagonalModel& model) {
  const bool known = !arrays.totals[0].empty();  // in both directions or in neither
  for (int side = 0; side < 2; ++side) {
    take_words(arrays.words[side], arrays.word_ends[side], std::to_string(side), vocabularies[side]);
  }
  take_table(arrays, vocabularies[0].size(), vocabularies[1].size(), model.table);
  for (int d = 0; d < model.table.directions; ++d) {
    const std::span<const float> null = arrays.null_row[d];
    const std::span<const double> totals = arrays.totals[d];
    const std::string number = std::to_string(d);
    require(null.size() == vocabularies[generated_side(d)].size(), "null" + number + " has another number of words");
    check_probabilities(null, "null" + number);
    require(totals.size() == (known ? vocabularies[given_side(d)].size() : 0),
            "totals" + number + " has another number of words");
    check_counts(totals, "totals" + number);
    model.table.null_row[d].assign(null.begin(), null.end());
    model.totals[d].assign(totals.begin(), totals.end());
  }
}

void take_jumps(std::span<const float> values, Jumps& jumps) {
  require(values.size() == Jumps::kNear + 1, "jumps has another size");
  jumps.far = values[Jumps::kNear];
  std::ranges::copy(values.first(Jumps::kNear), jumps.near.begin());
  require(jumps.far >= kLeastJump &&
              std::ranges::all_of(values, [&](float value) { return value >= jumps.far && value <= 1; }),
          "jumps has a value that is no weight");
}

void take_fertility(std::span<const double> counts, std::size_t words, Fertility& fertility) {
  require(counts.size() == 0 || counts.size() == words * kFertilities, "fertility has another number of words");
  check_counts(counts, "fertility");
  fertility.counts.assign(counts.begin(), counts.end());
  if (!fertility.counts.empty()) update_fertility(fertility);
}

}  // namespace weam
