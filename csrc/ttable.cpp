#include "ttable.h"

#include <numeric>

namespace weam {

namespace {

// Makes room for the lists of each word of a tile; `sizes` is what its row has at most.
void place_lists(Tile& tile, const Bitext& bitext, const std::vector<std::uint64_t>& sizes) {
  const std::size_t words = tile.words.size();
  tile.wide.resize(words);
  tile.begins.resize(words + 1);
  tile.entries.assign(tile.pairs.size() + 1, 0);
  for (const Tile::Occurrence& at : tile.occurrences) ++tile.entries[at.pair - tile.pairs.begin + 1];
  std::partial_sum(tile.entries.begin(), tile.entries.end(), tile.entries.begin());
  tile.position.resize(tile.occurrences.size());
  tile.list.resize(tile.occurrences.size());
  std::vector<std::uint32_t> next(tile.entries.begin(), tile.entries.end() - 1);
  std::uint64_t byte = 0;
  for (std::size_t word = 0; word < words; ++word) {
    tile.wide[word] = sizes[word] > 0xffff;
    tile.begins[word] = byte;
    const std::uint64_t width = tile.wide[word] ? sizeof(std::uint32_t) : sizeof(std::uint16_t);
    for (std::uint64_t n = tile.first[word]; n < tile.first[word + 1]; ++n) {
      WEAM_PREFETCH(&next[tile.occurrence(n + 2 * Tile::kAhead).pair - tile.pairs.begin]);
      const Tile::Occurrence at = tile.occurrences[n];
      const std::uint32_t entry = next[at.pair - tile.pairs.begin]++;
      tile.position[entry] = at.position;
      tile.list[entry] = byte;
      byte += bitext.pairs[at.pair].sides[1].length * width;
    }
    byte = (byte + 3) / 4 * 4;  // aligned for 32 bits
  }
  tile.begins[words] = byte;
  tile.cells.resize(byte);
}

// Writes the lists of a word, in which number(target word) is the cell.
template <class Number>
void write_lists(Tile& tile, const Bitext& bitext, std::size_t word, Number number) {
  unsigned char* at = tile.cells.data() + tile.begins[word];
  const auto write = [&]<class T>(T) {
    for_each_visit(tile, bitext, word, [&](Word met) {
      const T cell = static_cast<T>(number(met));
      std::memcpy(at, &cell, sizeof cell);
      at += sizeof cell;
    });
  };
  tile.wide[word] ? write(std::uint32_t{}) : write(std::uint16_t{});
}

// Binary search for many words at once, all in step: their reads do not wait for each other. `at` comes as the row's
// beginning and becomes the last place that is not beyond each word.
WEAM_CLONES void search_row(const Word* columns, std::size_t size, const Word* targets, std::size_t count,
                            std::uint64_t* at) {
  for (std::size_t half; size > 1; size -= half) {
    half = size / 2;
    for (std::size_t j = 0; j < count; ++j) {
      const std::uint64_t below = columns[at[j] + half - 1] < targets[j];
      at[j] += half & (0 - below);  // no branch: half of them would be mispredicted
    }
  }
}

}  // namespace

void TTable::sort_rows(const Parallel& parallel) {
  if (sorted) return;
  parallel.run_ranges(split_by_weight(rows), [&](Range range, std::size_t, int) {
    std::vector<std::pair<Word, std::uint32_t>> order;
    std::vector<float> values;
    for (std::size_t e = range.begin; e < range.end; ++e) {
      Word* const row_columns = columns.data() + rows[e];
      float* const row_t = t_of(rows[e]);
      order.resize(row(e).size());
      for (std::uint32_t k = 0; k < order.size(); ++k) order[k] = {row_columns[k], k};
      std::sort(order.begin(), order.end());
      values.assign(row_t, row_t + order.size() * directions);
      for (std::size_t k = 0; k < order.size(); ++k) {
        row_columns[k] = order[k].first;
        std::copy_n(values.data() + std::size_t{order[k].second} * directions, directions, row_t + k * directions);
      }
    }
  });
  sorted = true;
}

void TTable::find(Word source, const Word* targets, std::size_t count, std::uint64_t* cells) const {
  const bool known = source != kUnknown && rows[source] < rows[source + 1];
  std::fill(cells, cells + count, known ? rows[source] : kNoCell);
  if (!known) return;
  search_row(columns.data(), rows[source + 1] - rows[source], targets, count, cells);
  for (std::size_t j = 0; j < count; ++j) cells[j] = columns[cells[j]] == targets[j] ? cells[j] : kNoCell;
}

Tile list_occurrences(const Bitext& bitext, Range words, Range pairs) {
  Tile tile;
  tile.words = words;
  tile.pairs = pairs;
  tile.first.assign(words.size() + 1, 0);
  tile.visits.assign(words.size() + 1, 0);
  const auto for_each = [&](auto use) {
    for_each_source_word(bitext, pairs, [&](Word source, std::uint32_t pair, std::uint32_t i, std::uint32_t met) {
      const std::size_t word = std::size_t{source} - words.begin;  // wraps below the range
      if (word < words.size()) use(word, Tile::Occurrence{pair, i}, met);
    });
  };
  for_each([&](std::size_t word, Tile::Occurrence, std::uint32_t met) {
    ++tile.first[word + 1];
    tile.visits[word + 1] += met;
  });
  std::partial_sum(tile.first.begin(), tile.first.end(), tile.first.begin());
  std::partial_sum(tile.visits.begin(), tile.visits.end(), tile.visits.begin());
  tile.occurrences.resize(tile.first.back());
  std::vector<std::uint64_t> next(tile.first.begin(), tile.first.end() - 1);
  for_each([&](std::size_t word, Tile::Occurrence at, std::uint32_t) { tile.occurrences[next[word]++] = at; });
  return tile;
}

Tile list_cells(const Bitext& bitext, Range words, Range pairs, const TTable& table,
                std::vector<RowNumbers>& numberings, const Parallel& parallel) {
  if (parallel.poll) parallel.poll();
  Tile tile = list_occurrences(bitext, words, pairs);
  const std::uint64_t* const rows = table.rows.data() + tile.words.begin;
  std::vector<std::uint64_t> sizes(tile.words.size());
  for (std::size_t e = 0; e < sizes.size(); ++e) sizes[e] = rows[e + 1] - rows[e];
  place_lists(tile, bitext, sizes);
  parallel.for_each(split_by_weight(tile.visits), [&](std::size_t word, int thread) {
    if (tile.first[word] == tile.first[word + 1]) return;
    RowNumbers& slot = numberings[thread];
    slot.begin_row(table.columns.data() + rows[word], sizes[word]);
    write_lists(tile, bitext, word, [&](Word met) { return met == kUnknown ? RowNumbers::kNone : slot.find(met); });
  });
  return tile;
}

void extend_rows(Rows& rows, Tile& tile, const Bitext& bitext, bool with_lists, std::vector<RowNumbers>& numberings,
                 const Parallel& parallel) {
  const Bounds bounds = split_by_weight(tile.visits);
  if (with_lists) {
    std::vector<std::uint64_t> sizes(tile.words.size());
    parallel.for_each(bounds, [&](std::size_t word, int thread) {
      sizes[word] = rows[word].size() + (tile.visits[word + 1] - tile.visits[word]);
      if (sizes[word] <= 0xffff) return;
      // Few rows are as large as they could be: these are counted.
      sizes[word] = rows[word].size();
      numberings[thread].begin_row(rows[word].data(), rows[word].size());
      for_each_visit(tile, bitext, word, [&](Word met) { sizes[word] += numberings[thread].is_new(met); });
    });
    place_lists(tile, bitext, sizes);
  }
  std::vector<std::vector<Word>> met_by(numberings.size());
  parallel.for_each(bounds, [&](std::size_t word, int thread) {
    if (tile.first[word] == tile.first[word + 1]) return;
    std::vector<Word>& met = met_by[thread];
    met.clear();
    RowNumbers& slot = numberings[thread];
    slot.begin_row(rows[word].data(), rows[word].size());
    const auto number = [&](Word target) {
      const std::uint32_t known = slot.find(target);
      if (known != RowNumbers::kNone) return known;
      met.push_back(target);
      return slot.add(target);
    };
    if (with_lists) {
      write_lists(tile, bitext, word, number);
    } else {
      for_each_visit(tile, bitext, word, number);
    }
    rows[word].insert(rows[word].end(), met.begin(), met.end());
  });
}

void append_rows(Rows rows, TTable& table, const Parallel& parallel) {
  const std::size_t first = table.sources();
  for (const std::vector<Word>& row : rows) table.rows.push_back(table.rows.back() + row.size());
  table.columns.resize(table.rows.back());
  parallel.for_each(split_evenly(rows.size()), [&](std::size_t e, int) {
    std::copy(rows[e].begin(), rows[e].end(), table.columns.begin() + table.rows[first + e]);
    std::vector<Word>().swap(rows[e]);
  });
  table.columns.release_pages();
}

std::vector<double> count_columns(const TTable& table, std::size_t target_words, const Parallel& parallel) {
  std::vector<std::vector<std::uint32_t>> parts(parallel.threads, std::vector<std::uint32_t>(target_words, 0));
  parallel.run_ranges(split_evenly(table.cells()), [&](Range range, std::size_t, int thread) {
    for (std::size_t cell = range.begin; cell < range.end; ++cell) ++parts[thread][table.columns[cell]];
    table.columns.release_pages(range.begin, range.end);
  });
  std::vector<double> cells(target_words, 0.0);
  for (const std::vector<std::uint32_t>& part : parts) {
    for (std::size_t f = 0; f < target_words; ++f) cells[f] += part[f];
  }
  return cells;
}

double estimate_cells(const Bitext& bitext, std::size_t source_words, std::size_t target_words) {
  constexpr std::size_t kStride = 16;
  const Range all{0, bitext.size()};
  std::vector<std::uint64_t> visits(source_words, 0);
  for_each_source_word(bitext, all,
                       [&](Word word, std::uint32_t, std::uint32_t, std::uint32_t met) { visits[word] += met; });
  std::vector<Word> ranked(source_words);
  std::iota(ranked.begin(), ranked.end(), 0);
  std::ranges::stable_sort(ranked, std::greater(), [&](Word word) { return visits[word]; });
  std::vector<char> sampled(source_words, 0);
  for (std::size_t rank = std::min(kStride, source_words) / 2; rank < source_words; rank += kStride) {
    sampled[ranked[rank]] = 1;
  }
  std::vector<std::vector<std::uint32_t>> found(source_words);
  for_each_source_word(bitext, all, [&](Word word, std::uint32_t pair, std::uint32_t, std::uint32_t) {
    if (sampled[word] && (found[word].empty() || found[word].back() != pair)) found[word].push_back(pair);
  });
  RowNumbers numberings(target_words);
  double cells = 0;
  for (const std::vector<std::uint32_t>& pairs : found) {
    numberings.begin_row();
    for (const std::uint32_t pair : pairs) {
      const Word* const met = bitext.sentence(1, pair);
      for (std::uint32_t j = 0; j < bitext.pairs[pair].sides[1].length; ++j) cells += numberings.is_new(met[j]);
    }
  }
  return cells * static_cast<double>(std::min(kStride, source_words));
}

}  // namespace weam
