#include "blocks.h"

namespace weam {

namespace {

constexpr std::size_t kFewPairs = 64;

}  // namespace

Blocks::Blocks(const Bitext& bitext, std::uint64_t tile_bytes) : bounds_{0} {
  constexpr std::uint64_t kLeast = 256, kVisits = 1 << 22;
  std::uint64_t total = 0;
  for (const Pair& pair : bitext.pairs) total += cells_of(pair) + 1;
  const std::uint64_t share = std::max<std::uint64_t>(1, total / std::max(kLeast, total / kVisits));
  std::vector<std::uint64_t> bytes{0};  // of the index, by chunk
  std::uint64_t visits = 0, sum = 0;
  for (std::size_t k = 0; k < bitext.size(); ++k) {
    const Pair& pair = bitext.pairs[k];
    visits += cells_of(pair) + 1;
    sum += sizeof(std::uint32_t) * 2 + pair.sides[0].length * (sizeof(Tile::Occurrence) + 12) + cells_of(pair) * 2;
    if (visits < share && k + 1 < bitext.size()) continue;
    bounds_.push_back(k + 1);
    bytes.push_back(bytes.back() + sum);
    visits = sum = 0;
  }
  blocks_ = split_below(bytes, tile_bytes);
}

std::vector<Range> Blocks::of_pairs(std::size_t most) const {
  return split_below({bounds_.begin(), bounds_.end()}, most);
}

OpenBlock::OpenBlock(const Blocks& blocks, Range block, std::size_t links, std::size_t scores)
    : first_chunk_(block.begin), parts_(links, std::vector<Links>(block.size())) {
  const Range pairs = blocks.pairs(block);
  aligned_.begin = pairs.begin;
  aligned_.scores.assign(scores, std::vector<double>(pairs.size()));
}

AlignedBlock OpenBlock::close() {
  for (std::vector<Links>& parts : parts_) aligned_.links.push_back(concatenate(std::move(parts)));
  return std::move(aligned_);
}

void for_each_block(const std::vector<TableView>& views, const Parallel& parallel,
                    const std::function<void(const Blocks&, Range, const std::vector<Tile>&)>& use) {
  const Blocks blocks(views[0].bitext, kTileBytes / views.size());
  const bool few = views[0].bitext.size() <= kFewPairs;
  std::vector<std::vector<RowNumbers>> numberings;
  for (const auto& [table, bitext] : views) {
    numberings.emplace_back(few ? 0 : parallel.threads, RowNumbers(few ? 0 : table.null_row[0].size()));
  }
  for (const Range block : blocks.list()) {
    std::vector<Tile> tiles;
    for (std::size_t view = 0; !few && view < views.size(); ++view) {
      const auto& [table, bitext] = views[view];
      tiles.push_back(list_cells(bitext, {0, table.sources()}, blocks.pairs(block), table, numberings[view], parallel));
    }
    use(blocks, block, tiles);
  }
}

}  // namespace weam
