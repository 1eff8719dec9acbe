#include "diagonal_training.h"

namespace weam {

namespace {

template <int kDirections>
WEAM_INLINE void weights_of(const PairView& pair, std::size_t i, const float* __restrict forward_gain,
                            float backward_gain, float* __restrict weights) {
  const SideView &s = pair.source, &t = pair.target;
  const std::size_t length = padded(t.length);
  for (std::size_t j = 0; j < length; ++j) {
    weights[j * kDirections] = prior(s.up[0][i], s.down[0][i], t.up[0][j], t.down[0][j]) * forward_gain[j];
    if (kDirections == 1) continue;
    weights[j * 2 + 1] = prior(s.up[1][i], s.down[1][i], t.up[1][j], t.down[1][j]) * backward_gain;
  }
}

// prior/Z of one occurrence, for each target position and direction.
WEAM_CLONES void occurrence_weights(const PairView& pair, std::size_t i, int directions, const float* forward_gain,
                                    float backward_gain, float* weights) {
  if (directions == 2) {
    weights_of<2>(pair, i, forward_gain, backward_gain, weights);
  } else {
    weights_of<1>(pair, i, forward_gain, backward_gain, weights);
  }
}

}  // namespace

Expectation::Expectation(TrainingText& text, DiagonalModel& model) : text_(text), model_(model) {
  for (int d = 0; d < directions_; ++d) {
    if (text.in_files()) {
      gain_[d].move_to_file(text.layout.directory);
      partial_[d].move_to_file(text.layout.directory);
    }
    gain_[d].assign(text.generated(d).size() + kLanes, 0.0f);  // whole lanes are read
    gain_[d].release_pages();
    if (text.measure_ranges.size() > 1) partial_[d].resize(text.generated(d).size());
  }
}

// Lets go of the pages of a block.
void Expectation::release(Range block) const {
  if (!text_.in_files()) return;
  for (int d = 0; d < directions_; ++d) {
    const auto [begin, end] = text_.words_of(block, generated_side(d));
    gain_[d].release_pages(begin, end);
    partial_[d].release_pages(begin, end);
  }
  text_.release_pairs(block);
}

void Expectation::measure(bool uniform, const Sink& sink) {
  for (int d = 0; d < directions_; ++d) {
    lengths_.set_tension(d, model_.tension[d]);
    nulls_[d].clear(model_.table.null_row[d].size());
    measures_[d].assign(text_.blocks.chunks(), Measures());
  }
  // Links are handed on a block at a time, so that not all wait in memory.
  const bool in_parts = text_.layout.keep_index && sink;
  const std::vector<Range> blocks =
      in_parts ? text_.blocks.of_pairs(std::max<std::size_t>(1, text_.bitext.size() / 16)) : text_.blocks.list();
  for (const Range words : uniform ? std::vector<Range>{{0, text_.vocabulary[0]}} : text_.measure_ranges) {
    const bool last = words.end == text_.vocabulary[0];
    for (const Range block : blocks) {
      const std::shared_ptr<const Tile> tile = uniform ? nullptr : text_.tile(words, block, true);
      if (last && sink) {
        OpenBlock aligned(text_.blocks, block, directions_, directions_);
        measure_block(words, block, tile.get(), last, &aligned);
        sink(aligned.close());
      } else {
        measure_block(words, block, tile.get(), last, nullptr);
      }
      release(block);
    }
    text_.release_rows(words);
  }
  for (int d = 0; d < directions_; ++d) record(model_, d, measures_[d], text_.generated(d).size());
}

// Unless it finishes them, the sums are left for the next range of words. Without a tile every t is the same.
void Expectation::measure_block(Range words, Range block, const Tile* tile, bool finish, OpenBlock* aligned) {
  text_.blocks.run(block, text_.parallel, [&](std::size_t k, std::size_t chunk, int thread) {
    Scratch& scratch = workers_[thread].scratch;
    const PairView pair(text_.bitext, k, lengths_);
    begin_sums(pair, directions_, scratch);
    if (words.begin > 0) load_partial(pair, scratch.sums);
    if (tile) {
      add_tile(model_.table, *tile, pair, aligned || !finish, scratch);
    } else {
      add_uniform(pair, directions_, scratch);
    }
    if (finish) {
      finish_pair(pair, chunk, thread, aligned);
    } else {
      store_partial(pair, scratch.sums);
    }
  });
}

void Expectation::load_partial(const PairView& pair, Sums* sums) const {
  for (int d = 0; d < directions_; ++d) {
    const PartialSum* const kept = partial_[d].data() + pair.generated(d).begin;
    for (std::size_t k = 0; k < pair.generated(d).length; ++k) {
      sums[d].z[k] = kept[k].z;
      sums[d].feature[k] = kept[k].feature;
      sums[d].best[k] = kept[k].best;
      sums[d].partner[k] = kept[k].partner;
    }
  }
}

void Expectation::store_partial(const PairView& pair, const Sums* sums) {
  for (int d = 0; d < directions_; ++d) {
    PartialSum* const kept = partial_[d].data() + pair.generated(d).begin;
    for (std::size_t k = 0; k < pair.generated(d).length; ++k) {
      kept[k] = {sums[d].z[k], sums[d].feature[k], sums[d].best[k], sums[d].partner[k]};
    }
  }
}

// Turns the sums of a pair into what the counts need, adds the pair to the measures, and takes its links.
void Expectation::finish_pair(const PairView& pair, std::size_t chunk, int thread, OpenBlock* aligned) {
  for (int d = 0; d < directions_; ++d) {
    const SideView& generated = pair.generated(d);
    Sums& sums = workers_[thread].scratch.sums[d];
    float* const gain = gain_[d].data() + generated.begin;
    if (aligned) append_links(model_, d, pair, sums, aligned->links(d, chunk));
    const double log_probability = finish_sums(model_, d, pair, sums, gain);
    if (aligned) {
      aligned->score(d, pair.number) = pair_score(model_, d, text_.bitext.pairs[pair.number], log_probability);
    }
    FixedSum* const nulls = nulls_[d].part(thread);
    Measures measures = measures_[d][chunk];  // not in place: other threads have its neighbours
    measures.log_likelihood += log_probability;
    for (std::size_t n = 0; n < generated.length; ++n) {
      measures.null += sums.null[n];
      nulls[generated.words[n]].add(sums.null[n]);
      measures.feature -= gain[n] * sums.feature[n];
    }
    measures_[d][chunk] = measures;
  }
}

void Expectation::count(const Finish& finish) {
  const std::vector<std::uint64_t>& rows = model_.table.rows;
  for (const Range words : text_.count_ranges) {
    const std::size_t cells = rows[words.end] - rows[words.begin];
    std::vector<double> sums(text_.row_blocks.size() == 1 ? 0 : cells * directions_, 0.0);
    for (const Range block : text_.row_blocks) {
      const bool last = block.end == text_.row_blocks.back().end;
      count_tile(*text_.tile(words, block, false), sums.empty() ? nullptr : sums.data(), last ? &finish : nullptr);
      release(block);
    }
    text_.release_rows(words);
  }
}

// Adds up the rows of a tile: with `sums`, to those of all cells of its words.
void Expectation::count_tile(const Tile& tile, double* sums, const Finish* finish) {
  const std::vector<std::uint64_t>& rows = model_.table.rows;
  text_.parallel.for_each(split_by_weight(tile.first), [&](std::size_t word, int thread) {
    const std::size_t e = tile.words.begin + word;
    double* row = sums ? sums + (rows[e] - rows[tile.words.begin]) * directions_ : nullptr;
    if (!sums) {
      workers_[thread].sums.assign((rows[e + 1] - rows[e]) * directions_, 0.0);
      row = workers_[thread].sums.data();
    }
    if (directions_ == 2) {
      add_occurrences<2>(tile, word, thread, row);
    } else {
      add_occurrences<1>(tile, word, thread, row);
    }
    if (finish) (*finish)(static_cast<Word>(e), row, thread);
  });
}

// Calls add(weights, target sentence, its length) for each occurrence of a word.
template <class Add>
void Expectation::for_each_occurrence(const Tile& tile, std::size_t word, Worker& worker, Add add) const {
  const auto pair_at = [&](std::uint64_t n) -> const Pair& { return text_.bitext.pairs[tile.occurrence(n).pair]; };
  for (std::uint64_t n = tile.first[word]; n < tile.first[word + 1]; ++n) {
    WEAM_PREFETCH(&pair_at(n + 2 * Tile::kAhead));
    const Pair& ahead = pair_at(n + Tile::kAhead);
    WEAM_PREFETCH(gain_[0].data() + ahead.sides[1].begin);
    WEAM_PREFETCH(gain_[0].data() + ahead.sides[1].begin + 16);
    if (directions_ == 2) {
      WEAM_PREFETCH(gain_[1].data() + ahead.sides[0].begin + tile.occurrence(n + Tile::kAhead).position);
    }
    const Tile::Occurrence at = tile.occurrences[n];
    const PairView pair(text_.bitext, at.pair, lengths_);
    const std::size_t length = pair.target.length;
    worker.weights.resize(std::max(worker.weights.size(), padded(length) * directions_));
    const float backward_gain = directions_ == 2 ? gain_[1][pair.source.begin + std::size_t{at.position}] : 0.0f;
    occurrence_weights(pair, at.position, directions_, gain_[0].data() + pair.target.begin, backward_gain,
                       worker.weights.data());
    add(worker.weights.data(), pair.target.words, length);
  }
}

// Adds prior/Z of every occurrence of a word to the sums of its row.
template <int kDirections>
void Expectation::add_occurrences(const Tile& tile, std::size_t word, int thread, double* sums) {
  if (tile.first[word] == tile.first[word + 1]) return;
  Worker& worker = workers_[thread];
  const auto add = [&](std::size_t number, const float* weight) {
    double* const sum = sums + number * kDirections;
    for (int d = 0; d < kDirections; ++d) sum[d] += weight[d];
  };
  if (tile.has_lists()) {
    tile.numbers(tile.begins[word], word, [&](auto numbers) {  // and all behind it
      for_each_occurrence(tile, word, worker, [&](const float* weights, const Word*, std::size_t length) {
        for (std::size_t j = 0; j < length; ++j) add(numbers[j], weights + j * kDirections);
        numbers += length;
      });
    });
    return;
  }
  const std::uint64_t* const row = model_.table.rows.data() + tile.words.begin + word;
  RowNumbers& numbers = text_.numberings[thread];
  numbers.begin_row(model_.table.columns.data() + row[0], row[1] - row[0]);
  for_each_occurrence(tile, word, worker, [&](const float* weights, const Word* target, std::size_t length) {
    for (std::size_t j = 0; j < length; ++j) add(numbers.find(target[j]), weights + j * kDirections);
  });
}

}  // namespace weam
