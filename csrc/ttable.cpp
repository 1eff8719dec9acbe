#include "ttable.h"

#include <algorithm>
#include <stdexcept>

namespace weam {

namespace {

constexpr std::size_t kChunks = 256;

// Lists the occurrences of each source word; unknown words are left out.
CellIndex list_occurrences(const Corpus& source, const Corpus& target, std::size_t source_words) {
  if (source.words.size() > 0xffffffff) throw std::length_error("more than 2^32 source words in one corpus");
  CellIndex index;
  index.first.assign(source_words + 1, 0);
  for (const Word word : source.words) {
    if (word != kUnknown) ++index.first[word + 1];
  }
  for (std::size_t e = 0; e < source_words; ++e) index.first[e + 1] += index.first[e];
  index.tokens.resize(index.first.back());
  index.sentence.resize(source.words.size());
  index.pair_offsets.assign(1, 0);
  std::vector<std::uint64_t> next(index.first.begin(), index.first.end() - 1);
  for (std::size_t pair = 0; pair < source.size(); ++pair) {
    for (std::uint64_t token = source.offsets[pair]; token < source.offsets[pair + 1]; ++token) {
      index.sentence[token] = static_cast<std::uint32_t>(pair);
      if (source.words[token] != kUnknown) {
        index.tokens[next[source.words[token]]++] = static_cast<std::uint32_t>(token);
      }
    }
    index.pair_offsets.push_back(index.pair_offsets.back() + source.length(pair) * target.length(pair));
  }
  return index;
}

// Target words met below each source word: what the work of a row is proportional to.
std::vector<std::uint64_t> cumulative_visits(const CellIndex& index, const Corpus& target) {
  std::vector<std::uint64_t> visits(index.first.size(), 0);
  for (std::size_t e = 0; e + 1 < index.first.size(); ++e) {
    visits[e + 1] = visits[e] + 1;
    for (std::uint64_t n = index.first[e]; n < index.first[e + 1]; ++n) {
      visits[e + 1] += target.length(index.sentence[index.tokens[n]]);
    }
  }
  return visits;
}

// For one thread: the cell of each target word in the current row. An entry older than the row is no cell of it, so
// nothing is cleared between rows.
class Slots {
 public:
  explicit Slots(std::size_t target_words) : slots_(target_words, 0) {}

  void begin_row(std::uint64_t at_most) {
    row_ = next_;
    if (row_ + at_most >= CellIndex::kMissing) {
      std::fill(slots_.begin(), slots_.end(), 0);
      row_ = next_ = 1;
    }
  }
  std::uint32_t find(Word word) const { return slots_[word] >= row_ ? slots_[word] - row_ : CellIndex::kMissing; }
  std::uint32_t add(Word word) {
    slots_[word] = next_;
    return next_++ - row_;
  }

 private:
  std::vector<std::uint32_t> slots_;
  std::uint32_t row_ = 1, next_ = 1;
};

// Calls fill(target words, count, destination) for each occurrence of source word e.
template <class Fill>
void for_each_occurrence(CellIndex& index, const Corpus& source, const Corpus& target, std::size_t e, Fill fill) {
  for (std::uint64_t n = index.first[e]; n < index.first[e + 1]; ++n) {
    const std::uint32_t token = index.tokens[n];
    const std::uint32_t pair = index.sentence[token];
    const std::size_t length = target.length(pair);
    fill(target.sentence(pair), length,
         index.cells.data() + index.pair_offsets[pair] + (token - source.offsets[pair]) * length);
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
  CellIndex index = list_occurrences(source, target, source_words);
  index.cells.resize(index.pair_offsets.back());
  const std::vector<std::size_t> bounds = split_evenly(cumulative_visits(index, target), kChunks);
  const std::size_t chunks = bounds.size() - 1;

  table.rows.assign(source_words + 1, 0);
  std::vector<std::vector<Word>> columns(chunks);
  std::vector<Slots> slots(parallel.threads, Slots(target_words));
  parallel.run(chunks, [&](std::size_t chunk, int thread) {
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      slots[thread].begin_row(target_words);
      std::uint64_t row = 0;
      for_each_occurrence(index, source, target, e, [&](const Word* words, std::size_t length, std::uint32_t* cells) {
        for (std::size_t j = 0; j < length; ++j) {
          cells[j] = slots[thread].find(words[j]);
          if (cells[j] != CellIndex::kMissing) continue;
          cells[j] = slots[thread].add(words[j]);
          columns[chunk].push_back(words[j]);
          ++row;
        }
      });
      table.rows[e + 1] = row;
    }
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
  CellIndex index = list_occurrences(source, target, table.sources());
  index.cells.assign(index.pair_offsets.back(), CellIndex::kMissing);
  const std::vector<std::size_t> bounds = split_evenly(cumulative_visits(index, target), kChunks);
  std::vector<Slots> slots(parallel.threads, Slots(target_words));
  parallel.run(bounds.size() - 1, [&](std::size_t chunk, int thread) {
    for (std::size_t e = bounds[chunk]; e < bounds[chunk + 1]; ++e) {
      if (index.first[e] == index.first[e + 1]) continue;
      slots[thread].begin_row(target_words);
      for (std::uint64_t cell = table.rows[e]; cell < table.rows[e + 1]; ++cell) slots[thread].add(table.columns[cell]);
      for_each_occurrence(index, source, target, e, [&](const Word* words, std::size_t length, std::uint32_t* cells) {
        for (std::size_t j = 0; j < length; ++j) {
          if (words[j] != kUnknown) cells[j] = slots[thread].find(words[j]);
        }
      });
    }
  });
  return index;
}

}  // namespace weam
