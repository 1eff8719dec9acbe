// Word links of a corpus as compressed rows: pair k holds the links offsets[k] .. offsets[k + 1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace weam {

struct Link {
  std::int32_t source, target;
  friend bool operator<(const Link& a, const Link& b) {
    return a.source != b.source ? a.source < b.source : a.target < b.target;
  }
  friend bool operator==(const Link& a, const Link& b) { return a.source == b.source && a.target == b.target; }
};

struct Links {
  std::vector<std::int64_t> offsets{0};
  std::vector<Link> links;  // sorted within each pair

  std::size_t size() const { return offsets.size() - 1; }
};

// The parts one behind the other.
Links concatenate(const std::vector<Links>& parts);

// One line "0-0 1-2 ..." for each pair. `by_target` writes them in the order of the target words, as fast_align does
// for its forward direction.
std::string to_pharaoh(const Links& links, bool by_target);

}  // namespace weam
