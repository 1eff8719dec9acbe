#include "memory_plan.h"

#include <numeric>

#include "errors.h"
#include "hmm.h"
#include "update.h"

namespace weam {

namespace {

// Bytes of a word and of its spelling, here and where they come from.
constexpr std::size_t kSpelling = 128;

// What training will take in a layout.
std::uint64_t needed_bytes(const MemoryEstimate& estimate, const Layout& layout) {
  const std::uint64_t pairs = std::max(estimate.longest, std::min(estimate.together, layout.pair_bytes));
  if (layout.keep_index) return estimate.fast + pairs;
  if (layout.directory.empty()) return estimate.low + pairs;
  const std::uint64_t tile = std::min(estimate.index, std::max(estimate.tile, 2 * layout.tile_bytes));
  return estimate.fixed + tile + std::max(estimate.random, std::min(estimate.table, layout.table_bytes)) + pairs;
}

Layout choose_layout(const MemoryEstimate& estimate, const std::string& mode, std::uint64_t bytes,
                     const std::string& directory) {
  const auto fits = [&](std::uint64_t needed) { return estimate.text + needed + estimate.longest <= bytes; };
  require(mode == "auto" || mode == "low" || mode == "fast", "memory is auto, low or fast");
  Layout layout;
  const bool low = mode == "low" && fits(estimate.low);
  if (mode == "fast" || (!low && fits(estimate.fast))) return layout;
  layout.keep_index = false;
  layout.tile_bytes = kTileBytes;
  if (fits(estimate.low)) return layout;
  layout.directory = directory;
  // Each part is another pass: no more of them than a text of this size is worth.
  const std::uint64_t least = std::min<std::uint64_t>(estimate.text, 1 << 20);
  layout.tile_bytes = std::clamp(bytes / 8, std::max(least, std::min(estimate.index / 1024, kTileBytes)), kTileBytes);
  layout.table_bytes = std::max({bytes / 2, least, estimate.table / 64});
  return layout;
}

}  // namespace

MemoryEstimate estimate_memory(const Bitext& bitext, const std::array<std::size_t, 2>& vocabulary, int directions,
                               const Parallel& parallel) {
  const std::uint64_t source = bitext.words[0].size(), target = bitext.words[1].size();
  std::uint64_t visits = 0, most = 0;
  for (const Pair& pair : bitext.pairs) {
    visits += cells_of(pair);
    most = std::max(most, cells_of(pair));
  }
  MemoryEstimate estimate;
  estimate.cells = estimate_cells(bitext, vocabulary[0], vocabulary[1]);
  estimate.text = (source + target) * sizeof(Word) + bitext.size() * sizeof(Pair);
  const std::uint64_t tokens = directions == 2 ? source + target : target;
  const std::uint64_t words = estimate.words = vocabulary[0] + vocabulary[1];
  const std::uint64_t per_thread = words * sizeof(FixedSum) + vocabulary[1] * (sizeof(FixedSum) + sizeof(Word));
  const std::uint64_t cells = static_cast<std::uint64_t>(estimate.cells);
  estimate.fixed = words * 64 + parallel.threads * per_thread;
  estimate.table = cells * (sizeof(Word) + directions * (sizeof(float) + sizeof(double)));
  estimate.index = source * (sizeof(Tile::Occurrence) + 12) + visits * 2 + visits / 4;
  estimate.tile = most * 2 + most / 4;
  const std::uint64_t common = estimate.fixed + cells * (sizeof(Word) + directions * sizeof(float)) +
                               tokens * sizeof(float) + tokens * sizeof(Link) / 8;
  estimate.fast = common + estimate.index;
  estimate.low = common + std::min(estimate.index, std::max(estimate.tile, 2 * kTileBytes));
  return estimate;
}

MemoryEstimate estimate_hmm_memory(const Bitext& bitext, const std::array<std::size_t, 2>& vocabulary,
                                   const Parallel& parallel) {
  MemoryEstimate estimate = estimate_memory(bitext, vocabulary, 2, parallel);
  const std::uint64_t cells = static_cast<std::uint64_t>(estimate.cells), counts = cells * sizeof(std::uint64_t);
  const std::uint64_t words = estimate.words * (kFertilities * 3 * sizeof(double) + kSpelling) +
                              parallel.threads * vocabulary[1] * sizeof(std::uint64_t);
  estimate.fixed += words;
  estimate.table += counts;
  estimate.random = cells * (sizeof(Word) + 2 * sizeof(float)) + counts;
  estimate.fast += words + counts;
  estimate.low += words + counts;
  std::vector<std::uint64_t> pairs;
  for (const Pair& pair : bitext.pairs) pairs.push_back(pair_bytes(pair));
  const auto most = std::min<std::ptrdiff_t>(parallel.threads, static_cast<std::ptrdiff_t>(pairs.size()));
  std::partial_sort(pairs.begin(), pairs.begin() + most, pairs.end(), std::greater<>());
  estimate.longest = most ? pairs[0] : 0;
  estimate.together = std::accumulate(pairs.begin(), pairs.begin() + most, std::uint64_t{0});
  return estimate;
}

MemoryPlan plan_memory(const MemoryEstimate& estimate, const std::string& mode, std::uint64_t bytes,
                       const std::string& directory) {
  Layout layout = choose_layout(estimate, mode, bytes, directory);
  layout.pair_bytes = 0;
  const std::uint64_t others = estimate.text + needed_bytes(estimate, layout) - estimate.longest;
  layout.pair_bytes = bytes > others ? bytes - others : 0;
  const std::uint64_t cells = static_cast<std::uint64_t>(estimate.cells);
  return {layout, needed_bytes(estimate, layout), estimate.fast + estimate.longest, estimate.longest,
          cells * (sizeof(Word) + 2 * sizeof(float)) + estimate.words * 64};
}

}  // namespace weam
