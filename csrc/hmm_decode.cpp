#include <algorithm>
#include <cmath>
#include <utility>

#include "hmm.h"

namespace weam {

namespace {

// So few pairs are looked up word by word: an index would cost more.
constexpr std::size_t kFewPairs = 64;

// One thread's: the links of one pair after the other.
class Decoder {
 public:
  Decoder(const std::vector<HmmView>& views, const Decoding& decoding, Gate& gate)
      : views_(views), decoding_(decoding), gate_(gate) {}

  // `tiles` is one for each view, or nothing.
  void decode(std::size_t k, const std::vector<Tile>& tiles, Links& links, double* scores, double& per_word) {
    const Pair& pair = views_[0].bitext->pairs[k];
    const std::size_t source = pair.sides[0].length, target = pair.sides[1].length;
    const LongPair long_pair(gate_, pair, chains_);
    mean_.assign(source * target, 0.0f);
    for (int d = 0; d < 2; ++d) scores[d] = source ? 0.0 : std::nan("");
    for (std::size_t view = 0; source && view < views_.size(); ++view) {
      const HmmModel& model = *views_[view].model;
      load_pair(model, tiles.empty() ? nullptr : &tiles[view], *views_[view].bitext, k, chains_, cells_);
      for (int d = 0; d < 2; ++d) {
        const double log_probability = run(model, d, views_[view].bitext->sentence(d, k), chains_[d], nullptr);
        scores[d] += pair_score(model.base, d, pair, log_probability) / static_cast<double>(views_.size());
        if (view == 0 && decoding_.method != Decoding::Method::kPosterior) {
          chains_[d].best_path(model.jumps[d], model.settings.p0, partners_[d]);
        }
      }
      add_posteriors(source, target);
    }
    per_word = (scores[0] / static_cast<double>(target) + scores[1] / static_cast<double>(source)) / 2;
    append(source, target, links);
    if (long_pair.is_long()) mean_ = LargeFloats();
  }

 private:
  void add_posteriors(std::size_t source, std::size_t target) {
    const float share = 0.5f / static_cast<float>(views_.size());
    const float* const column = chains_[0].posterior(0) + 1;
    for (std::size_t i = 0; i < source; ++i) {
      const float* const row = chains_[1].posterior(i) + 1;
      for (std::size_t j = 0; j < target; ++j) {
        mean_[i * target + j] += share * (column[j * chains_[0].width() + i] + row[j]);
      }
    }
  }

  void append(std::size_t source, std::size_t target, Links& links) {
    const std::size_t begin = links.links.size();
    if (decoding_.method == Decoding::Method::kPosterior) {
      for (std::size_t n = 0; n < source * target; ++n) {
        if (!(mean_[n] > decoding_.threshold)) continue;
        links.links.push_back({static_cast<std::int32_t>(n / target), static_cast<std::int32_t>(n % target)});
      }
    } else if (source) {
      append_paths(links);
    }
    for (std::size_t n = begin; n < links.links.size(); ++n) {
      const Link link = links.links[n];
      links.probability.push_back(std::min(1.0f, mean_[link.source * target + link.target]));  // it is rounded
    }
    links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
  }

  void append_paths(Links& links) {
    Links paths[2];
    for (int d = 0; d < 2; ++d) {
      for (std::size_t n = 0; n < partners_[d].size(); ++n) {
        const std::int32_t word = static_cast<std::int32_t>(n), partner = partners_[d][n];
        if (partner >= 0) paths[d].links.push_back(d == 0 ? Link{partner, word} : Link{word, partner});
      }
      paths[d].offsets.push_back(static_cast<std::int64_t>(paths[d].links.size()));
      sort_pairs(paths[d]);
    }
    const bool both = decoding_.method == Decoding::Method::kSymmetrized;
    const Links taken = both ? symmetrize(paths[0], paths[1], decoding_.heuristic, Parallel())
                             : std::move(paths[decoding_.method == Decoding::Method::kBackward]);
    links.links.insert(links.links.end(), taken.links.begin(), taken.links.end());
  }

  const std::vector<HmmView>& views_;
  const Decoding& decoding_;
  Gate& gate_;
  Chain chains_[2];
  std::vector<std::uint64_t> cells_;
  LargeFloats mean_;  // [source][target], of the posteriors of both directions and all views
  std::vector<std::int32_t> partners_[2];
};

}  // namespace

void align_hmm(const std::vector<HmmView>& views, const Decoding& decoding, std::uint64_t bytes,
               const Parallel& parallel, const HmmSink& sink) {
  const Bitext& bitext = *views[0].bitext;
  const std::vector<std::size_t> chunks = chunk_pairs(bitext);
  Gate gate(bytes);
  std::vector<Decoder> decoders(parallel.threads, Decoder(views, decoding, gate));
  std::vector<std::vector<RowNumbers>> numberings(views.size());
  for (const Range range : cut_pairs(bitext, chunks, kTileBytes / views.size())) {
    const Range pairs{chunks[range.begin], chunks[range.end]};
    std::vector<Tile> tiles;
    for (std::size_t view = 0; bitext.size() > kFewPairs && view < views.size(); ++view) {
      const TTable& table = views[view].model->base.table;
      if (numberings[view].empty()) numberings[view].assign(parallel.threads, RowNumbers(table.null_row[0].size()));
      tiles.push_back(list_occurrences(*views[view].bitext, {0, table.sources()}, pairs));
      add_lists(tiles.back(), *views[view].bitext, table, numberings[view], parallel);
    }
    HmmBlock block;
    block.begin = pairs.begin;
    for (std::vector<double>* scores : {&block.scores[0], &block.scores[1], &block.per_word}) {
      scores->resize(pairs.size());
    }
    std::vector<Links> parts(range.size());
    parallel.run(range.size(), [&](std::size_t part, int thread) {
      for (std::size_t k = chunks[range.begin + part]; k < chunks[range.begin + part + 1]; ++k) {
        double scores[2];
        decoders[thread].decode(k, tiles, parts[part], scores, block.per_word[k - block.begin]);
        for (int d = 0; d < 2; ++d) block.scores[d][k - block.begin] = scores[d];
      }
    });
    block.links = concatenate(std::move(parts));
    sink(std::move(block));
  }
}

}  // namespace weam
