// Word links of a corpus as compressed rows: pair k holds the links offsets[k] .. offsets[k + 1). And as text, in
// Pharaoh's format: a line "0-0 1-2" for each pair, with probabilities "0-0:0.9312 1-2:0.5".
#pragma once

#include <compare>
#include <optional>
#include <string>
#include <string_view>

#include "parallel.h"

namespace weam {

struct Link {
  std::int32_t source, target;
  auto operator<=>(const Link&) const = default;
};

// Of direction 0 the generated word is the target, of direction 1 the source.
constexpr Link link_of(int direction, std::int32_t given, std::int32_t generated) {
  return direction == 0 ? Link{given, generated} : Link{generated, given};
}
constexpr std::int32_t generated_word(const Link& link, int direction) {
  return direction == 0 ? link.target : link.source;
}

struct Links {
  std::vector<std::int64_t> offsets{0};
  std::vector<Link> links;         // sorted within each pair
  std::vector<float> probability;  // of each link; or empty, where none are known

  std::size_t size() const { return offsets.size() - 1; }
};

// The parts one behind the other; each is freed as soon as it has been copied. All have probabilities, or none has.
Links concatenate(std::vector<Links> parts);

// Sorts the links of each pair, their probabilities with them; and those behind the last pair, which become one.
void sort_pairs(Links& links);
void end_pair(Links& links);

// With the probabilities, to four decimals, where there are any. `by_target` writes the links in the order of the
// target words, as fast_align does for its forward direction.
std::string to_pharaoh(const Links& links, bool by_target, const Parallel& parallel);

struct PharaohText {
  std::uint64_t first_line = 1;       // its number in the file
  std::optional<bool> probabilities;  // whether the links have them; if not known, as the first link
  // The links may also be the last of several fields set off by "|||", or the last but one before scores: "links |||
  // score" of fast_align -s, with two of them of both directions, "source ||| target ||| links ||| score" of its
  // forced alignment.
  bool fields = false;
};

// Lines end at "\n" or "\r\n", blanks and tabs separate links. Sorts the links of each line and keeps the first of
// equal ones. Throws LineError for the first thing that is not a link, has an index above 2^31 - 1 or a probability
// outside of 0 to 1, or has a probability where the links before it have none, or the other way round.
Links parse_pharaoh(std::string_view text, const PharaohText& how, const Parallel& parallel);

}  // namespace weam
