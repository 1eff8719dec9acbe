"""What a preparation is asked for, and what it counts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from weam_ext.align.links import HEURISTICS
from weam_ext.align.models import MODELS, checked_heuristic
from weam_ext.align.settings import POSTERIOR
from weam_ext.common.errors import InputError
from weam_ext.common.files import path_or_name
from weam_ext.common.memory import parse_size
from weam_ext.common.settings import REQUIRED, Settings, at_least, option, within
from weam_ext.text.bitext import (
    BitextSource,
    MonolingualSource,
    parse_bitext,
    parse_columns,
    parse_monolingual,
)
from weam_ext.text.words import SEGMENTERS

OVERLONG = ("drop", "truncate")
MOST_WORKERS = 32  # one process reads for all of them
_SANE_WORKERS = 1_000  # more are a slip of the hand, and would take the machine
Source = BitextSource | MonolingualSource


@dataclass(frozen=True)
class PrepareSettings(Settings, group="words and links"):
    """How text becomes shards; part of what identifies a prepared directory."""

    words: str = option(
        "bert",
        "How text is split into the words that are aligned: bert splits raw text as BERT does, "
        "blanks takes it as it is.",
        choices=SEGMENTERS,
    )
    lowercase: bool = option(False, "Whether the aligner sees the text in lower case.")
    aligner: str = option(
        "hmm",
        "The model of the aligner: hmm has far fewer wrong links, fast-align is the paper's; "
        "hybrid (the HMM with an encoder) and encoder have fewer still and need --aligner-encoder.",
        choices=MODELS,
    )
    aligner_encoder: str | None = option(
        None,
        "The encoder of --aligner hybrid or encoder: a name on the hub or a directory.",
        parse=path_or_name,
        metavar="NAME",
    )
    heuristic: str | None = option(
        None,
        f"How the aligner's two directions are combined: {POSTERIOR} (of hmm alone, and its "
        f"default), {', '.join(HEURISTICS)} (the default of fast-align).",
        metavar="METHOD",
    )
    posteriors: bool = option(False, "Whether the posterior probability of each link is kept too.")
    max_length: int = option(
        128,
        "The most tokens of a pair, or of a line of monolingual text, special tokens included.",
        group="tokens",
        rule=at_least(8),
    )
    overlong: str = option(
        "drop",
        "What becomes of longer ones: they are dropped, or truncated with their links.",
        group="tokens",
        choices=OVERLONG,
    )
    heldout: int = option(
        300,
        "How many pairs or lines of each text are kept out of training, at most a tenth of it; "
        "copies of a pair go with it.",
        group="text",
        rule=at_least(1),
    )
    seed: int = option(
        0, "The seed of every random choice.", group="text", rule=within(0, 2**31 - 1)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        checked_heuristic(self.aligner, self.heuristic)
        takes = "encoder" in MODELS[self.aligner].DEFAULTS
        if takes != (self.aligner_encoder is not None):
            wanted = "needs" if takes else "takes no"
            raise InputError(f"--aligner {self.aligner} {wanted} --aligner-encoder")


@dataclass(frozen=True)
class TextSettings(PrepareSettings, group="text"):
    """What is prepared, and how; `weam_ext.train` takes these too."""

    bitext: tuple[tuple[str, ...], ...] | None = option(
        None,
        "[NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated lines, or two "
        "line-aligned files, plain or compressed by gzip, xz, bzip2 or Zstandard. Give the flag "
        "again for each language pair. A name that ends in codes, such as en-fr, tells the "
        "languages.",
        again=True,
        metavar="FILE",
    )
    monolingual: tuple[str, ...] | None = option(
        None,
        "[NAME=]FILE: text of one sentence a line, without links. Give the flag again for each "
        "text.",
        again=True,
        metavar="FILE",
    )
    columns: str | None = option(
        None,
        "The columns of source and target in tab-separated files, counted from 1. By default 1,2, "
        "where the first line has a tab and no '|||'.",
        metavar="S,T",
    )
    limit: int | None = option(
        None, "Only the first N pairs or lines of each text are read.", rule=at_least(1)
    )
    tokenizer: str | None = option(
        None,
        "The tokenizer: a name on the hub, a directory, or a cased WordPiece vocab.txt.",
        group="tokens",
        parse=path_or_name,
        metavar="NAME",
    )

    def sources(self) -> list[Source]:
        """The texts, bitexts first; `InputError` for names and columns that cannot be meant."""
        columns = parse_columns(self.columns)
        bitexts, others = self.bitext or (), self.monolingual or ()
        if columns and not any(len(files) == 1 for files in bitexts):
            raise InputError("--columns: there is no --bitext of one tab-separated file")
        return [
            *(parse_bitext(files, columns, self.limit) for files in bitexts),
            *(parse_monolingual(file, self.limit) for file in others),
        ]


@dataclass(frozen=True)
class PrepareCommand(TextSettings, group="output and work"):
    """The settings of `python -m weam_ext.prepare`."""

    output: Path = option(REQUIRED, "The directory to make; it must not exist.", metavar="DIR")
    workers: int | None = option(
        None,
        "How many processes tokenise, and how many threads align, in each rank; the result does "
        f"not depend on it. By default the number of processors, at most {MOST_WORKERS}.",
        rule=within(1, _SANE_WORKERS),
    )
    max_memory: int | None = option(
        None,
        "How much memory the aligner may use, such as 2G, before it works with temporary files. By "
        "default 80 % of what is free.",
        parse=parse_size,
        metavar="SIZE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.bitext or self.monolingual) or not self.tokenizer:
            raise InputError("--bitext or --monolingual, and --tokenizer are needed")


def settings_had(description: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of `TextSettings` that a preparation was made with, but for files and seed.

    `columns` and `limit` are None where its texts do not agree in them.

    Args:
        description: what prepared.json holds.
    """
    texts = description["corpora"]
    columns = {"{},{}".format(*text["columns"]) for text in texts if text["columns"]}
    limits = {text["limit"] for text in texts}
    had = {**description["settings"], "columns": _sole(columns), "limit": _sole(limits)}
    had["heuristic"] = checked_heuristic(had["aligner"], had["heuristic"])
    del had["seed"]
    return had


def _sole(values: set[Any]) -> Any:
    return values.pop() if len(values) == 1 else None


@dataclass
class Counts:
    """What became of the pairs of a bitext, or of the sentences of other text."""

    read: int = 0
    empty: int = 0
    """With a side that has no words or no tokens."""
    overlong: int = 0
    """With more than `max_length` tokens: dropped or truncated as the settings say."""
    train: int = 0
    heldout: int = 0
    links: int = 0
    train_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        more = asdict(other)
        return Counts(**{name: count + more[name] for name, count in asdict(self).items()})

    def told(self, pair: str) -> str:
        """In words; `pair` is what is counted."""
        links = self.links / max(1, self.train + self.heldout)
        return (
            f"{self.read:,} {pair}s read, {self.empty:,} empty, {self.overlong:,} over-long, "
            f"{self.train:,} to train on ({self.train_tokens:,} tokens), {self.heldout:,} held out"
            + (f", {links:.1f} word links a pair" if self.links else "")
        )
