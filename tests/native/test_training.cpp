// Training and aligning: the same bytes however the work is cut and shared.
#include <cmath>
#include <cstdlib>
#include <system_error>

#include "training.h"

using namespace weam;
using namespace weam::test;

namespace {

constexpr std::size_t kWords = 40;

std::string folder() {
  const char* const named = std::getenv("TMPDIR");
  return named ? named : "/tmp";
}

// In one piece, in tiles of a few pairs, and in files with ranges of a few words.
std::vector<Layout> layouts() {
  Layout tiles, files;
  tiles.keep_index = files.keep_index = false;
  tiles.tile_bytes = 4000;
  files.tile_bytes = 3000;
  files.table_bytes = 2000;
  files.directory = folder();
  return {Layout(), tiles, files};
}

void check_same(const Trained& found, const Trained& expected) {
  CHECK(bytes_of(found.model) == bytes_of(expected.model));
  for (std::size_t d = 0; d < expected.links.size(); ++d) {
    CHECK(found.scores[d] == expected.scores[d]);
    CHECK(found.links[d].offsets == expected.links[d].offsets);
    CHECK(found.links[d].links == expected.links[d].links);
  }
}

}  // namespace

TEST(training_is_the_same_in_every_layout_at_every_thread_count) {
  for (int round = 0; round < rounds(); ++round) {
    for (const int directions : {1, 2}) {
      Bitext first = random_bitext(round, 150, kWords);
      const Trained expected = train(first, kWords, directions, Layout(), 1);
      for (const Layout& layout : layouts()) {
        for (const int threads : {1, 2, 3, 8}) {
          Bitext again = random_bitext(round, 150, kWords);
          check_same(train(again, kWords, directions, layout, threads), expected);
        }
      }
    }
  }
}

TEST(further_training_is_the_same_in_every_layout) {
  for (int round = 0; round < rounds(); ++round) {
    Bitext first = random_bitext(round, 80, kWords / 2);
    const Trained init = train(first, kWords / 2, 2, Layout(), 2);
    Bitext more = random_bitext(round + 1000, 100, kWords);
    const Trained expected = train(more, kWords, 2, Layout(), 1, &init.model);
    CHECK(expected.model.table.cells() > init.model.table.cells());
    for (const Layout& layout : layouts()) {
      Bitext again = random_bitext(round + 1000, 100, kWords);
      check_same(train(again, kWords, 2, layout, 3, &init.model), expected);
    }
  }
}

TEST(the_hmm_is_the_same_in_every_layout_at_every_thread_count) {
  for (int round = 0; round < rounds(); ++round) {
    Bitext first = random_bitext(round, 60, kWords / 2), more = random_bitext(round + 1000, 100, kWords);
    HmmModel init = train_hmm(first, kWords / 2, Layout(), 1);
    init.base.table.sort_rows(Parallel());
    HmmModel expected = train_hmm(more, kWords, Layout(), 1, &init);
    const std::string bytes = bytes_of(expected);
    expected.base.table.sort_rows(Parallel());
    const std::string links = aligned(expected, more, Decoding(), 1);
    for (const Layout& layout : layouts()) {
      for (const int threads : {1, 2, 8}) {
        Bitext again = random_bitext(round + 1000, 100, kWords);
        CHECK(bytes_of(train_hmm(again, kWords, layout, threads, &init)) == bytes);
      }
    }
    CHECK(aligned(expected, more, Decoding(), 3) == links);
  }
}

TEST(likeness_is_symmetric_and_of_any_bytes) {
  std::mt19937_64 random(1);
  for (int round = 0; round < 300; ++round) {
    std::string words[2];
    for (std::string& word : words) {
      word.resize(below(random, 80));
      for (char& letter : word) letter = static_cast<char>(below(random, 256));
    }
    const double alike = likeness(words[0], words[1]);
    CHECK(alike >= 0 && alike <= 1 && alike == likeness(words[1], words[0]));
    CHECK(words[0].size() < 4 || likeness(words[0], words[0]) == 1);
  }
}

TEST(aligning_gives_the_links_of_training) {
  for (const int directions : {1, 2}) {
    Bitext bitext = random_bitext(7, 300, kWords);
    Trained trained = train(bitext, kWords, directions, Layout(), 3);
    trained.model.table.sort_rows(Parallel{3, {}});
    const auto links_of = [&](const Bitext& text) {
      std::vector<Links> links(static_cast<std::size_t>(directions));
      align_diagonal(trained.model, text, Parallel{2, {}}, [&](AlignedBlock&& block) {
        for (int d = 0; d < directions; ++d) links[d] = std::move(block.links[d]);
      });
      return links;
    };
    const std::vector<Links> links = links_of(bitext);
    for (int d = 0; d < directions; ++d) CHECK(links[d].links == trained.links[d].links);
    for (std::size_t k = 0; k < 50; ++k) {  // one by one, without an index
      Bitext alone;
      const Pair pair = bitext.pairs[k];
      alone.add(bitext.sentence(0, k), pair.sides[0].length, bitext.sentence(1, k), pair.sides[1].length);
      const std::vector<Links> own = links_of(alone);
      for (int d = 0; d < directions; ++d) {
        const auto begin = links[d].links.begin();
        CHECK(own[d].links == std::vector<Link>(begin + links[d].offsets[k], begin + links[d].offsets[k + 1]));
      }
    }
    const std::vector<float> posteriors = link_posteriors(trained.model, bitext, 0, links[0], Parallel{3, {}});
    CHECK(posteriors.size() == links[0].links.size());
    for (const float posterior : posteriors) CHECK(posterior >= 0 && posterior <= 1.0001f);
  }
}

TEST(words_that_are_not_known_have_the_prior_alone) {
  Bitext bitext = random_bitext(3, 100, kWords);
  DiagonalModel model = train(bitext, kWords, 2, Layout(), 1).model;
  model.table.sort_rows(Parallel());
  for (const std::size_t copies : {std::size_t{1}, std::size_t{200}}) {
    Bitext unknown;
    const std::vector<Word> words(9, kUnknown);
    for (std::size_t k = 0; k < copies; ++k) unknown.add(words.data(), 9, words.data(), 9);
    align_diagonal(model, unknown, Parallel{2, {}}, [&](AlignedBlock&& block) {
      for (const Links& links : block.links) {
        CHECK(links.links.size() == 9 * copies);
        for (const Link link : links.links) CHECK(link.source == link.target);
      }
    });
  }
}

TEST(an_interrupt_stops_training) {
  struct Interrupt {};
  Bitext bitext = random_bitext(1, 200, kWords);
  int polls = 0;
  DiagonalSettings settings;
  settings.iterations = 1000000;
  const Parallel parallel{2, [&] {
                            if (++polls == 3) throw Interrupt();
                          }};
  CHECK_THROWS(Interrupt,
               fit_diagonal(bitext, 2, settings, {{kWords, kWords}, layouts()[1], parallel, {}}, nullptr, {}));
}

TEST(a_directory_that_is_not_there_is_an_error) {
  Bitext bitext = random_bitext(1, 50, kWords);
  Layout layout = layouts()[2];
  layout.directory = "/nowhere/at/all";
  CHECK_THROWS(std::system_error, train(bitext, kWords, 1, layout, 1));
}
