// The parts of the diagonal model's training: its text and table, the expectation and the update. What is summed across
// tiles, chunks or threads is summed in an order that follows from the corpus alone, or in integers. Nothing depends on
// the C library's exp or log but the likelihood that is reported.
#pragma once

#include "fit_diagonal.h"
#include "update.h"

namespace weam {

// The text and the table of its words, cut into tiles that fit in memory: ranges of source words and, within, blocks of
// sentence pairs.
struct TrainingText {
  // Gives the table its cells, first those of `base`, if any, in each row. Its t are not set.
  TrainingText(Bitext& bitext, const TrainOptions& options, const TTable* base, TTable& table);

  bool in_files() const { return !layout.directory.empty(); }
  const Array<Word>& generated(int d) const { return bitext.words[generated_side(d)]; }
  std::shared_ptr<const Tile> tile(Range words, Range block, bool with_lists);
  // The words of one side of a block.
  Range words_of(Range block, int side) const;
  void release_pairs(Range block) const;
  void release_rows(Range words) const;

  Bitext& bitext;
  const TrainOptions& options;
  TTable& table;
  const std::array<std::size_t, 2>& vocabulary = options.vocabulary;
  const Layout& layout = options.layout;
  const Parallel& parallel = options.parallel;
  const Blocks blocks{bitext, layout.tile_bytes};
  const std::vector<Range> row_blocks = in_files() ? blocks.list() : std::vector{blocks.whole()};  // by source words
  std::vector<Range> measure_ranges, count_ranges;                                                 // of source words
  std::vector<RowNumbers> numberings = std::vector(parallel.threads, RowNumbers(vocabulary[1]));
  std::shared_ptr<const Tile> index;  // of a layout that keeps it

 private:
  void build(const TTable* base);
};

// Two passes over the cells, neither with a shared counter to fight for: `measure` walks the sentence pairs and stores
// 1/Z for each generated word; `count` walks the source words, whose rows it owns, adding up prior/Z over their
// occurrences in double precision. Any thread may take any chunk of either.
class Expectation {
 public:
  Expectation(TrainingText& text, DiagonalModel& model);

  // Adds to the model's history. `uniform`: every t is kUnseen, and no links are asked for.
  void measure(bool uniform, const Sink& sink);
  // Calls finish(word, sums of prior/Z [cells of its row][directions], thread) once for each source word.
  using Finish = std::function<void(Word, const double*, int)>;
  void count(const Finish& finish);
  // By generated word: the count of NULL.
  const WordSums& nulls(int d) const { return nulls_[d]; }

 private:
  // The sums of a generated word, kept between the ranges of source words.
  struct PartialSum {
    float z, feature, best;
    std::int32_t partner;
  };
  struct Worker {
    Scratch scratch;
    std::vector<float> weights;  // [padded target length][directions], of one occurrence
    std::vector<double> sums;    // [cells of the row][directions]
  };

  void measure_block(Range words, Range block, const Tile* tile, bool finish, OpenBlock* aligned);
  void load_partial(const PairView& pair, Sums* sums) const;
  void store_partial(const PairView& pair, const Sums* sums);
  void finish_pair(const PairView& pair, std::size_t chunk, int thread, OpenBlock* aligned);
  void count_tile(const Tile& tile, double* sums, const Finish* finish);
  template <class Add>
  void for_each_occurrence(const Tile& tile, std::size_t word, Worker& worker, Add add) const;
  template <int kDirections>
  void add_occurrences(const Tile& tile, std::size_t word, int thread, double* sums);
  void release(Range block) const;

  TrainingText& text_;
  DiagonalModel& model_;
  const int directions_ = model_.table.directions;
  LengthTables lengths_{text_.bitext};
  std::vector<Worker> workers_ = std::vector<Worker>(text_.parallel.threads);
  Array<float> gain_[2];  // by generated token: posterior = gain * prior * t
  Array<PartialSum> partial_[2];
  std::vector<Measures> measures_[2];  // by chunk
  WordSums nulls_[2] = {text_.parallel.threads, text_.parallel.threads};
};

// The M-step. The forward row of a word is normalised at once; its backward counts replace t in place until their
// column sums are known.
class Update {
 public:
  // The expected counts of `init`, if any, where known, are added to those of the text.
  Update(TrainingText& text, const DiagonalModel* init, DiagonalModel& model);

  void begin();
  void finish_row(Word word, const double* sums, int thread);
  void finish_columns();
  void finish_null(int d, const WordSums& counts);

 private:
  TrainingText& text_;
  const DiagonalModel* const init_;
  DiagonalModel& model_;
  const int directions_ = model_.table.directions;
  std::vector<float> old_counts_;             // of the cells of init
  std::vector<double> column_cells_;          // by target word: its cells
  WordSums columns_{text_.parallel.threads};  // by target word: its backward count
  std::vector<std::vector<double>> row_ = std::vector<std::vector<double>>(text_.parallel.threads);  // of a thread
};

}  // namespace weam
