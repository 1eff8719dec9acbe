"""The parts of a run, built from its settings: its directory, text, model, objective and order."""

import argparse
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml

from weam_ext import checkpoint
from weam_ext.batch import Collator, Layout
from weam_ext.corpus import BitextSource
from weam_ext.distributed import Ranks
from weam_ext.errors import InputError, say
from weam_ext.files import (
    LOCK,
    remove_parts,
    whole_directory,
    write_durably,
    write_whole,
)
from weam_ext.invented import LANGUAGES, sentence_pairs, vocabulary
from weam_ext.model import BUILTIN_CONFIG, new_model, pretrained_model
from weam_ext.objectives import WEAM, Masking, Objective, WordAligned, objective
from weam_ext.order import Corpora, Order, corpus_shares
from weam_ext.prepare import default_workers, prepare, settings_of, sources_of
from weam_ext.settings import builtin, identity, read_config
from weam_ext.shards import Shards
from weam_ext.tokenizer import load_tokenizer, wordpiece


def run_directory(options: argparse.Namespace) -> Path:
    """Where a run lies: as given, or by default a name that its settings decide."""
    mark = hashlib.sha256(json.dumps(identity(options)).encode()).hexdigest()[:8]
    default = Path("weam-out") / f"{options.objective}-{options.links}-{mark}"
    return options.output or default


def open_run(options: argparse.Namespace) -> tuple[Path, Path | None]:
    """The run's directory, with its settings in run.yaml, and the checkpoint to go on from.

    For the one process that owns the directory.
    """
    settings = identity(options)
    run_dir = run_directory(options)
    record = run_dir / "run.yaml"
    if record.exists():
        if options.resume == "never":
            raise InputError(f"{run_dir}: holds a run already; give another --output")
        before = read_config(record, set(vars(options)))
        changed = [name for name, value in settings.items() if before.get(name) != value]
        if changed:
            raise InputError(
                f"{run_dir}: holds a run with {changed[0]} {before.get(changed[0])}, not "
                f"{settings[changed[0]]}; give another --output"
            )
    else:
        if not _is_empty(run_dir):
            raise InputError(f"{run_dir}: not empty, and no run; give another --output")
        write_whole(record, yaml.safe_dump(settings).encode())
    remove_parts(run_dir)
    last = _last_whole(run_dir)
    checkpoint.retain(run_dir, options.keep)
    return run_dir, last


def _is_empty(directory: Path) -> bool:
    """But for what a run that is beginning, or was killed when it began, has there."""
    return all(path.name == LOCK or path.match(".*.part") for path in directory.iterdir())


def _last_whole(run_dir: Path) -> Path | None:
    """The last checkpoint that is whole; of those before it only the states are read."""
    last = None
    for candidate in reversed(checkpoint.checkpoints(run_dir)):
        try:
            if last:
                checkpoint.read_state(candidate)
            else:
                checkpoint.load_state(candidate)
                last = candidate
        except checkpoint.OtherFormatError:
            raise
        except InputError as error:
            # Under its name, it would be in the way of the one that this step is to write again.
            aside = candidate.with_name(f"torn-{candidate.name}")
            shutil.rmtree(aside, ignore_errors=True)
            candidate.rename(aside)
            say(f"passed over: {error}; now called {aside.name}")
    return last


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


def builtin_bitexts(directory: Path, pairs: int) -> list[BitextSource]:
    """Write the invented corpus as 'source ||| target' files, one a language."""
    directory.mkdir(parents=True, exist_ok=True)
    sources = []
    for seed, language in enumerate(LANGUAGES[1:]):  # no sentence of the pivot twice
        path = directory / f"{LANGUAGES[0]}-{language}.txt"
        made = sentence_pairs(language, pairs, seed=seed)
        lines = [f"{p.source} ||| {p.target}\n" for p in made]
        write_durably(path, "".join(lines).encode())
        sources.append(BitextSource(path.stem, (str(path),)))
    return sources


def prepared_directory(
    options: argparse.Namespace, tokenizer: Any, run_dir: Path, ranks: Ranks
) -> Path:
    """The shards to train on: those given, those of this run, or new ones."""
    if options.prepared:
        return Path(options.prepared)
    directory = run_dir / "prepared"
    if not ranks.broadcast(directory.exists()):
        sources: Sequence[Any] = sources_of(options)
        if builtin(options):
            sources = ranks.broadcast(
                builtin_bitexts(run_dir / "builtin", options.builtin_pairs) if ranks.first else []
            )
        posteriors = options.posteriors or options.soft_links
        prepare(
            sources,
            tokenizer,
            directory,
            replace(settings_of(options), posteriors=posteriors),
            workers=default_workers(ranks),
            ranks=ranks,
        )
    return directory


def run_model(options: argparse.Namespace, tokenizer: Any, resumed: Path | None) -> Any:
    """The model to go on from: of a checkpoint, a pre-trained one, or one with random weights."""
    if resumed or options.model:
        return pretrained_model(str(resumed or options.model), tokenizer, options.max_length)
    config = options.model_config or BUILTIN_CONFIG
    return new_model(config, tokenizer, options.max_length, options.seed)


def keep_initial(model: Any, run_dir: Path, resumed: Path | None, ranks: Ranks) -> None:
    """Keep the model before training, from which word-aligned measures the distance."""
    directory = run_dir / checkpoint.INITIAL
    if ranks.first and not resumed:
        shutil.rmtree(directory, ignore_errors=True)  # of a start that got no further
        with whole_directory(directory) as part:
            model.save_pretrained(part)
    ranks.barrier()


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


def run_order(options: argparse.Namespace, shards: Shards, collate: Collator, world: int) -> Order:
    """The batches of a run, of each of which every process gets a part."""
    sizes = [int((shards.corpus == number).sum()) for number in range(len(shards.corpora))]
    kinds = [corpus.kind for corpus in shards.corpora]
    shares = corpus_shares(
        sizes, kinds, temperature=options.temperature, monolingual_share=options.monolingual_share
    )
    of_samples = collate.sizes(shards.sides)
    # A batch has as many as fit of its longest sample, the last of a window half as many.
    tokens = 2 * world * int((of_samples.rows * of_samples.widths).max())
    if world > 1 and options.batch_tokens and options.batch_tokens < tokens:
        raise InputError(f"--batch-tokens must be at least {tokens} for {world} processes")
    if not options.batch_tokens and options.batch_size < world:
        raise InputError(f"--batch-size must be at least {world} for {world} processes")
    return Order(
        Corpora(shards.corpus, of_samples, shares),
        batch_size=None if options.batch_tokens else options.batch_size,
        batch_tokens=options.batch_tokens,
        seed=options.seed,
    )
