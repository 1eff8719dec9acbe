"""Text into memory-mapped shards: token ids, word ids and word links.

    python -m weam_ext.prepare --bitext train.en.xz train.fr.xz --tokenizer vocab.txt --output DIR
    torchrun --nproc-per-node 8 -m weam_ext.prepare ...

A prepared directory holds `prepared.json` (what was done, and what was counted) and Arrow files, at
most two for each chunk of the input. Columns: `source_ids`, `target_ids` (token
ids without special tokens), `source_words`, `target_words` (the word of each token, or -1),
`link_source`, `link_target` (linked words) and, where asked for, `link_probability`. Of text in one
language all columns but the first two hold nothing.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from weam_ext.align.aligner import Aligner
from weam_ext.align.links import HEURISTICS
from weam_ext.align.settings import MODELS, POSTERIOR
from weam_ext.common.errors import InputError, Parser
from weam_ext.common.files import path_or_name, user_path
from weam_ext.common.memory import parse_size
from weam_ext.common.ranks import Ranks
from weam_ext.prepare.pipeline import MOST_WORKERS, Source, default_workers, prepare
from weam_ext.prepare.settings import OVERLONG, PrepareSettings
from weam_ext.text.bitext import parse_bitext, parse_columns, parse_monolingual
from weam_ext.text.tokenizer import load_tokenizer
from weam_ext.text.words import SEGMENTERS

_SANE_WORKERS = 1_000  # more are a slip of the hand, and would take the machine


# ---------------------------------------------------------------------------------- command line


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags that say what is prepared and how; `weam_ext.train` takes them too."""
    default = PrepareSettings()
    text = parser.add_argument_group("text")
    text.add_argument(
        "--bitext", nargs="+", action="append", metavar="FILE",
        help="[NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated lines, or two "
        "line-aligned files; plain, gzip, xz, bzip2 or Zstandard; again for each language pair. A "
        "name that ends in codes, such as en-fr, tells the languages",
    )  # fmt: skip
    text.add_argument(
        "--monolingual", action="append", metavar="FILE",
        help="[NAME=]FILE: one sentence a line, no links; again for each text",
    )  # fmt: skip
    text.add_argument(
        "--columns", metavar="S,T",
        help="source and target of tab-separated files, from 1 (default: 1,2, where the first line "
        "has a tab and no '|||')",
    )  # fmt: skip
    text.add_argument(
        "--limit", type=int, metavar="N", help="the first N pairs or lines of each text"
    )
    text.add_argument(
        "--heldout", type=int, default=default.heldout, metavar="N",
        help="pairs or lines of each text kept out of training, at most a tenth (%(default)s)",
    )  # fmt: skip
    text.add_argument(
        "--seed", type=int, default=default.seed, metavar="N", help="of every choice (%(default)s)"
    )
    words = parser.add_argument_group("words and links")
    words.add_argument(
        "--words", choices=SEGMENTERS, default=default.words,
        help="what is aligned: bert splits raw text, blanks takes it as it is (%(default)s)",
    )  # fmt: skip
    words.add_argument(
        "--lowercase", action=argparse.BooleanOptionalAction, default=default.lowercase,
        help="for the aligner only",
    )  # fmt: skip
    words.add_argument(
        "--aligner", choices=MODELS, default=default.aligner,
        help="hmm has far fewer wrong links, fast-align is the paper's (%(default)s)",
    )  # fmt: skip
    words.add_argument(
        "--heuristic", choices=(POSTERIOR, *HEURISTICS), metavar="METHOD",
        help=f"how its two directions are combined: {POSTERIOR} (hmm alone, and its default), "
        f"{', '.join(HEURISTICS)} (fast-align's default)",
    )  # fmt: skip
    words.add_argument(
        "--posteriors", action=argparse.BooleanOptionalAction, default=default.posteriors,
        help="keep the posterior probability of each link too",
    )  # fmt: skip
    tokens = parser.add_argument_group("tokens")
    tokens.add_argument(
        "--tokenizer", type=path_or_name, metavar="NAME",
        help="hub name, directory or cased WordPiece vocab.txt",
    )  # fmt: skip
    tokens.add_argument(
        "--max-length", type=int, default=default.max_length, metavar="N",
        help="tokens of a pair, or of a line alone, with special tokens (%(default)s)",
    )  # fmt: skip
    tokens.add_argument(
        "--overlong", choices=OVERLONG, default=default.overlong,
        help="longer ones are dropped, or truncated with their links (%(default)s)",
    )  # fmt: skip


def settings_of(options: argparse.Namespace) -> PrepareSettings:
    return PrepareSettings(
        words=options.words,
        lowercase=options.lowercase,
        aligner=options.aligner,
        heuristic=options.heuristic,
        posteriors=options.posteriors,
        max_length=options.max_length,
        overlong=options.overlong,
        heldout=options.heldout,
        seed=options.seed,
    )


def sources_of(options: argparse.Namespace) -> list[Source]:
    if getattr(options, "prepared", None):
        return []
    columns = parse_columns(options.columns)
    if columns and not any(len(files) == 1 for files in options.bitext or []):
        raise InputError("--columns: there is no --bitext of one tab-separated file")
    return [
        *(parse_bitext(files, columns, options.limit) for files in options.bitext or []),
        *(parse_monolingual(file, options.limit) for file in options.monolingual or []),
    ]


def text_settings() -> set[str]:
    """The names of the settings that say what is prepared and how."""
    parser = Parser("weam_ext.prepare", None)
    add_arguments(parser)
    return set(vars(parser.parse_args([])))


def settings_had(description: dict[str, Any]) -> dict[str, Any]:
    """What the flags of a preparation were, but for its files and its seed.

    `columns` and `limit` are None where the texts do not agree in them.
    """
    texts = description["corpora"]
    columns = {"{},{}".format(*text["columns"]) for text in texts if text["columns"]}
    limits = {text["limit"] for text in texts}
    had = {**description["settings"], "columns": _sole(columns), "limit": _sole(limits)}
    had["heuristic"] = Aligner(model=had["aligner"], heuristic=had["heuristic"]).heuristic
    del had["seed"]
    return had


def _sole(values: set[Any]) -> Any:
    return values.pop() if len(values) == 1 else None


def check_values(options: argparse.Namespace) -> None:
    """Raise `InputError` for values that no flag takes, wherever they were given."""
    for name, value in vars(options).items():
        flag = f"--{name.replace('_', '-')}"
        for each in _flat(value):
            if isinstance(each, int | float) and not abs(each) < 1 << 31:  # nor NaN
                raise InputError(f"{flag} must be a number below 2^31, not {each}")
            if isinstance(each, str | Path) and ("\0" in str(each) or not str(each).strip()):
                raise InputError(f"{flag} must be a name, not {str(each)!r}")
    if options.limit is not None and options.limit < 1:
        raise InputError("--limit must be at least 1")
    if options.workers is not None and options.workers > _SANE_WORKERS:
        raise InputError(f"--workers must be at most {_SANE_WORKERS:,}")


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for each in value:
            yield from _flat(each)
    else:
        yield value


def _parser() -> Parser:
    parser = Parser("weam_ext.prepare", __doc__.split("\n")[0])
    add_arguments(parser)
    work = parser.add_argument_group("output and work")
    work.add_argument("--output", required=True, type=user_path, metavar="DIR",
                      help="a new directory")  # fmt: skip
    work.add_argument(
        "--workers", type=int, metavar="N",
        help="processes that tokenise and threads that align, of each rank; no matter for the "
        f"result (the processors there are, at most {MOST_WORKERS})",
    )  # fmt: skip
    work.add_argument(
        "--max-memory", metavar="SIZE",
        help="for the aligner, such as 2G; beyond it, temporary files (80 %% of what is free)",
    )  # fmt: skip
    return parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    options = _parser().parse_args(arguments)
    check_values(options)
    if not (options.bitext or options.monolingual) or not options.tokenizer:
        raise InputError("--bitext or --monolingual, and --tokenizer are needed")
    if options.workers is not None and options.workers < 1:
        raise InputError("--workers must be at least 1")
    return options


def _memory(size: str | None) -> int | None:
    try:
        return None if size is None else parse_size(size)
    except InputError as error:
        raise InputError(f"--max-memory: {error}") from error


def main(arguments: Sequence[str] | None = None) -> None:
    with Ranks.of_environment() as ranks:
        with ranks.together():
            options = parse(arguments)
            sources, settings = sources_of(options), settings_of(options)
            memory = _memory(options.max_memory)
            tokenizer = load_tokenizer(options.tokenizer)
        prepare(
            sources,
            tokenizer,
            options.output,
            settings,
            workers=options.workers or default_workers(ranks),
            max_memory=memory,
            ranks=ranks,
        )
        if ranks.first:
            print(options.output)
