// A small random text, and models as text to compare.
#pragma once

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "fit_diagonal.h"
#include "fit_hmm.h"

namespace weam::test {

// Words below a bound on either side, the small ones more often; some pairs empty, one long.
inline Bitext random_bitext(unsigned seed, std::size_t pairs, std::size_t words) {
  std::mt19937_64 random(seed);
  Bitext bitext;
  for (std::size_t k = 0; k < pairs; ++k) {
    std::vector<Word> sides[2];
    const bool empty = below(random, 10) == 0;
    for (std::vector<Word>& side : sides) {
      side.resize(empty ? 0 : 1 + below(random, k == pairs / 2 ? 300 : 12));
      for (Word& word : side) word = static_cast<Word>(below(random, 1 + below(random, words)));
    }
    bitext.add(sides[0].data(), sides[0].size(), sides[1].data(), sides[1].size());
  }
  return bitext;
}

template <class Values>
void append_bytes(std::string& text, const Values& values) {
  if (values.begin() == values.end()) return;
  text.append(reinterpret_cast<const char*>(&*values.begin()),
              static_cast<std::size_t>(values.end() - values.begin()) * sizeof(*values.begin()));
}

// Every byte of a model that training sets.
inline std::string bytes_of(const DiagonalModel& model) {
  std::string bytes;
  append_bytes(bytes, model.table.rows);
  append_bytes(bytes, model.table.columns);
  append_bytes(bytes, model.table.t);
  for (int d = 0; d < model.table.directions; ++d) {
    append_bytes(bytes, model.table.null_row[d]);
    append_bytes(bytes, model.totals[d]);
    for (const Iteration& iteration : model.history[d]) {
      bytes += std::to_string(iteration.log_likelihood) + ' ' + std::to_string(iteration.tension) + '\n';
    }
  }
  return bytes;
}

struct Trained {
  DiagonalModel model;
  std::vector<Links> links;
  std::string scores[2];
};

inline Trained train(Bitext& bitext, std::size_t words, int directions, const Layout& layout, int threads,
                     const DiagonalModel* init = nullptr) {
  Trained trained;
  trained.links.resize(static_cast<std::size_t>(directions));
  const Sink sink = [&](AlignedBlock&& block) {
    for (int d = 0; d < directions; ++d) {
      std::vector<Links> both;
      both.push_back(std::move(trained.links[d]));
      both.push_back(std::move(block.links[d]));
      trained.links[d] = concatenate(std::move(both));
      append_bytes(trained.scores[d], block.scores[d]);
    }
  };
  trained.model = fit_diagonal(bitext, directions, DiagonalSettings(),
                               {{words, words}, layout, Parallel{threads, {}}, {}}, init, sink);
  return trained;
}

inline std::string bytes_of(const HmmModel& model) {
  std::string bytes = bytes_of(model.base);
  for (int d = 0; d < 2; ++d) {
    append_bytes(bytes, model.jumps[d].near);
    append_bytes(bytes, model.fertility[d].counts);
  }
  return bytes;
}

// Of words that are called by their numbers, some of them in a dictionary.
inline Hints hints(std::size_t words) {
  Hints made;
  made.spelling = 3;
  for (std::size_t word = 0; word < words; ++word) {
    for (std::vector<std::string>& side : made.spellings) side.push_back(std::to_string(word * 37));
    if (word % 3 == 0) made.dictionary.push_back({static_cast<Word>(word), static_cast<Word>(word / 2), 1.5f});
  }
  return made;
}

inline HmmModel train_hmm(Bitext& bitext, std::size_t words, const Layout& layout, int threads,
                          const HmmModel* init = nullptr) {
  HmmSettings settings;
  settings.fertility = true;
  return fit_hmm(bitext, settings, hints(words), {{words, words}, layout, Parallel{threads, {}}, {}}, init);
}

// The links and all the scores of a text, one block after the other.
inline std::string aligned(const HmmModel& model, const Bitext& text, const Decoding& decoding, int threads) {
  std::string bytes;
  align_hmm({{&model, &text}}, decoding, 0, Parallel{threads, {}}, [&](AlignedBlock&& block) {
    append_bytes(bytes, block.links[0].offsets);
    append_bytes(bytes, block.links[0].links);
    append_bytes(bytes, block.links[0].probability);
    append_bytes(bytes, block.scores[2]);
  });
  return bytes;
}

}  // namespace weam::test
