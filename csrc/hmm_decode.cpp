#include "hmm.h"

namespace weam {

namespace {

// One thread's: the links of one pair after the other.
struct Decoder {
  const std::vector<HmmView>& views;
  const Decoding& decoding;
  Gate& gate;
  Chain chains[2] = {};
  std::vector<std::uint64_t> cells = {};
  LargeFloats mean = {};  // [source][target], of the posteriors of both directions and all views
  std::vector<std::int32_t> partners[2] = {};

  // `tiles` is one for each view, or nothing.
  void decode(std::size_t k, std::size_t chunk, const std::vector<Tile>& tiles, OpenBlock& aligned) {
    const Pair& pair = views[0].bitext->pairs[k];
    const std::size_t source = pair.sides[0].length, target = pair.sides[1].length;
    const LongPair long_pair(gate, pair, chains);
    mean.assign(source * target, 0.0f);
    const auto score = [&](int d) -> double& { return aligned.score(d, k); };
    for (int d = 0; d < 2; ++d) score(d) = source ? 0.0 : std::nan("");
    for (std::size_t view = 0; source && view < views.size(); ++view) {
      const HmmModel& model = *views[view].model;
      load_pair(model, tiles.empty() ? nullptr : &tiles[view], *views[view].bitext, k, chains, cells);
      for (int d = 0; d < 2; ++d) {
        const double log_probability =
            run(model, d, views[view].bitext->sentence(given_side(d), k), chains[d], nullptr);
        score(d) += pair_score(model.base, d, pair, log_probability) / static_cast<double>(views.size());
        if (view == 0 && decoding.method != Decoding::Method::kPosterior) {
          chains[d].best_path(model.jumps[d], model.settings.p0, partners[d]);
        }
      }
      add_posteriors(source, target);
    }
    score(2) = (score(0) / static_cast<double>(target) + score(1) / static_cast<double>(source)) / 2;
    append(source, target, aligned.links(0, chunk));
    if (long_pair.is_long()) mean = LargeFloats();
  }

  void add_posteriors(std::size_t source, std::size_t target) {
    const float share = 0.5f / static_cast<float>(views.size());
    const float* const column = chains[0].posterior(0) + 1;
    for (std::size_t i = 0; i < source; ++i) {
      const float* const row = chains[1].posterior(i) + 1;
      for (std::size_t j = 0; j < target; ++j) {
        mean[i * target + j] += share * (column[j * chains[0].width() + i] + row[j]);
      }
    }
  }

  void append(std::size_t source, std::size_t target, Links& links) {
    const std::size_t begin = links.links.size();
    if (decoding.method == Decoding::Method::kPosterior) {
      for (std::size_t n = 0; n < source * target; ++n) {
        if (!(mean[n] > decoding.threshold)) continue;
        links.links.push_back({static_cast<std::int32_t>(n / target), static_cast<std::int32_t>(n % target)});
      }
    } else if (source) {
      append_paths(links);
    }
    for (std::size_t n = begin; n < links.links.size(); ++n) {
      const Link link = links.links[n];
      links.probability.push_back(std::min(1.0f, mean[link.source * target + link.target]));  // it is rounded
    }
    links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
  }

  void append_paths(Links& links) {
    Links paths[2];
    for (int d = 0; d < 2; ++d) {
      for (std::size_t n = 0; n < partners[d].size(); ++n) {
        if (partners[d][n] < 0) continue;
        paths[d].links.push_back(link_of(d, partners[d][n], static_cast<std::int32_t>(n)));
      }
      end_pair(paths[d]);
    }
    const bool both = decoding.method == Decoding::Method::kSymmetrized;
    const Links taken = both ? symmetrize(paths[0], paths[1], decoding.heuristic, Parallel())
                             : std::move(paths[decoding.method == Decoding::Method::kBackward]);
    links.links.insert(links.links.end(), taken.links.begin(), taken.links.end());
  }
};

}  // namespace

void align_hmm(const std::vector<HmmView>& views, const Decoding& decoding, std::uint64_t bytes,
               const Parallel& parallel, const Sink& sink) {
  Gate gate(bytes);
  std::vector<Decoder> decoders(parallel.threads, Decoder{views, decoding, gate});
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
