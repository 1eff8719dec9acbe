#include "diagonal_training.h"

namespace weam {

namespace {

// Ranges of words for building and, in memory, for counting: by the occurrences, which are listed at once.
std::vector<Range> cut_words(const TrainingText& text) {
  std::vector<std::uint64_t> bytes(text.vocabulary[0] + 1, 0);
  const Range all{0, text.bitext.size()};
  for_each_source_word(text.bitext, all, [&](Word word, std::uint32_t, std::uint32_t, std::uint32_t met) {
    bytes[word + 1] += text.in_files() ? sizeof(Word) * met : sizeof(Tile::Occurrence);
  });
  for (std::size_t e = 0; e < text.vocabulary[0]; ++e) {
    if (text.in_files()) bytes[e + 1] = std::min<std::uint64_t>(bytes[e + 1], sizeof(Word) * text.vocabulary[1]);
    bytes[e + 1] += bytes[e];
  }
  return split_below(bytes, text.in_files() ? text.layout.table_bytes / 2 : text.layout.tile_bytes);
}

}  // namespace

TrainingText::TrainingText(Bitext& text, const TrainOptions& how, const TTable* base, TTable& made)
    : bitext(text), options(how), table(made) {
  if (in_files()) {
    for (Array<Word>* const words : {&bitext.words[0], &bitext.words[1], &table.columns}) {
      words->move_to_file(layout.directory);
    }
    bitext.pairs.move_to_file(layout.directory);
    table.t.move_to_file(layout.directory);
  }
  count_ranges = cut_words(*this);
  build(base);
  measure_ranges = {{0, vocabulary[0]}};
  if (!in_files()) return;
  const std::uint64_t cell_bytes = sizeof(Word) + table.directions * (sizeof(float) + sizeof(double));
  measure_ranges = count_ranges = split_below(table.rows, layout.table_bytes / cell_bytes);
}

void TrainingText::build(const TTable* base) {
  for (const Range words : count_ranges) {
    Rows rows(words.size());
    for (std::size_t e = words.begin; base && e < std::min(words.end, base->sources()); ++e) {
      rows[e - words.begin].assign(base->columns.begin() + base->rows[e], base->columns.begin() + base->rows[e + 1]);
    }
    for (const Range block : row_blocks) {
      Tile tile = list_occurrences(bitext, words, blocks.pairs(block));
      extend_rows(rows, tile, bitext, layout.keep_index, numberings, parallel);
      if (layout.keep_index) index = std::make_shared<const Tile>(std::move(tile));
      release_pairs(block);
    }
    append_rows(std::move(rows), table, parallel);
  }
  table.t.resize(table.cells() * table.directions);
}

std::shared_ptr<const Tile> TrainingText::tile(Range words, Range block, bool with_lists) {
  if (index) return index;
  if (parallel.poll) parallel.poll();
  const Range pairs = blocks.pairs(block);
  return std::make_shared<const Tile>(with_lists ? list_cells(bitext, words, pairs, table, numberings, parallel)
                                                 : list_occurrences(bitext, words, pairs));
}

Range TrainingText::words_of(Range block, int side) const {
  const Range pairs = blocks.pairs(block);
  const Span last = bitext.pairs[pairs.end - 1].sides[side];
  return {bitext.pairs[pairs.begin].sides[side].begin, std::size_t{last.begin} + last.length};
}

void TrainingText::release_pairs(Range block) const {
  if (!in_files()) return;
  for (int side = 0; side < 2; ++side) {
    const auto [begin, end] = words_of(block, side);
    bitext.words[side].release_pages(begin, end);
  }
  const auto [begin, end] = blocks.pairs(block);
  bitext.pairs.release_pages(begin, end);
}

void TrainingText::release_rows(Range words) const {
  if (!in_files()) return;
  table.columns.release_pages(table.rows[words.begin], table.rows[words.end]);
  table.t.release_pages(table.rows[words.begin] * table.directions, table.rows[words.end] * table.directions);
}

}  // namespace weam
