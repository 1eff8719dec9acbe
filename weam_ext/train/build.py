"""The parts of a run, built from its settings: its directory, text, model, objective and order.

The settings of a run name files. They are known again by what is in them, not by where they lie:
see `contents`.
"""

import argparse
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch

from weam_ext.common.errors import InputError
from weam_ext.common.files import whole_directory, write_durably
from weam_ext.common.ranks import Ranks
from weam_ext.data.collate import Collator, Layout
from weam_ext.data.sampler import Corpora, Order, corpus_shares
from weam_ext.data.shards import Shards, data_digest, open_prepared, read_description
from weam_ext.model.loading import BUILTIN_CONFIG, check_vocabulary, new_model, pretrained_model
from weam_ext.prepare.cli import settings_of, sources_of
from weam_ext.prepare.pipeline import Source, default_workers, prepare
from weam_ext.prepare.settings import Counts
from weam_ext.text.bitext import BitextSource, languages
from weam_ext.text.tokenizer import fingerprint, load_tokenizer, wordpiece
from weam_ext.text.toy_corpus import LANGUAGES, sentence_pairs, vocabulary
from weam_ext.train import checkpoint
from weam_ext.train.objectives import WEAM, Masking, Objective, WordAligned, objective
from weam_ext.train.run_directory import BUILTIN, PREPARED, read_run, write_run
from weam_ext.train.settings import CONTENT, builtin, identity


def run_tokenizer(options: argparse.Namespace, run_dir: Path, ranks: Ranks) -> Any:
    """The run's tokenizer, from the directory in it that every checkpoint copies."""
    directory = run_dir / checkpoint.TOKENIZER
    with ranks.together():
        if ranks.first and not directory.exists():
            spec = options.tokenizer or options.model
            tokenizer = load_tokenizer(spec) if spec else wordpiece(vocabulary(), "built-in")
            with whole_directory(directory) as part:
                tokenizer.save_pretrained(part)
    return load_tokenizer(str(directory))


def run_sources(options: argparse.Namespace, run_dir: Path) -> list[Source]:
    """The texts of a run, which those of the built-in corpus are to become."""
    if not builtin(options):
        return sources_of(options)
    names = [f"{LANGUAGES[0]}-{language}" for language in LANGUAGES[1:]]
    return [BitextSource(name, (str(run_dir / BUILTIN / f"{name}.txt"),)) for name in names]


def run_languages(options: argparse.Namespace, run_dir: Path) -> list[str]:
    """The languages of a run's texts, in the order of their numbers in a batch."""
    if options.prepared:
        texts = read_description(options.prepared)["corpora"]
        return sorted({name for text in texts for name in text["languages"]})
    return sorted({name for text in run_sources(options, run_dir) for name in languages(text)})


def _write_builtin(directory: Path, pairs: int) -> None:
    """Write the invented corpus as 'source ||| target' files, one a language."""
    directory.mkdir(parents=True, exist_ok=True)
    for seed, language in enumerate(LANGUAGES[1:]):  # no sentence of the pivot twice
        made = sentence_pairs(language, pairs, seed=seed)
        lines = [f"{p.source} ||| {p.target}\n" for p in made]
        write_durably(directory / f"{LANGUAGES[0]}-{language}.txt", "".join(lines).encode())


def prepared_directory(
    options: argparse.Namespace, tokenizer: Any, run_dir: Path, ranks: Ranks
) -> Path:
    """The shards to train on: those given, those of this run, or new ones."""
    if options.prepared:
        given: Path = options.prepared
        return given
    directory = run_dir / PREPARED
    settings = settings_of(options)
    if ranks.broadcast(directory.exists()):
        with ranks.together():
            if read_description(directory)["settings"] != asdict(settings):
                raise InputError(f"{directory}: has other settings than the run; remove it")
        return directory
    with ranks.together():
        if ranks.first and builtin(options):
            _write_builtin(run_dir / BUILTIN, options.builtin_pairs)
    prepare(
        run_sources(options, run_dir),
        tokenizer,
        directory,
        settings,
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
    options: argparse.Namespace, directory: Path, tokenizer: Any, run_dir: Path, ranks: Ranks
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
            write_run(run_dir, identity(options), content)
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


def run_model(options: argparse.Namespace, tokenizer: Any, resumed: Path | None) -> Any:
    """The model to go on from: of a checkpoint, a pre-trained one, or one with random weights."""
    if options.model and options.tokenizer and not resumed:
        check_vocabulary(options.tokenizer, tokenizer, options.model)
    if resumed or options.model:
        return pretrained_model(str(resumed or options.model), tokenizer, options.max_length)
    config = options.model_config or BUILTIN_CONFIG
    return new_model(config, tokenizer, options.max_length, options.seed)


def keep_initial(model: Any, run_dir: Path, resumed: Path | None, ranks: Ranks) -> None:
    """Keep the model before training, from which word-aligned measures the distance."""
    directory = run_dir / checkpoint.INITIAL
    with ranks.together():  # not a barrier, at which the others would wait for one that failed
        if ranks.first and not resumed:
            shutil.rmtree(directory, ignore_errors=True)  # of a start that got no further
            with whole_directory(directory) as part:
                model.save_pretrained(part)


def run_objective(
    options: argparse.Namespace, model: Any, masking: Masking, languages: int, run_dir: Path
) -> Objective:
    """The objective of a run over its model."""
    kind = objective(options.objective)
    if issubclass(kind, WEAM):
        layers = model.config.num_hidden_layers
        if options.exchange_layer and options.exchange_layer > layers:
            raise InputError(
                f"--exchange-layer {options.exchange_layer}: the model has only {layers} layers"
            )
        layout = Layout(
            together=options.encode == "together",
            link_mode=options.link_mode,
            soft=options.soft_links,
            languages=options.exchange_head == "language",
        )
        return kind(
            model,
            masking,
            layout=layout,
            exchange_weight=options.exchange_weight,
            head=options.exchange_head,
            exchange_layer=options.exchange_layer,
            languages=languages,
        )
    if issubclass(kind, WordAligned):
        initial = type(model).from_pretrained(run_dir / checkpoint.INITIAL, dtype=torch.float32)
        return kind(
            model,
            masking,
            initial=initial.base_model.to(masking.replacements.device),
            regularization=options.regularization,
        )
    return kind(model, masking)


def check_share(options: argparse.Namespace, world: int) -> None:
    """Raise `InputError` where a batch has not enough for every process."""
    if not options.batch_tokens and options.batch_size < world:
        raise InputError(f"--batch-size must be at least {world} for {world} processes")


def run_order(options: argparse.Namespace, shards: Shards, collate: Collator, world: int) -> Order:
    """The batches of a run, of each of which every process gets a part."""
    sizes = [int((shards.corpus == number).sum()) for number in range(len(shards.corpora))]
    kinds = [corpus.kind for corpus in shards.corpora]
    shares = corpus_shares(
        sizes, kinds, temperature=options.temperature, monolingual_share=options.monolingual_share
    )
    of_samples = collate.sizes(shards.sides)
    # A batch has as many as fit of its longest sample, the last of a window half as many.
    longest = int((of_samples.rows * of_samples.widths).max())
    tokens = longest if world == 1 else 2 * world * longest
    if options.batch_tokens and options.batch_tokens < tokens:
        whom = f" for {world} processes" if world > 1 else ""
        raise InputError(
            f"--batch-tokens must be at least {tokens}{whom}: the longest sample has {longest}"
        )
    return Order(
        Corpora(shards.corpus, of_samples, shares),
        batch_size=None if options.batch_tokens else options.batch_size,
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
