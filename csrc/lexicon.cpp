#include "lexicon.h"

#include <cstdio>
#include <cstdlib>
#include <numeric>

#include "errors.h"

namespace weam {

namespace {

constexpr std::string_view kNull = "<eps>";
// Of log t in single precision: what lies on a threshold is not below it.
constexpr double kRounding = 1e-5;

struct Entry {
  float t;
  Word word;

  bool operator<(const Entry& other) const { return t != other.t ? t > other.t : word < other.word; }
};

// The cells of each target word, as (cell, source word) by column.
struct Columns {
  std::vector<std::uint64_t> first;
  std::vector<std::pair<std::uint64_t, Word>> cells;

  Columns(const TTable& table, std::size_t target_words) : first(target_words + 1, 0), cells(table.cells()) {
    for (const Word word : table.columns) ++first[word + 1];
    std::partial_sum(first.begin(), first.end(), first.begin());
    std::vector<std::uint64_t> next(first.begin(), first.end() - 1);
    for (std::size_t e = 0; e < table.sources(); ++e) {
      for (const std::uint64_t cell : table.row(e)) cells[next[table.columns[cell]]++] = {cell, static_cast<Word>(e)};
    }
  }
};

void append_number(std::string& text, const char* format, double value) {
  char number[32];
  text.append(number, static_cast<std::size_t>(std::snprintf(number, sizeof number, format, value)));
}

// A word between blanks. Those of a text have none in them, but a program may have words of any kind.
std::string_view on_a_line(std::string_view word) {
  if (word.empty() || word.find_first_of(" \t\n") != word.npos) {
    throw std::invalid_argument(
        "the word '" + std::string(word) +
        "' cannot stand on a line of a file: it is empty, or has a blank or a line break in it");
  }
  return word;
}

}  // namespace

Lexicon make_lexicon(const TTable& table, std::size_t target_words, int d, std::size_t top, const Parallel& parallel) {
  const TTable none;
  const Columns columns(d == 1 ? table : none, d == 1 ? target_words : 0);
  const std::vector<std::uint64_t>& rows = d == 0 ? table.rows : columns.first;
  std::vector<std::vector<Entry>> best(rows.size() - 1);  // of each given word
  parallel.for_each(split_by_weight(rows), [&](std::size_t given, int) {
    std::vector<Entry> entries;
    for (std::uint64_t n = rows[given]; n < rows[given + 1]; ++n) {
      const auto [cell, word] = d == 0 ? std::pair(n, table.columns[n]) : columns.cells[n];
      const float t = table.t_of(cell)[d];
      if (t > kUnseen) entries.push_back({t, word});
    }
    best[given].resize(std::min(top, entries.size()));
    std::partial_sort_copy(entries.begin(), entries.end(), best[given].begin(), best[given].end());
  });
  Lexicon lexicon;
  for (const std::vector<Entry>& entries : best) {
    for (const Entry& entry : entries) {
      lexicon.words.push_back(entry.word);
      lexicon.probabilities.push_back(static_cast<float>(entry.t / kScale));
    }
    lexicon.offsets.push_back(static_cast<std::int64_t>(lexicon.words.size()));
  }
  return lexicon;
}

std::string lexicon_text(const Lexicon& lexicon, const Vocabulary& given, const Vocabulary& generated) {
  std::string text;
  for (std::size_t word = 0; word + 1 < lexicon.offsets.size(); ++word) {
    for (std::int64_t n = lexicon.offsets[word]; n < lexicon.offsets[word + 1]; ++n) {
      text.append(on_a_line(generated.text(lexicon.words[n]))).push_back(' ');
      text.append(on_a_line(given.text(static_cast<Word>(word)))).push_back(' ');
      append_number(text, "%.7g\n", lexicon.probabilities[n]);
    }
  }
  return text;
}

std::string parameters_text(const TTable& table, const Vocabulary& source, const Vocabulary& target, bool with_null,
                            double threshold, const Parallel& parallel) {
  const auto append_row = [&](std::string& text, std::string_view given, std::vector<Entry>& entries) {
    if (entries.empty()) return;
    const double most = std::ranges::max(entries, {}, &Entry::t).t;
    const double least = -threshold * std::log(most / kScale) - kRounding;
    for (const Entry& entry : entries) {
      const double log_t = std::log(entry.t / kScale);
      if (!(log_t >= least)) continue;
      text.append(on_a_line(given)).push_back('\t');
      text.append(on_a_line(target.text(entry.word))).push_back('\t');
      append_number(text, "%.9g\n", log_t);
    }
  };
  std::vector<Entry> nulls;
  for (Word word = 0; with_null && word < table.null_row[0].size(); ++word) {
    nulls.push_back({table.null_row[0][word], word});
  }
  const Bounds bounds = split_by_weight(table.rows);
  std::vector<std::string> parts(bounds.size());  // of NULL, and of the chunks
  append_row(parts[0], kNull, nulls);
  parallel.run_ranges(bounds, [&](Range words, std::size_t chunk, int) {
    std::vector<Entry> entries;
    for (std::size_t e = words.begin; e < words.end; ++e) {
      entries.clear();
      for (const std::uint64_t cell : table.row(e)) entries.push_back({table.t_of(cell)[0], table.columns[cell]});
      append_row(parts[chunk + 1], source.text(static_cast<Word>(e)), entries);
    }
  });
  return joined(std::move(parts));
}

TTable read_parameters(std::string_view text, Vocabulary& source, Vocabulary& target) {
  struct Parameter {
    Word source, target;
    float t;
    std::pair<Word, Word> words() const { return {source, target}; }
  };
  std::vector<Parameter> cells, nulls;
  for (std::uint64_t line = 1; !text.empty(); ++line) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view row = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (row.ends_with('\r')) row.remove_suffix(1);
    std::vector<std::string_view> fields;
    split_blanks(row, [&](std::string_view field) { fields.push_back(field); });
    if (fields.empty()) continue;
    if (fields.size() != 3) {
      throw LineError(0, line, "expected a source word, a target word and the logarithm of a probability");
    }
    char* after = nullptr;
    const std::string number(fields[2]);
    const double log_t = std::strtod(number.c_str(), &after);
    if (*after != '\0' || !(log_t <= 1e-3)) {
      throw LineError(0, line, "'" + number + "' is no logarithm of a probability");
    }
    const float t = static_cast<float>(std::exp(log_t) * kScale);
    const bool is_null = fields[0] == kNull;
    (is_null ? nulls : cells).push_back({is_null ? 0 : source.intern(fields[0]), target.intern(fields[1]), t});
  }
  std::ranges::stable_sort(cells, {}, &Parameter::words);
  TTable table;
  table.sorted = true;
  table.rows.assign(source.size() + 1, 0);
  for (std::size_t k = 0; k < cells.size(); ++k) {
    if (k + 1 < cells.size() && cells[k].words() == cells[k + 1].words())
      continue;  // the last counts, as in fast_align
    table.columns.push_back(cells[k].target);
    table.t.push_back(cells[k].t);
    ++table.rows[cells[k].source + 1];
  }
  std::partial_sum(table.rows.begin(), table.rows.end(), table.rows.begin());
  table.null_row[0].assign(target.size(), kUnseen);
  for (const Parameter& null : nulls) table.null_row[0][null.target] = null.t;
  return table;
}

}  // namespace weam
