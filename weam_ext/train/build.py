"""The parts of a run, built from its settings: its directory, text, model, objective and order.

The settings of a run name files. They are known again by what is in them, not by where they lie:
see `contents`.
"""

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from weam_ext.common.errors import InputError
from weam_ext.common.files import whole_directory, write_durably
from weam_ext.common.ranks import Ranks
from weam_ext.common.settings import identity, narrowed
from weam_ext.data.collate import Collator
from weam_ext.data.sampler import Corpora, Order, corpus_shares
from weam_ext.data.shards import Shards, data_digest, open_prepared, read_description
from weam_ext.model.loading import BUILTIN_CONFIG, check_vocabulary, new_model, pretrained_model
from weam_ext.prepare.pipeline import default_workers, prepare
from weam_ext.prepare.settings import Counts, PrepareSettings, Source
from weam_ext.text.bitext import BitextSource, languages
from weam_ext.text.tokenizer import fingerprint, load_tokenizer, wordpiece
from weam_ext.text.toy_corpus import LANGUAGES, sentence_pairs, vocabulary
from weam_ext.train import checkpoint
from weam_ext.train.run_directory import BUILTIN, PREPARED, read_run, write_run
from weam_ext.train.settings import CONTENT, TrainSettings


def run_tokenizer(settings: TrainSettings, run_dir: Path, ranks: Ranks) -> Any:
    """The run's tokenizer, from the directory in it that every checkpoint copies."""
    directory = run_dir / checkpoint.TOKENIZER
    with ranks.together():
        if ranks.first and not directory.exists():
            spec = settings.tokenizer or settings.model
            tokenizer = load_tokenizer(spec) if spec else wordpiece(vocabulary(), "built-in")
            with whole_directory(directory) as part:
                tokenizer.save_pretrained(part)
    return load_tokenizer(str(directory))


def run_sources(settings: TrainSettings, run_dir: Path) -> list[Source]:
    """The texts of a run, which those of the built-in corpus are to become."""
    if not settings.builtin:
        return settings.sources()
    names = [f"{LANGUAGES[0]}-{language}" for language in LANGUAGES[1:]]
    return [BitextSource(name, (str(run_dir / BUILTIN / f"{name}.txt"),)) for name in names]


def run_languages(settings: TrainSettings, run_dir: Path) -> list[str]:
    """The languages of a run's texts, in the order of their numbers in a batch."""
    if settings.prepared:
        texts = read_description(settings.prepared)["corpora"]
        return sorted({name for text in texts for name in text["languages"]})
    return sorted({name for text in run_sources(settings, run_dir) for name in languages(text)})


def _write_builtin(directory: Path, pairs: int) -> None:
    """Write the invented corpus as 'source ||| target' files, one a language."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed, language in enumerate(LANGUAGES[1:]):  # no sentence of the pivot twice
        made = sentence_pairs(language, pairs, seed=seed)
        lines = [f"{p.source} ||| {p.target}\n" for p in made]
        write_durably(directory / f"{LANGUAGES[0]}-{language}.txt", "".join(lines).encode())


def prepared_directory(
    settings: TrainSettings, tokenizer: Any, run_dir: Path, ranks: Ranks
) -> Path:
    """The shards to train on: those given, those of this run, or new ones."""
    if settings.prepared:
        return settings.prepared
    directory = run_dir / PREPARED
    wanted = narrowed(settings, PrepareSettings)
    if ranks.broadcast(directory.exists()):
        with ranks.together():
            had = asdict(PrepareSettings()) | read_description(directory)["settings"]
            # Not where its encoder lay, of which the run's record has the digest.
            if had | {"aligner_encoder": wanted.aligner_encoder} != asdict(wanted):
                raise InputError(f"{directory}: has other settings than the run; remove it")
        return directory
    with ranks.together():
        if ranks.first and settings.builtin:
            _write_builtin(run_dir / BUILTIN, settings.builtin_pairs)
    prepare(
        run_sources(settings, run_dir),
        tokenizer,
        directory,
        wanted,
        workers=default_workers(ranks),
        ranks=ranks,
    )
    return directory


class Data(NamedTuple):
    """What a run is trained on."""

    description: dict[str, Any]
    splits: dict[str, Shards]
    content: dict[str, str]
    """What the files of the run hold: `contents`, and the digest of what was prepared of them."""


def open_data(
    settings: TrainSettings, directory: Path, tokenizer: Any, run_dir: Path, ranks: Ranks
) -> Data:
    """Open a prepared directory, which must be the one that the run began with; all ranks call."""
    with ranks.together():
        description, splits = open_prepared(directory, verify=ranks.local_rank == 0)
        if description["tokenizer"]["sha256"] != fingerprint(tokenizer):
            raise InputError(f"{directory}: was prepared with another tokenizer")
        _check_heldout(directory, description, splits)
        content = read_run(run_dir)[CONTENT]
        digest = data_digest(description)
        if content.get("prepared", digest) != digest:
            raise InputError(
                f"{directory}: not the text that the run in {run_dir} began with; give another "
                "--output"
            )
        content = dict(sorted({**content, "prepared": digest}.items()))
        if ranks.first:
            write_run(run_dir, identity(settings), content)
    return Data(description, splits, content)


def _check_heldout(directory: Path, description: dict[str, Any], splits: dict[str, Shards]) -> None:
    if len(splits["heldout"]):
        return
    counts = [Counts(**corpus["counts"]) for corpus in description["corpora"]]
    total = sum(counts[1:], counts[0])
    raise InputError(
        f"{directory}: too few pairs or sentences to hold a tenth out: {total.read:,} read, "
        f"{total.empty:,} empty, {total.overlong:,} over-long, {total.train:,} left, and at least "
        "10 different ones are needed"
    )


def run_model(settings: TrainSettings, tokenizer: Any, resumed: Path | None) -> Any:
    """The model to go on from: of a checkpoint, a pre-trained one, or one with random weights."""
    if settings.model and settings.tokenizer and not resumed:
        check_vocabulary(settings.tokenizer, tokenizer, settings.model)
    if resumed or settings.model:
        spec = str(resumed or settings.model)
        fresh = settings.seed if settings.fresh_head and not resumed else None
        return pretrained_model(spec, tokenizer, settings.max_length, head_seed=fresh)
    config = settings.model_config or BUILTIN_CONFIG
    return new_model(config, tokenizer, settings.max_length, settings.seed)


def keep_initial(model: Any, run_dir: Path, resumed: Path | None, ranks: Ranks) -> None:
    """Keep the model before training, from which word-aligned measures the distance."""
    directory = run_dir / checkpoint.INITIAL
    with ranks.together():  # not a barrier, at which the others would wait for one that failed
        if ranks.first and not resumed:
            shutil.rmtree(directory, ignore_errors=True)  # of a start that got no further
            with whole_directory(directory) as part:
                model.save_pretrained(part)


def check_share(settings: TrainSettings, world: int) -> None:
    """Raise `InputError` where a batch has not enough for every process."""
    if not settings.batch_tokens and settings.batch_size < world:
        raise InputError(f"--batch-size must be at least {world} for {world} processes")


def run_order(settings: TrainSettings, shards: Shards, collate: Collator, world: int) -> Order:
    """The batches of a run, of each of which every process gets a part."""
    sizes = [int((shards.corpus == number).sum()) for number in range(len(shards.corpora))]
    kinds = [corpus.kind for corpus in shards.corpora]
    shares = corpus_shares(
        sizes, kinds, temperature=settings.temperature, monolingual_share=settings.monolingual_share
    )
    of_samples = collate.sizes(shards.sides)
    # A batch has as many as fit of its longest sample, the last of a window half as many.
    longest = int((of_samples.rows * of_samples.widths).max())
    tokens = longest if world == 1 else 2 * world * longest
    if settings.batch_tokens and settings.batch_tokens < tokens:
        whom = f" for {world} processes" if world > 1 else ""
        raise InputError(
            f"--batch-tokens must be at least {tokens}{whom}: the longest sample has {longest}"
        )
    return Order(
        Corpora(shards.corpus, of_samples, shares),
        batch_size=None if settings.batch_tokens else settings.batch_size,
        batch_tokens=settings.batch_tokens,
        seed=settings.seed,
    )
