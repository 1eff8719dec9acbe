#include "symmetrize.h"

#include <algorithm>
#include <cstdint>
#include <vector>

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
      const bool first = forward != forward_end && (backward == backward_end || !(*backward < *forward));
      const bool second = backward != backward_end && (forward == forward_end || !(*forward < *backward));
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
        if (candidate.taken || free_words(candidate) == 0 || !has_neighbour(candidate.link)) continue;
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
    std::uint32_t source = 0;
    for (std::size_t k = 0; k < candidates_.size(); ++k) {
      source += k && candidates_[k].link.source != candidates_[k - 1].link.source;
      candidates_[k].source = source;
      targets_.push_back(candidates_[k].link.target);
    }
    std::sort(targets_.begin(), targets_.end());
    targets_.erase(std::unique(targets_.begin(), targets_.end()), targets_.end());
    for (Candidate& candidate : candidates_) {
      const auto at = std::lower_bound(targets_.begin(), targets_.end(), candidate.link.target);
      candidate.target = static_cast<std::uint32_t>(at - targets_.begin());
    }
    source_linked_.assign(source + 1, 0);
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
  bool has_neighbour(const Link& link) const {
    for (std::int64_t source = link.source - 1; source <= std::int64_t{link.source} + 1; ++source) {
      const auto before = [&](const Candidate& candidate, std::int64_t target) {
        return candidate.link.source != source ? candidate.link.source < source : candidate.link.target < target;
      };
      auto at = std::lower_bound(candidates_.begin(), candidates_.end(), std::int64_t{link.target} - 1, before);
      for (; at != candidates_.end() && before(*at, std::int64_t{link.target} + 2); ++at) {
        if (at->taken) return true;
      }
    }
    return false;
  }

  std::vector<Candidate> candidates_;  // sorted
  std::vector<std::int32_t> targets_;
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
    Growing growing;
    const auto at = [](const Links& links, std::size_t k) { return links.links.data() + links.offsets[k]; };
    for (std::size_t k = chunk * kPairsPerChunk; k < std::min(pairs, (chunk + 1) * kPairsPerChunk); ++k) {
      growing.begin(at(forward, k), at(forward, k + 1), at(backward, k), at(backward, k + 1));
      combine(heuristic, growing);
      growing.append_to(part.links, heuristic == Heuristic::kUnion);
      part.offsets.push_back(static_cast<std::int64_t>(part.links.size()));
    }
  });
  return concatenate(parts);
}

}  // namespace weam
