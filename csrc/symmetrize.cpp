#include "symmetrize.h"

#include <algorithm>
#include <iterator>

namespace weam {

namespace {

using Pair = std::vector<Link>;

// The growing alignment of one pair: a small grid over the words that have any link at all.
class Growing {
 public:
  Growing(const Pair& intersection, const Pair& all) {
    for (const Link& link : all) {
      width_ = std::max(width_, link.target + 1);
      height_ = std::max(height_, link.source + 1);
    }
    grid_.assign(static_cast<std::size_t>(width_) * height_, 0);
    source_linked_.assign(height_, 0);
    target_linked_.assign(width_, 0);
    for (const Link& link : intersection) add(link);
  }

  void add(const Link& link) {
    grid_[static_cast<std::size_t>(link.source) * width_ + link.target] = 1;
    source_linked_[link.source] = target_linked_[link.target] = 1;
    links_.push_back(link);
  }

  bool has(int source, int target) const {
    return source >= 0 && target >= 0 && source < height_ && target < width_ &&
           grid_[static_cast<std::size_t>(source) * width_ + target];
  }

  bool has_neighbour(const Link& link) const {
    for (int di = -1; di <= 1; ++di) {
      for (int dj = -1; dj <= 1; ++dj) {
        if ((di || dj) && has(link.source + di, link.target + dj)) return true;
      }
    }
    return false;
  }

  bool either_free(const Link& link) const { return !(source_linked_[link.source] && target_linked_[link.target]); }
  bool both_free(const Link& link) const { return !(source_linked_[link.source] || target_linked_[link.target]); }

  // Adds the candidates next to the alignment that reach a word without links, until none is left. A link added in a
  // scan is seen by the rest of the same scan, as in fast_align's atools.
  void grow(Pair candidates) {
    while (true) {
      Pair left;
      for (const Link& link : candidates) {
        if (either_free(link) && has_neighbour(link)) {
          add(link);
        } else {
          left.push_back(link);
        }
      }
      if (left.size() == candidates.size()) return;
      candidates.swap(left);
    }
  }

  void finish(const Pair& candidates, bool both) {
    for (const Link& link : candidates) {
      if (!has(link.source, link.target) && (both ? both_free(link) : either_free(link))) add(link);
    }
  }

  Pair take() {
    std::sort(links_.begin(), links_.end());
    return std::move(links_);
  }

 private:
  int width_ = 0, height_ = 0;
  std::vector<char> grid_, source_linked_, target_linked_;
  Pair links_;
};

Pair combine(const Pair& forward, const Pair& backward, Heuristic heuristic) {
  Pair both, all;
  std::set_intersection(forward.begin(), forward.end(), backward.begin(), backward.end(), std::back_inserter(both));
  if (heuristic == Heuristic::kIntersect) return both;
  std::set_union(forward.begin(), forward.end(), backward.begin(), backward.end(), std::back_inserter(all));
  if (heuristic == Heuristic::kUnion) return all;
  Growing growing(both, all);
  Pair candidates;
  std::set_difference(all.begin(), all.end(), both.begin(), both.end(), std::back_inserter(candidates));
  growing.grow(std::move(candidates));
  if (heuristic != Heuristic::kGrowDiag) {
    growing.finish(forward, heuristic == Heuristic::kGrowDiagFinalAnd);
    growing.finish(backward, heuristic == Heuristic::kGrowDiagFinalAnd);
  }
  return growing.take();
}

Pair pair_of(const Links& links, std::size_t k) {
  return {links.links.begin() + links.offsets[k], links.links.begin() + links.offsets[k + 1]};
}

}  // namespace

std::optional<Heuristic> parse_heuristic(std::string_view name) {
  if (name == "intersect") return Heuristic::kIntersect;
  if (name == "union") return Heuristic::kUnion;
  if (name == "grow-diag") return Heuristic::kGrowDiag;
  if (name == "grow-diag-final") return Heuristic::kGrowDiagFinal;
  if (name == "grow-diag-final-and") return Heuristic::kGrowDiagFinalAnd;
  return std::nullopt;
}

Links symmetrize(const Links& forward, const Links& backward, Heuristic heuristic, const Parallel& parallel) {
  constexpr std::size_t kPairsPerChunk = 4096;
  const std::size_t pairs = forward.size();
  const std::size_t chunks = (pairs + kPairsPerChunk - 1) / kPairsPerChunk;
  std::vector<Links> parts(chunks);
  parallel.run(chunks, [&](std::size_t chunk, int) {
    Links& part = parts[chunk];
    for (std::size_t k = chunk * kPairsPerChunk; k < std::min(pairs, (chunk + 1) * kPairsPerChunk); ++k) {
      const Pair links = combine(pair_of(forward, k), pair_of(backward, k), heuristic);
      part.links.insert(part.links.end(), links.begin(), links.end());
      part.offsets.push_back(static_cast<std::int64_t>(part.links.size()));
    }
  });
  return concatenate(parts);
}

}  // namespace weam
