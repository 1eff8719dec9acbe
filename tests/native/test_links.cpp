#include <algorithm>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "check.h"
#include "links.h"
#include "parallel.h"
#include "symmetrize.h"

using namespace weam;
using weam::test::below;

namespace {

using Pairs = std::vector<std::set<std::pair<int, int>>>;

Links links_of(const Pairs& pairs) {
  Links links;
  for (const auto& pair : pairs) {
    for (const auto& [source, target] : pair) links.links.push_back({source, target});
    links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
  }
  return links;
}

bool equal(const Links& a, const Links& b) {
  return a.size() == b.size() && std::equal(a.offsets.begin(), a.offsets.end(), b.offsets.begin()) &&
         std::equal(a.links.begin(), a.links.end(), b.links.begin(), b.links.end());
}

Pairs random_pairs(std::mt19937_64& random, std::size_t size, int side) {
  Pairs pairs(size);
  for (auto& pair : pairs) {
    for (std::size_t k = below(random, 2 * side); k > 0; --k) {
      pair.emplace(static_cast<int>(below(random, side)), static_cast<int>(below(random, side)));
    }
  }
  return pairs;
}

// Koehn et al. (2005) as they wrote it, over a whole grid of words.
class Grid {
 public:
  using Pair = Pairs::value_type;

  static Pair combine(const Pair& forward, const Pair& backward, Heuristic heuristic, int side) {
    Pair all = forward;
    all.insert(backward.begin(), backward.end());
    if (heuristic == Heuristic::kUnion) return all;
    Grid grid;
    for (const auto& link : forward) {
      if (backward.count(link)) grid.taken_.insert(link);
    }
    if (heuristic == Heuristic::kIntersect) return grid.taken_;
    while (grid.grow(all, side)) continue;
    if (heuristic != Heuristic::kGrowDiag) {
      for (const Pair* direction : {&forward, &backward}) {
        grid.finish(*direction, side, heuristic == Heuristic::kGrowDiagFinalAnd);
      }
    }
    return grid.taken_;
  }

 private:
  bool has_source(int i) const {
    return std::any_of(taken_.begin(), taken_.end(), [&](const auto& link) { return link.first == i; });
  }
  bool has_target(int j) const {
    return std::any_of(taken_.begin(), taken_.end(), [&](const auto& link) { return link.second == j; });
  }

  bool grow(const Pair& all, int side) {
    bool grown = false;
    for (int i = 0; i < side; ++i) {
      for (int j = 0; j < side; ++j) {
        if (!all.count({i, j}) || taken_.count({i, j}) || (has_source(i) && has_target(j))) continue;
        bool neighbour = false;
        for (int down = -1; down <= 1; ++down) {
          for (int right = -1; right <= 1; ++right) neighbour = neighbour || taken_.count({i + down, j + right});
        }
        if (neighbour) grown = taken_.emplace(i, j).second;
      }
    }
    return grown;
  }

  void finish(const Pair& direction, int side, bool both) {
    for (int i = 0; i < side; ++i) {
      for (int j = 0; j < side; ++j) {
        const bool free = both ? !has_source(i) && !has_target(j) : !has_source(i) || !has_target(j);
        if (direction.count({i, j}) && free) taken_.emplace(i, j);
      }
    }
  }

  Pair taken_;
};

}  // namespace

TEST(parts_are_joined_in_order) {
  std::mt19937_64 random(1);
  const Pairs pairs = random_pairs(random, 100, 5);
  std::vector<Links> parts;
  for (std::size_t begin = 0; begin < pairs.size();) {
    const std::size_t end = std::min(pairs.size(), begin + below(random, 20));
    parts.push_back(links_of(Pairs(pairs.begin() + begin, pairs.begin() + end)));
    begin = end;
  }
  CHECK(equal(concatenate(std::move(parts)), links_of(pairs)));
  CHECK(equal(concatenate({}), Links()));
}

TEST(heuristics_are_those_of_the_grid) {
  constexpr Heuristic kAll[] = {Heuristic::kIntersect, Heuristic::kUnion, Heuristic::kGrowDiag,
                                Heuristic::kGrowDiagFinal, Heuristic::kGrowDiagFinalAnd};
  std::mt19937_64 random(2);
  for (int round = 0; round < weam::test::rounds(); ++round) {
    const int side = 1 + static_cast<int>(below(random, 7));
    const std::size_t size = 5000;  // more than a thread takes at a time
    const Pairs forward = random_pairs(random, size, side), backward = random_pairs(random, size, side);
    for (const Heuristic heuristic : kAll) {
      Pairs expected;
      for (std::size_t k = 0; k < size; ++k) {
        expected.push_back(Grid::combine(forward[k], backward[k], heuristic, side));
      }
      for (const int threads : {1, 3}) {
        const Parallel parallel{threads, {}};
        CHECK(equal(symmetrize(links_of(forward), links_of(backward), heuristic, parallel), links_of(expected)));
      }
    }
  }
}

TEST(heuristics_have_names) {
  CHECK(parse_heuristic("grow-diag-final-and") == Heuristic::kGrowDiagFinalAnd);
  CHECK_THROWS(std::invalid_argument, parse_heuristic("grow"));
}
