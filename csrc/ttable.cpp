#include "ttable.h"

#include <algorithm>
#include <stdexcept>

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;

std::uint32_t width(const CellIndex& index, Word word) { return index.wide[word] ? 4 : 2; }

// Everything but the numbers of the cells. `visits` becomes the cumulative lengths of each word's lists; most(word, its
// visits) says how many cells its row can have.
template <class Most>
CellIndex lay_out(const Corpus& source, const Corpus& target, std::size_t source_words, Most most,
                  std::vector<std::uint64_t>& visits) {
  if (std::max(source.words.size(), target.words.size()) > 0xffffffff) {
    throw std::length_error("more than 2^32 words in one corpus");
  }
  CellIndex index;
  index.pairs.reserve(source.size());
  index.first.assign(source_words + 1, 0);
  visits.assign(source_words + 1, 0);
  for (std::size_t pair = 0; pair < source.size(); ++pair) {
    const auto span = [&](const Corpus& side) {
      return CellIndex::Span{static_cast<std::uint32_t>(side.offsets[pair]),
                             static_cast<std::uint32_t>(side.length(pair))};
    };
    index.pairs.push_back({span(source), span(target)});
    for (std::size_t i = 0; i < source.length(pair); ++i) {
      const Word word = source.sentence(pair)[i];
      if (word == kUnknown) continue;
      ++index.first[word + 1];
      visits[word + 1] += target.length(pair);
    }
  }
  std::vector<std::uint64_t> list(source_words + 1, 0);
  index.wide.resize(source_words);
  for (Word word = 0; word < source_words; ++word) {
    index.wide[word] = most(word, visits[word + 1]) > 0xffff;
    list[word + 1] = list[word] + (visits[word + 1] * width(index, word) + 3) / 4 * 4;  // aligned for 32 bits
    index.first[word + 1] += index.first[word];
    visits[word + 1] += visits[word];
  }
  index.cells.resize(list.back());
  index.occurrences.resize(index.first.back());
  index.lists.resize(source.words.size());
  std::vector<std::uint64_t> next(index.first.begin(), index.first.end() - 1);
  for (std::uint32_t pair = 0; pair < source.size(); ++pair) {
    for (std::uint32_t i = 0; i < source.length(pair); ++i) {
      const Word word = source.sentence(pair)[i];
      if (word == kUnknown) continue;
      index.occurrences[next[word]++] = {pair, i};
      index.lists[source.offsets[pair] + i] = list[word];
      list[word] += target.length(pair) * width(index, word);
    }
  }
  return index;
}

// For one thread: the cell of each target word in the current row. An entry older than the row is no cell of it, so
// nothing is cleared between rows.
class Slots {
 public:
  static constexpr std::uint32_t kNone = CellIndex::kMissing<std::uint32_t>;

  explicit Slots(std::size_t target_words) : slots_(target_words, 0) {}

  void begin_row(std::uint64_t at_most) {
    row_ = next_;
    if (row_ + at_most >= kNone) {
      std::fill(slots_.begin(), slots_.end(), 0);
      row_ = next_ = 1;
    }
  }
  std::uint32_t find(Word word) const { return slots_[word] >= row_ ? slots_[word] - row_ : kNone; }
  std::uint32_t add(Word word) {
    slots_[word] = next_;
    return next_++ - row_;
  }

 private:
  std::vector<std::uint32_t> slots_;
  std::uint32_t row_ = 1, next_ = 1;
};

// Writes the lists of a word, in which number(target word) is the cell.
template <class Cell, class Number>
void write_lists_as(CellIndex& index, const Corpus& target, Word word, Number number) {
  const auto words_of = [&](std::uint64_t n) { return target.words.data() + index.pair_of(n).target.begin; };
  Cell* cell = reinterpret_cast<Cell*>(index.cells.data() + index.lists[index.token_of(index.first[word])]);
  for (std::uint64_t n = index.first[word]; n < index.first[word + 1]; ++n) {
    index.prefetch_pair(n + 2 * CellIndex::kAhead);
    WEAM_PREFETCH(words_of(n + CellIndex::kAhead));
    const Word* const words = words_of(n);
    const std::uint32_t length = index.pair_of(n).target.length;
    for (std::uint32_t j = 0; j < length; ++j) *cell++ = static_cast<Cell>(number(words[j]));
  }
}

template <class Number>
void write_lists(CellIndex& index, const Corpus& target, Word word, Number number) {
  if (index.first[word] == index.first[word + 1]) return;
  if (index.wide[word]) {
    write_lists_as<std::uint32_t>(index, target, word, number);
  } else {
    write_lists_as<std::uint16_t>(index, target, word, number);
  }
}

}  // namespace

std::vector<std::size_t> split_evenly(const std::vector<std::uint64_t>& cumulative, std::size_t chunks) {
  const std::size_t size = cumulative.size() - 1;
  std::vector<std::size_t> bounds{0};
  for (std::size_t chunk = 1; chunk <= chunks && bounds.back() < size; ++chunk) {
    const std::uint64_t goal = cumulative.back() / chunks * chunk + cumulative.back() % chunks * chunk / chunks;
    const auto at = std::lower_bound(cumulative.begin() + bounds.back() + 1, cumulative.end(), goal);
    bounds.push_back(std::min<std::size_t>(at - cumulative.begin(), size));
  }
  if (bounds.back() != size) bounds.push_back(size);
  return bounds;
}

CellIndex build_table(const Corpus& source, const Corpus& target, std::size_t source_words, std::size_t target_words,
                      const Parallel& parallel, TTable& table) {
  std::vector<std::uint64_t> visits;
  const auto most = [&](Word, std::uint64_t met) { return std::min<std::uint64_t>(met, target_words); };
  CellIndex index = lay_out(source, target, source_words, most, visits);
  const std::vector<std::size_t> bounds = split_evenly(visits, kChunks);
  const std::size_t chunks = bounds.size() - 1;

  table.rows.assign(source_words + 1, 0);
  std::vector<std::vector<Word>> columns(chunks);
  std::vector<Slots> slots(parallel.threads, Slots(target_words));
  parallel.run(chunks, [&](std::size_t chunk, int thread) {
    Slots& slot = slots[thread];
    std::vector<Word> met;
    const auto number = [&](Word word) {
      const std::uint32_t known = slot.find(word);
      if (known != Slots::kNone) return known;
      met.push_back(word);
      return slot.add(word);
    };
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      slot.begin_row(target_words);
      const std::size_t before = met.size();
      write_lists(index, target, static_cast<Word>(e), number);
      table.rows[e + 1] = met.size() - before;
    }
    columns[chunk] = std::move(met);
  });
  for (std::size_t e = 0; e < source_words; ++e) table.rows[e + 1] += table.rows[e];
  table.columns.resize(table.rows.back());
  parallel.run(chunks, [&](std::size_t chunk, int) {
    std::copy(columns[chunk].begin(), columns[chunk].end(), table.columns.begin() + table.rows[bounds[chunk]]);
    std::vector<Word>().swap(columns[chunk]);
  });
  return index;
}

CellIndex index_table(const Corpus& source, const Corpus& target, const TTable& table, std::size_t target_words,
                      const Parallel& parallel) {
  std::vector<std::uint64_t> visits;
  const auto size = [&](Word word, std::uint64_t) { return table.rows[word + 1] - table.rows[word]; };
  CellIndex index = lay_out(source, target, table.sources(), size, visits);
  const std::vector<std::size_t> bounds = split_evenly(visits, kChunks);
  std::vector<Slots> slots(parallel.threads, Slots(target_words));
  parallel.run(bounds.size() - 1, [&](std::size_t chunk, int thread) {
    Slots& slot = slots[thread];
    const auto number = [&](Word word) { return word == kUnknown ? Slots::kNone : slot.find(word); };
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      if (index.first[e] == index.first[e + 1]) continue;
      slot.begin_row(target_words);
      for (std::uint64_t cell = table.rows[e]; cell < table.rows[e + 1]; ++cell) slot.add(table.columns[cell]);
      write_lists(index, target, static_cast<Word>(e), number);
    }
  });
  return index;
}

}  // namespace weam
