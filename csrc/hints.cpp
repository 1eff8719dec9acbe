#include "hints.h"

#include <array>

namespace weam {

namespace {

constexpr std::size_t kLongest = 64;  // bytes of a word that are looked at
constexpr double kChance = 0.4;
constexpr double kWhole = 4;  // letters

// Bit c of a word that has a letter c, modulo 64.
std::uint64_t letters(std::string_view word) {
  std::uint64_t bits = 0;
  for (const char letter : word) bits |= std::uint64_t{1} << (static_cast<unsigned char>(letter) & 63);
  return bits;
}

int edit_distance(std::string_view a, std::string_view b) {
  std::array<int, kLongest + 1> row;
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int>(j);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    int diagonal = row[0];
    row[0] = static_cast<int>(i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const int above = row[j];
      row[j] = std::min(std::min(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
      diagonal = above;
    }
  }
  return row[b.size()];
}

// The number of edits from which on two words count as unlike.
double most_edits(std::size_t longest) { return (1 - kChance) * static_cast<double>(longest); }

// Two lists of words, and what tells most pairs apart at a glance.
class Spellings {
 public:
  explicit Spellings(const Hints& hints) {
    for (int side = 0; side < 2; ++side) {
      for (const std::string& word : hints.spellings[side]) {
        words_[side].push_back(std::string_view(word).substr(0, kLongest));
        letters_[side].push_back(letters(words_[side].back()));
      }
    }
  }

  double likeness_of(Word e, Word f) const {
    const std::string_view a = words_[0][e], b = words_[1][f];
    const std::uint64_t here = letters_[0][e], there = letters_[1][f];
    // An edit takes away one letter at most, and brings one.
    const int edits = std::max(__builtin_popcountll(here & ~there), __builtin_popcountll(there & ~here));
    return edits < most_edits(std::max(a.size(), b.size())) ? likeness(a, b) : 0.0;
  }

 private:
  std::vector<std::string_view> words_[2];
  std::vector<std::uint64_t> letters_[2];
};

}  // namespace

double likeness(std::string_view a, std::string_view b) {
  a = a.substr(0, kLongest);
  b = b.substr(0, kLongest);
  const double longest = static_cast<double>(std::max(a.size(), b.size()));
  if (longest == 0) return 0;
  const double alike = 1 - edit_distance(a, b) / longest;
  return std::max(0.0, (alike - kChance) / (1 - kChance)) * std::min(1.0, longest / kWhole);
}

std::vector<CellCount> hinted_cells(const TTable& table, const Hints& hints, const TTable* known,
                                    const Parallel& parallel) {
  if (hints.spelling <= 0 && hints.dictionary.empty()) return {};
  const Spellings spellings(hints);
  const auto words_of = [](const DictionaryEntry& entry) { return std::pair(entry.source, entry.target); };
  const auto in_dictionary = [&](Word source, Word target) {
    const std::pair words(source, target);
    const auto entry = std::ranges::lower_bound(hints.dictionary, words, {}, words_of);
    return entry != hints.dictionary.end() && words_of(*entry) == words ? entry->count : 0.0f;
  };
  const Bounds bounds = split_by_weight(table.rows);
  std::vector<std::vector<CellCount>> parts(bounds.size() - 1);
  parallel.run_ranges(bounds, [&](Range range, std::size_t chunk, int) {
    for (std::size_t e = range.begin; e < range.end; ++e) {
      const std::size_t old = known && e < known->sources() ? known->row(e).size() : 0;
      for (const std::uint64_t cell : table.row(e) | std::views::drop(old)) {
        const Word source = static_cast<Word>(e), target = table.columns[cell];
        double count = hints.dictionary.empty() ? 0.0 : in_dictionary(source, target);
        if (hints.spelling > 0) count += hints.spelling * spellings.likeness_of(source, target);
        if (count > 0) parts[chunk].push_back({cell, static_cast<float>(count)});
      }
    }
  });
  return joined(std::move(parts));
}

}  // namespace weam
