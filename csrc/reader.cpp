#include "reader.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>

#include "errors.h"
#include "numeric.h"

namespace weam {

namespace {

constexpr std::size_t kChunksPerThread = 4;
constexpr std::size_t kMaxWords = 0x7fffffff;  // of a sentence

// The length of the sequence of two to four bytes that begins here, 0 when it is not well-formed (Unicode, table 3-7).
std::size_t sequence_length(const char* at, const char* end) {
  const auto byte = [at](int k) { return static_cast<unsigned char>(at[k]); };
  const auto continues = [&](int from, int to) {
    for (int k = from; k < to; ++k) {
      if ((byte(k) & 0xc0) != 0x80) return false;
    }
    return true;
  };
  const std::ptrdiff_t left = end - at;
  const unsigned lead = byte(0);
  if (lead >= 0xc2 && lead <= 0xdf) return left >= 2 && continues(1, 2) ? 2 : 0;
  if (lead >= 0xe0 && lead <= 0xef) {
    if (left < 3 || !continues(1, 3)) return 0;
    const bool overlong = lead == 0xe0 && byte(1) < 0xa0, surrogate = lead == 0xed && byte(1) > 0x9f;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xf0 && lead <= 0xf4) {
    if (left < 4 || !continues(1, 4)) return 0;
    const bool overlong = lead == 0xf0 && byte(1) < 0x90, beyond = lead == 0xf4 && byte(1) > 0x8f;
    return overlong || beyond ? 0 : 4;
  }
  return 0;
}

// What is wrong with a line that is UTF-8 only up to `bad`.
std::string invalid_utf8(std::string_view line, const char* bad) {
  const auto characters =
      std::count_if(line.data(), bad, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; });
  char byte[8];
  std::snprintf(byte, sizeof byte, "0x%02x", static_cast<unsigned char>(*bad));
  return std::string("invalid UTF-8 (byte ") + byte + " at column " + std::to_string(characters + 1) + ")";
}

// A block's count fits the vector lanes that hold its bytes.
std::size_t count_words(std::string_view text) {
  std::size_t words = 0;
  bool before = true;
  for (std::size_t begin = 0; begin < text.size(); begin += 128) {
    const std::size_t end = std::min(text.size(), begin + 128);
    unsigned char block = is_blank(text[begin]) < before;
    for (std::size_t k = begin + 1; k < end; ++k) block += is_blank(text[k]) < is_blank(text[k - 1]);
    before = is_blank(text[end - 1]);
    words += block;
  }
  return words;
}

Sides split_columns(std::string_view line, const Columns& columns, std::uint64_t number) {
  Sides sides;
  std::size_t column = 0, begin = 0, end = 0;
  for (; end != line.npos; begin = end + 1, ++column) {
    end = line.find('\t', begin);
    for (int side = 0; side < 2; ++side) {
      if (column == columns[side]) sides[side] = line.substr(begin, end - begin);
    }
  }
  const std::size_t wanted = std::max(columns[0], columns[1]);
  if (column <= wanted) {
    throw LineError(0, number, "no column " + std::to_string(wanted + 1) + ", only " + std::to_string(column));
  }
  return sides;
}

// Where the first "|||" between blanks is, or npos.
std::size_t find_bars(std::string_view line) {
  std::size_t at = 0;
  for (; (at = line.find("|||", at)) != line.npos; ++at) {
    const std::size_t end = at + 3;
    if ((at == 0 || is_blank(line[at - 1])) && (end == line.size() || is_blank(line[end]))) break;
  }
  return at;
}

bool has_words(std::string_view line) { return line.find_first_not_of(" \t") != line.npos; }

// Whether a file is tab-separated, by a line of it; nothing where the line does not tell.
std::optional<bool> tells_tabs(std::string_view line) {
  if (find_bars(line) != line.npos) return false;
  return line.find('\t') != line.npos && has_words(line) ? std::optional(true) : std::nullopt;
}

// Of three bytes of UTF-8, whether such a character begins there; without branches, for the compiler to vectorize.
WEAM_INLINE unsigned char begins_other_space(unsigned char a, unsigned char b, unsigned char c) {
  const unsigned char control = ((a >= 0x0b) & (a <= 0x0d)) | ((a >= 0x1c) & (a <= 0x1f));
  const unsigned char latin = (a == 0xc2) & ((b == 0x85) | (b == 0xa0));
  const unsigned char general = (a == 0xe2) & (b == 0x80) & ((c <= 0x8a) | (c == 0xa8) | (c == 0xa9) | (c == 0xaf));
  const unsigned char others = ((a == 0xe1) & (b == 0x9a) & (c == 0x80)) | ((a == 0xe2) & (b == 0x81) & (c == 0x9f)) |
                               ((a == 0xe3) & (b == 0x80) & (c == 0x80));
  return control | latin | general | others;
}

}  // namespace

Sides split_pair(std::string_view line, const std::optional<Columns>& columns, std::optional<bool>& tabs,
                 std::uint64_t number) {
  if (!has_words(line)) return {};
  if (!tabs) tabs = columns ? std::optional(true) : tells_tabs(line);
  if (!tabs) throw LineError(0, number, "no '|||' and no tab between source and target");
  if (!*tabs) {
    const std::size_t bars = find_bars(line);
    if (bars != line.npos) return {line.substr(0, bars), line.substr(bars + 3)};
    throw LineError(0, number, "no '|||' between source and target, unlike the lines before it");
  }
  if (line.find('\t') != line.npos) return split_columns(line, columns.value_or(Columns{0, 1}), number);
  throw LineError(0, number,
                  columns ? "no tab between source and target, although columns were asked for"
                          : "no tab between source and target, unlike the lines before it");
}

std::size_t valid_utf8(std::string_view text) {
  const char* at = text.data();
  const char* const end = at + text.size();
  while (at != end) {
    for (std::uint64_t eight; end - at >= 8; at += 8) {
      std::memcpy(&eight, at, 8);
      if (eight & 0x8080808080808080u) break;
    }
    while (at != end && static_cast<signed char>(*at) >= 0) ++at;
    if (at == end) break;
    const std::size_t length = sequence_length(at, end);
    if (length == 0) break;
    at += length;
  }
  return static_cast<std::size_t>(at - text.data());
}

WEAM_CLONES bool has_other_space(std::string_view text) {
  constexpr std::size_t kBlock = 64, kBeyond = 2;  // bytes: a block looks so far beyond its end
  const auto any = [](const unsigned char* bytes) {
    unsigned char found = 0;
    for (std::size_t k = 0; k < kBlock; ++k) found |= begins_other_space(bytes[k], bytes[k + 1], bytes[k + 2]);
    return found;
  };
  const auto* const bytes = reinterpret_cast<const unsigned char*>(text.data());
  unsigned char found = 0;
  std::size_t at = 0;
  for (; text.size() - at >= kBlock + kBeyond; at += kBlock) found |= any(bytes + at);
  unsigned char rest[2 * kBlock + kBeyond] = {};
  std::copy(bytes + at, bytes + text.size(), rest);
  return found | any(rest) | any(rest + kBlock);
}

void WaitingLines::append(std::string_view data) {
  const bool beginning = text_.size() < 3 && dropped_ == 0;
  std::size_t at = text_.size();
  text_.append(data);
  if (beginning && std::string_view(text_).substr(0, 3) == "\xef\xbb\xbf") bounds_.front() = 3;
  const char* const text = text_.data();
  while (const void* feed = std::memchr(text + at, '\n', text_.size() - at)) {
    at = static_cast<std::size_t>(static_cast<const char*>(feed) - text) + 1;
    bounds_.push_back(at);
  }
}

void WaitingLines::end() {
  ended_ = true;
  if (text_.size() > bounds_.back()) bounds_.push_back(text_.size());
}

void WaitingLines::drop(std::size_t lines) {
  first_ += lines;
  dropped_ += lines;
  const std::size_t done = bounds_[first_];
  if (done < text_.size() - done) return;  // else what is moved is less than what was dropped
  text_.erase(0, done);
  bounds_.erase(bounds_.begin(), bounds_.begin() + static_cast<std::ptrdiff_t>(first_));
  for (std::size_t& bound : bounds_) bound -= done;
  first_ = 0;
}

std::string_view WaitingLines::operator[](std::size_t line) const {
  std::string_view text = this->text(line, line + 1);
  if (!text.empty() && text.back() == '\n') {
    text.remove_suffix(1);
    if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  }
  return text;
}

struct BitextReader::Chunk {
  struct Side {
    Vocabulary vocabulary;
    std::vector<Word> words;  // by that vocabulary
    std::vector<std::uint32_t> lengths;
    std::vector<Word> numbers;  // of the vocabulary's words, in the whole text

    void add(std::string_view text, std::size_t length) {
      lengths.push_back(static_cast<std::uint32_t>(length));
      if (length == 0) return;
      words.resize(words.size() + length);
      Word* word = words.data() + words.size() - length;
      split_blanks(text, [&](std::string_view next) { *word++ = vocabulary.intern(next); });
    }
  };

  std::size_t begin, end;  // among the waiting lines
  Side sides[2];
  std::uint64_t empty = 0, too_long = 0, other_spaces = 0;
  std::optional<LineError> error;
};

BitextReader::BitextReader(Numbering numbering, const ReaderOptions& options, const Parallel& parallel, Bitext& bitext)
    : numbering_(std::move(numbering)), options_(options), parallel_(parallel), bitext_(bitext) {}

bool BitextReader::feed(int file, const char* data, std::size_t size) {
  for (std::string_view rest(data, size); !rest.empty() && !done();) {
    const std::string_view piece = rest.substr(0, options_.chunk);
    files_[file].append(piece);
    rest.remove_prefix(piece.size());
    read(false);
  }
  return !done();
}

void BitextReader::end(int file) {
  files_[file].end();
  read(false);
}

DroppedPairs BitextReader::finish() {
  for (int file = 0; file < options_.files; ++file) files_[file].end();
  read(true);
  if (options_.files == 2 && files_[0].dropped() != files_[1].dropped()) {
    throw UnequalLines(files_[0].dropped(), files_[1].dropped());
  }
  return dropped_;
}

void BitextReader::read(bool all) {
  if (done()) return;
  const int files = options_.files;
  std::size_t pairs = std::min(files_[0].size(), files_[files - 1].size());
  if (options_.limit && options_.limit - bitext_.size() <= pairs) {
    pairs = static_cast<std::size_t>(options_.limit - bitext_.size());
    all = true;
  }
  std::size_t bytes = 0;
  for (int file = 0; file < files; ++file) bytes += files_[file].text(0, pairs).size();
  if (all || bytes >= options_.chunk * kChunksPerThread * static_cast<std::size_t>(parallel_.threads)) {
    read_pairs(pairs);
    for (int file = 0; file < files; ++file) files_[file].drop(pairs);
  }
  if (done()) return;
  for (int file = 0; file < files; ++file) {
    const WaitingLines& other = files_[files - 1 - file];
    if (other.ended() && other.size() == 0) drop_surplus(file);
  }
}

void BitextReader::drop_surplus(int file) {
  WaitingLines& lines = files_[file];
  const std::string_view text = lines.text(0, lines.size());
  const std::size_t valid = valid_utf8(text);
  if (valid < text.size()) {
    std::size_t line = 0;
    while (lines.text(0, line + 1).size() <= valid) ++line;
    throw LineError(file, lines.dropped() + line + 1, invalid_utf8(lines[line], text.data() + valid));
  }
  lines.drop(lines.size());
}

void BitextReader::tell_format(std::size_t pairs) {
  if (options_.columns) tabs_ = true;
  for (std::size_t k = 0; !tabs_ && k < pairs; ++k) {
    if (!has_words(files_[0][k])) continue;
    tabs_ = tells_tabs(files_[0][k]);
    return;  // where it does not tell, it is in error
  }
}

void BitextReader::read_pairs(std::size_t pairs) {
  if (options_.files == 1) tell_format(pairs);
  std::vector<Chunk> chunks;
  for (std::size_t begin = 0, k = 1, bytes = 0; k <= pairs; ++k) {
    for (int file = 0; file < options_.files; ++file) bytes += files_[file].text(k - 1, k).size();
    if (bytes < options_.chunk && k < pairs) continue;
    chunks.emplace_back();
    chunks.back().begin = std::exchange(begin, k);
    chunks.back().end = k;
    bytes = 0;
  }
  parallel_.run(chunks.size(), [&](std::size_t chunk, int) {
    try {
      read_chunk(chunks[chunk]);
    } catch (const LineError& error) {
      chunks[chunk].error = error;  // one in a chunk before it comes first, whenever it is found
    }
  });
  for (const Chunk& chunk : chunks) {
    if (chunk.error) throw *chunk.error;
  }
  append(chunks);
}

void BitextReader::read_chunk(Chunk& chunk) const {
  const char* valid[2];
  std::optional<bool> tabs = tabs_;
  bool spaces = false;  // few texts have any
  for (int file = 0; file < options_.files; ++file) {
    const std::string_view text = files_[file].text(chunk.begin, chunk.end);
    valid[file] = text.data() + valid_utf8(text);
    spaces = spaces || has_other_space(text);
  }
  for (std::size_t k = chunk.begin; k < chunk.end; ++k) {
    const std::uint64_t number = files_[0].dropped() + k + 1;
    Sides sides;
    for (int file = 0; file < options_.files; ++file) {
      const std::string_view line = sides[file] = files_[file][k];
      if (line.data() + line.size() > valid[file]) throw LineError(file, number, invalid_utf8(line, valid[file]));
    }
    if (options_.files == 1) sides = split_pair(sides[0], options_.columns, tabs, number);
    std::size_t lengths[2];
    for (int side = 0; side < 2; ++side) {
      lengths[side] = count_words(sides[side]);
      if (lengths[side] > kMaxWords) {
        throw LineError(options_.files == 1 ? 0 : side, number, "more than " + std::to_string(kMaxWords) + " words");
      }
    }
    const bool empty = lengths[0] == 0 || lengths[1] == 0;
    const bool too_long = !empty && options_.max_length && std::max(lengths[0], lengths[1]) > options_.max_length;
    chunk.empty += empty;
    chunk.too_long += too_long;
    chunk.other_spaces += spaces && !empty && !too_long && (has_other_space(sides[0]) || has_other_space(sides[1]));
    for (int side = 0; side < 2; ++side) {
      chunk.sides[side].add(sides[side], empty || too_long ? 0 : lengths[side]);
    }
  }
}

void BitextReader::append(std::vector<Chunk>& chunks) {
  parallel_.run(2, [&](std::size_t side, int) {
    for (Chunk& chunk : chunks) {
      chunk.sides[side].numbers = numbering_(static_cast<int>(side), chunk.sides[side].vocabulary);
    }
  });
  std::vector<std::size_t> pairs{bitext_.size()}, words[2]{{bitext_.words[0].size()}, {bitext_.words[1].size()}};
  for (const Chunk& chunk : chunks) {
    dropped_.empty += chunk.empty;
    dropped_.too_long += chunk.too_long;
    other_spaces_ += chunk.other_spaces;
    pairs.push_back(pairs.back() + chunk.end - chunk.begin);
    for (int side = 0; side < 2; ++side) words[side].push_back(words[side].back() + chunk.sides[side].words.size());
  }
  for (int side = 0; side < 2; ++side) {
    check_word_count(words[side].back());
    bitext_.words[side].grow_to(words[side].back());
  }
  bitext_.pairs.grow_to(pairs.back());
  parallel_.run(chunks.size(), [&](std::size_t chunk, int) {
    for (int side = 0; side < 2; ++side) {
      const Chunk::Side& from = chunks[chunk].sides[side];
      Word* word = bitext_.words[side].data() + words[side][chunk];
      for (const Word local : from.words) *word++ = from.numbers[local];
      std::uint32_t begin = static_cast<std::uint32_t>(words[side][chunk]);
      Pair* pair = bitext_.pairs.data() + pairs[chunk];
      for (const std::uint32_t length : from.lengths) {
        pair++->sides[side] = {begin, length};
        begin += length;
      }
    }
  });
}

}  // namespace weam
