#include "links.h"

#include <charconv>
#include <numeric>
#include <system_error>
#include <tuple>

#include "corpus.h"
#include "errors.h"

namespace weam {

namespace {

// Sorts the links of one pair; equal ones keep their order.
void sort_pair(Links& links, std::size_t begin, std::size_t end) {
  const auto first = links.links.begin() + begin, last = links.links.begin() + end;
  if (std::is_sorted(first, last)) return;
  if (links.probability.empty()) {
    std::sort(first, last);
    return;
  }
  std::vector<std::pair<Link, float>> pair;
  for (std::size_t n = begin; n < end; ++n) pair.emplace_back(links.links[n], links.probability[n]);
  std::stable_sort(pair.begin(), pair.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  for (std::size_t n = begin; n < end; ++n) std::tie(links.links[n], links.probability[n]) = pair[n - begin];
}

// Of the sorted links from `begin` on, keeps the first of equal ones.
void drop_repeats(Links& links, std::size_t begin) {
  std::size_t kept = begin;
  for (std::size_t n = begin; n < links.links.size(); ++n) {
    if (n > begin && links.links[n] == links.links[kept - 1]) continue;
    links.links[kept] = links.links[n];
    if (!links.probability.empty()) links.probability[kept] = links.probability[n];
    ++kept;
  }
  links.links.resize(kept);
  if (!links.probability.empty()) links.probability.resize(kept);
}

template <class Number, class... Format>
void append_number(std::string& text, Number number, Format... format) {
  char digits[64];  // the largest float has 39 digits before its point
  text.append(digits, std::to_chars(digits, digits + sizeof digits, number, format...).ptr);
}

// Appends a line; `order` is space for it.
void append_pair(const Links& links, std::size_t pair, bool by_target, std::vector<std::size_t>& order,
                 std::string& text) {
  order.resize(links.offsets[pair + 1] - links.offsets[pair]);
  std::iota(order.begin(), order.end(), links.offsets[pair]);
  if (by_target) std::ranges::stable_sort(order, {}, [&](std::size_t n) { return links.links[n].target; });
  for (const std::size_t n : order) {
    if (n != order.front()) text.push_back(' ');
    append_number(text, links.links[n].source);
    text.push_back('-');
    append_number(text, links.links[n].target);
    if (links.probability.empty()) continue;
    text.push_back(':');
    append_number(text, links.probability[n], std::chars_format::fixed, 4);
  }
  text.push_back('\n');
}

// A token as a message can quote it: not all of a long one, and nothing that moves a terminal's cursor.
std::string quoted(std::string_view token) {
  constexpr std::size_t kLongest = 60;
  std::size_t size = std::min(token.size(), kLongest);
  while (size < token.size() && size > 0 && (token[size] & 0xc0) == 0x80) --size;  // not within a character of UTF-8
  std::string text = "'";
  for (const char c : token.substr(0, size)) {
    if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) {
      text.push_back(c);
    } else {
      const char* const digits = "0123456789abcdef";
      text += {'\\', 'x', digits[c >> 4], digits[c & 15]};
    }
  }
  return text + (size < token.size() ? "...'" : "'");
}

template <class Number>
bool is_number(std::string_view token, Number& value) {
  const auto [at, error] = std::from_chars(token.data(), token.data() + token.size(), value);
  return error == std::errc() && at == token.data() + token.size();
}

// What of a line with fields is links.
std::string_view links_field(std::string_view line) {
  if (line.find("|||") == std::string_view::npos) return line;
  std::string_view field = line, before;
  const char* const end = line.data() + line.size();
  split_blanks(line, [&](std::string_view word) {
    if (word != "|||") return;
    before = field.substr(0, static_cast<std::size_t>(word.data() - field.data()));
    const char* const next = word.data() + word.size();
    field = {next, static_cast<std::size_t>(end - next)};
  });
  std::size_t words = 0, numbers = 0;
  split_blanks(field, [&](std::string_view word) {
    double value;
    ++words;
    numbers += is_number(word, value);
  });
  const bool scores = words == numbers && (words == 1 || words == 2);  // of one direction, or of both
  return scores ? before : field;
}

const char* mixed(bool given) {
  return given ? "has a probability, but the links before it have none"
               : "has no probability, but the links before it have one";
}

// Reads one chunk of the text.
class PharaohParser {
 public:
  explicit PharaohParser(bool fields) : fields_(fields) {}

  // Up to the first line with an error, which is kept.
  void parse(std::string_view text) {
    try {
      while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        parse_line(fields_ ? links_field(line) : line);
      }
    } catch (const LineError& caught) {
      error = caught;
    }
  }

  struct First {
    std::string_view token;  // of the first link
    std::size_t line;
    bool probability;  // whether it has one
  };
  std::optional<First> first;
  std::optional<LineError> error;
  Links links;

 private:
  void parse_line(std::string_view line) {
    const std::size_t begin = links.links.size();
    split_blanks(line, [&](std::string_view token) { parse_link(token); });
    sort_pair(links, begin, links.links.size());
    drop_repeats(links, begin);
    links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
  }

  void parse_link(std::string_view token) {
    std::string_view rest = token;
    Link link;
    link.source = parse_index(rest, token);
    if (rest.empty() || rest.front() != '-') fail(token, "is not a link 'i-j'");
    rest.remove_prefix(1);
    link.target = parse_index(rest, token);
    const bool given = !rest.empty();
    double probability = 0;
    if (given) {
      if (rest.front() != ':') fail(token, "is not a link 'i-j'");
      if (!is_number(rest.substr(1), probability) || !(probability >= 0 && probability <= 1)) {
        fail(token, "is not a link 'i-j:p' with a probability from 0 to 1");
      }
    }
    if (!first) first = First{token, line(), given};
    if (first->probability != given) fail(token, mixed(given));
    links.links.push_back(link);
    if (given) links.probability.push_back(static_cast<float>(probability));
  }

  std::int32_t parse_index(std::string_view& rest, std::string_view token) const {
    std::int32_t index = 0;
    if (rest.empty() || rest.front() < '0' || rest.front() > '9') fail(token, "is not a link 'i-j'");
    const auto [end, fault] = std::from_chars(rest.data(), rest.data() + rest.size(), index);
    if (fault != std::errc()) fail(token, "has an index above 2147483647");
    rest.remove_prefix(static_cast<std::size_t>(end - rest.data()));
    return index;
  }

  [[noreturn]] void fail(std::string_view token, const char* what) const {
    throw LineError(0, line(), quoted(token) + ' ' + what);
  }

  std::size_t line() const { return links.offsets.size(); }  // within the chunk, from 1

  const bool fields_;
};

// Where chunks of whole lines begin, and the end of the text.
Bounds chunks_of_lines(std::string_view text) {
  constexpr std::size_t kBytesPerChunk = 1 << 18;
  Bounds bounds{0};
  while (bounds.back() < text.size()) {
    const std::size_t end = text.find('\n', std::min(bounds.back() + kBytesPerChunk, text.size()) - 1);
    bounds.push_back(end == std::string_view::npos ? text.size() : end + 1);
  }
  return bounds;
}

}  // namespace

Links concatenate(std::vector<Links> parts) {
  Links whole;
  std::vector<std::vector<Link>> links;
  std::vector<std::vector<float>> probabilities;
  for (Links& part : parts) {
    const std::int64_t base = whole.offsets.back();
    for (std::size_t k = 1; k < part.offsets.size(); ++k) whole.offsets.push_back(base + part.offsets[k]);
    links.push_back(std::move(part.links));
    probabilities.push_back(std::move(part.probability));
  }
  whole.links = joined(std::move(links));
  whole.probability = joined(std::move(probabilities));
  return whole;
}

void end_pair(Links& links) {
  sort_pair(links, static_cast<std::size_t>(links.offsets.back()), links.links.size());
  links.offsets.push_back(static_cast<std::int64_t>(links.links.size()));
}

void sort_pairs(Links& links) {
  for (std::size_t k = 1; k < links.offsets.size(); ++k) sort_pair(links, links.offsets[k - 1], links.offsets[k]);
}

std::string to_pharaoh(const Links& links, bool by_target, const Parallel& parallel) {
  const Bounds bounds = split_every(4096, links.size());
  std::vector<std::string> parts(bounds.size() - 1);
  parallel.run_ranges(bounds, [&](Range range, std::size_t chunk, int) {
    std::vector<std::size_t> order;
    for (std::size_t k = range.begin; k < range.end; ++k) append_pair(links, k, by_target, order, parts[chunk]);
  });
  return joined(std::move(parts));
}

Links parse_pharaoh(std::string_view text, const PharaohText& how, const Parallel& parallel) {
  const Bounds bounds = chunks_of_lines(text);
  std::vector<PharaohParser> parsers(bounds.size() - 1, PharaohParser(how.fields));
  parallel.run_ranges(bounds, [&](Range range, std::size_t chunk, int) {
    parsers[chunk].parse(text.substr(range.begin, range.size()));
  });
  std::vector<Links> parts;
  std::uint64_t before = how.first_line - 1;
  std::optional<bool> probabilities = how.probabilities;
  for (PharaohParser& parser : parsers) {
    if (const auto& first = parser.first) {
      const bool given = first->probability;
      if (probabilities.value_or(given) != given) {
        throw LineError(0, before + first->line, quoted(first->token) + ' ' + mixed(given));
      }
      probabilities = given;
    }
    if (parser.error) throw LineError(0, before + parser.error->line, parser.error->what());
    before += parser.links.size();
    parts.push_back(std::move(parser.links));
  }
  return concatenate(std::move(parts));
}

}  // namespace weam
