#include "hmm.h"

namespace weam {

namespace {

// One thread's: the links of one pair after the other.
class Decoder {
 public:
  Decoder(const std::vector<HmmView>& views, const Decoding& decoding, Gate& gate)
      : views_(views), decoding_(decoding), gate_(gate) {}

  // `tiles` is one for each view, or nothing.
  void decode(std::size_t k, std::size_t chunk, const std::vector<Tile>& tiles, OpenBlock& aligned) {
    const Pair& pair = views_[0].bitext->pairs[k];
    const std::size_t source = pair.sides[0].length, target = pair.sides[1].length;
    const LongPair long_pair(gate_, pair, chains_);
    mean_.assign(source * target, 0.0f);
    const auto score = [&](int d) -> double& { return aligned.score(d, k); };
    for (int d = 0; d < 2; ++d) score(d) = source ? 0.0 : std::nan("");
    for (std::size_t view = 0; source && view < views_.size(); ++view) {
      const HmmModel& model = *views_[view].model;
      load_pair(model, tiles.empty() ? nullptr : &tiles[view], *views_[view].bitext, k, chains_, cells_);
      for (int d = 0; d < 2; ++d) {
        const double log_probability =
            run(model, d, views_[view].bitext->sentence(given_side(d), k), chains_[d], nullptr);
        score(d) += pair_score(model.base, d, pair, log_probability) / static_cast<double>(views_.size());
        if (view == 0 && decoding_.method != Decoding::Method::kPosterior) {
          chains_[d].best_path(model.jumps[d], model.settings.p0, partners_[d]);
        }
      }
      add_posteriors(source, target);
    }
    score(2) = (score(0) / static_cast<double>(target) + score(1) / static_cast<double>(source)) / 2;
    append(source, target, aligned.links(0, chunk));
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
        if (partners_[d][n] < 0) continue;
        paths[d].links.push_back(link_of(d, partners_[d][n], static_cast<std::int32_t>(n)));
      }
      end_pair(paths[d]);
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
               const Parallel& parallel, const Sink& sink) {
  Gate gate(bytes);
  std::vector<Decoder> decoders(parallel.threads, Decoder(views, decoding, gate));
  std::vector<TableView> tables;
  for (const HmmView& view : views) tables.push_back({view.model->base.table, *view.bitext});
  for_each_block(tables, parallel, [&](const Blocks& blocks, Range block, const std::vector<Tile>& tiles) {
    OpenBlock aligned(blocks, block, 1, 3);
    blocks.run(block, parallel, [&](std::size_t k, std::size_t chunk, int thread) {
      decoders[thread].decode(k, chunk, tiles, aligned);
    });
    sink(aligned.close());
  });
}

}  // namespace weam
