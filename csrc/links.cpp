#include "links.h"

#include <algorithm>
#include <charconv>

namespace weam {

Links concatenate(const std::vector<Links>& parts) {
  Links whole;
  std::size_t pairs = 1, links = 0;
  for (const Links& part : parts) {
    pairs += part.size();
    links += part.links.size();
  }
  whole.offsets.reserve(pairs);
  whole.links.reserve(links);
  for (const Links& part : parts) {
    const std::int64_t base = whole.offsets.back();
    for (std::size_t k = 1; k < part.offsets.size(); ++k) whole.offsets.push_back(base + part.offsets[k]);
    whole.links.insert(whole.links.end(), part.links.begin(), part.links.end());
  }
  return whole;
}

std::string to_pharaoh(const Links& links, bool by_target) {
  std::string text;
  text.reserve(links.links.size() * 6 + links.size());
  std::vector<Link> pair;
  char number[16];
  const auto append = [&](std::int32_t value) {
    text.append(number, std::to_chars(number, number + sizeof number, value).ptr);
  };
  for (std::size_t k = 0; k < links.size(); ++k) {
    pair.assign(links.links.begin() + links.offsets[k], links.links.begin() + links.offsets[k + 1]);
    if (by_target) {
      std::stable_sort(pair.begin(), pair.end(), [](const Link& a, const Link& b) { return a.target < b.target; });
    }
    for (std::size_t n = 0; n < pair.size(); ++n) {
      if (n) text.push_back(' ');
      append(pair[n].source);
      text.push_back('-');
      append(pair[n].target);
    }
    text.push_back('\n');
  }
  return text;
}

}  // namespace weam
