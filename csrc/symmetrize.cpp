#include "symmetrize.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
#include <utility>

namespace weam {

namespace {

// The links of one sentence pair in either direction, and the alignment that grows among them. Its size follows from
// the links, not from the sentences: links read from a file may lie anywhere.
class Growing {
 public:
  // Takes the links that both directions have.
  void begin(const Link* forward, const Link* forward_end, const Link* backward, const Link* backward_end) {
    candidates_.clear();
    while (forward != forward_end || backward != backward_end) {
      const bool first = forward != forward_end && (backward == backward_end || *forward <= *backward);
      const bool second = backward != backward_end && (forward == forward_end || *backward <= *forward);
      candidates_.push_back({first ? *forward : *backward, 0, 0, {first, second}, false});
      forward += first;
      backward += second;
    }
    number_words();
    for (Candidate& candidate : candidates_) {
      if (candidate.in[0] && candidate.in[1]) take(candidate);
    }
  }

  // Adds the candidates next to the alignment that reach a word without links, until none is left. A link added in a
  // scan is seen by the rest of the same scan, as in fast_align's atools.
  void grow() {
    for (bool growing = true; growing;) {
      growing = false;
      for (Candidate& candidate : candidates_) {
        if (candidate.taken || free_words(candidate) == 0 || !has_neighbour(candidate)) continue;
        take(candidate);
        growing = true;
      }
    }
  }

  // Adds the links of one direction, neighbours or not, that reach so many words without links.
  void finish(int direction, int words) {
    for (Candidate& candidate : candidates_) {
      if (candidate.in[direction] && !candidate.taken && free_words(candidate) >= words) take(candidate);
    }
  }

  void append_to(std::vector<Link>& links, bool all) const {
    for (const Candidate& candidate : candidates_) {
      if (all || candidate.taken) links.push_back(candidate.link);
    }
  }

 private:
  struct Candidate {
    Link link;
    std::uint32_t source, target;  // its words, numbered among those with links
    bool in[2];                    // the directions that have it
    bool taken;
  };

  void number_words() {
    targets_.clear();
    rows_.clear();
    for (std::uint32_t k = 0; k < candidates_.size(); ++k) {
      if (k == 0 || candidates_[k].link.source != candidates_[k - 1].link.source) rows_.push_back(k);
      candidates_[k].source = static_cast<std::uint32_t>(rows_.size() - 1);
      targets_.push_back(candidates_[k].link.target);
    }
    source_linked_.assign(rows_.size(), 0);
    rows_.push_back(static_cast<std::uint32_t>(candidates_.size()));
    std::sort(targets_.begin(), targets_.end());
    targets_.erase(std::unique(targets_.begin(), targets_.end()), targets_.end());
    for (Candidate& candidate : candidates_) {
      const auto at = std::lower_bound(targets_.begin(), targets_.end(), candidate.link.target);
      candidate.target = static_cast<std::uint32_t>(at - targets_.begin());
    }
    target_linked_.assign(targets_.size(), 0);
  }

  int free_words(const Candidate& candidate) const {
    return !source_linked_[candidate.source] + !target_linked_[candidate.target];
  }

  void take(Candidate& candidate) {
    candidate.taken = true;
    source_linked_[candidate.source] = target_linked_[candidate.target] = 1;
  }

  // For a link that is not taken itself.
  bool has_neighbour(const Candidate& candidate) const {
    const auto [source, target] = candidate.link;
    const std::size_t end = std::min<std::size_t>(candidate.source + 2, rows_.size() - 1);
    for (std::size_t row = candidate.source - (candidate.source > 0); row < end; ++row) {
      if (std::abs(candidates_[rows_[row]].link.source - source) > 1) continue;
      const auto row_end = candidates_.begin() + rows_[row + 1];
      auto at =
          std::lower_bound(candidates_.begin() + rows_[row], row_end, target - 1,
                           [](const Candidate& other, std::int32_t column) { return other.link.target < column; });
      for (; at != row_end && at->link.target - target <= 1; ++at) {
        if (at->taken) return true;
      }
    }
    return false;
  }

  std::vector<Candidate> candidates_;  // sorted
  std::vector<std::uint32_t> rows_;    // where the candidates of each source word begin
  std::vector<std::int32_t> targets_;  // with links, ascending
  std::vector<char> source_linked_, target_linked_;
};

void combine(Heuristic heuristic, Growing& growing) {
  if (heuristic == Heuristic::kIntersect || heuristic == Heuristic::kUnion) return;
  growing.grow();
  if (heuristic == Heuristic::kGrowDiag) return;
  const int words = heuristic == Heuristic::kGrowDiagFinalAnd ? 2 : 1;
  growing.finish(0, words);
  growing.finish(1, words);
}

}  // namespace

Heuristic parse_heuristic(std::string_view name) {
  constexpr std::string_view kNames[] = {"intersect", "union", "grow-diag", "grow-diag-final", "grow-diag-final-and"};
  const auto at = std::ranges::find(kNames, name);
  if (at == std::end(kNames)) throw std::invalid_argument("unknown heuristic: " + std::string(name));
  return static_cast<Heuristic>(at - kNames);
}

Links symmetrize(const Links& forward, const Links& backward, Heuristic heuristic, const Parallel& parallel) {
  const Bounds bounds = split_every(4096, forward.size());
  std::vector<Links> parts(bounds.size() - 1);
  parallel.run_ranges(bounds, [&](Range range, std::size_t chunk, int) {
    Links& part = parts[chunk];
    Growing growing;
    const auto size = [&](const Links& links) { return links.offsets[range.end] - links.offsets[range.begin]; };
    part.links.reserve(size(forward) + size(backward));
    const auto at = [](const Links& links, std::size_t k) { return links.links.data() + links.offsets[k]; };
    for (std::size_t k = range.begin; k < range.end; ++k) {
      growing.begin(at(forward, k), at(forward, k + 1), at(backward, k), at(backward, k + 1));
      combine(heuristic, growing);
      growing.append_to(part.links, heuristic == Heuristic::kUnion);
      part.offsets.push_back(static_cast<std::int64_t>(part.links.size()));
    }
  });
  return concatenate(std::move(parts));
}

}  // namespace weam
