"""Evaluate encoders zero-shot, on sentence retrieval: `python -m weam_ext.transfer`.

    python -m weam_ext.transfer --models weam=runs/a/step-00001000,runs/b/step-00001000 \
        mbert=mbert --bitext tatoeba=test.en test.fr --bitext ntrex.tsv --output scores

Several directories of one name are pre-training seeds of one model. The records are added to
`results.jsonl` in the output directory; what is there already is not computed again. Then
`python -m weam_ext.report scores` makes a report of them.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from weam_ext.corpus import parse_bitext, parse_columns
from weam_ext.errors import InputError, Parser, run, say
from weam_ext.transfer.encoder import Encoder, encoder_digest
from weam_ext.transfer.results import Results, RetrievalResult, RetrievalRun
from weam_ext.transfer.retrieval import RetrievalPairs, evaluate, read_pairs


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser(
        "weam_ext.transfer",
        (__doc__ or "").partition("\n\n")[0],
    )
    parser.add_argument(
        "--models", nargs="+", action="extend", required=True, metavar="NAME=DIR[,DIR...]",
        help="Hugging Face encoders; several directories are pre-training seeds of one model",
    )  # fmt: skip
    parser.add_argument(
        "--bitext", nargs="+", action="append", required=True, metavar="FILE",
        help="[NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated lines, or two "
        "line-aligned files; plain or compressed; again for each language pair",
    )  # fmt: skip
    parser.add_argument(
        "--columns", default="1,2", metavar="S,T", help="of tab-separated lines (%(default)s)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="the first N pairs of each bitext")
    parser.add_argument(
        "--output", required=True, type=Path, metavar="DIR", help="what it holds is kept"
    )
    parser.add_argument(
        "--max-length", type=int, default=128, metavar="N",
        help="tokens of a sentence with its special tokens; more are cut off (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--batch-size", type=int, default=64, metavar="N", help="sentences (%(default)s)"
    )
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)"
    )
    parser.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto",
        help="auto: bf16 autocast on a GPU, else fp32 (%(default)s)",
    )  # fmt: skip
    options = parser.parse_args(arguments)
    for name, least in (("max_length", 8), ("batch_size", 1)):
        if getattr(options, name) < least:
            raise InputError(f"--{name.replace('_', '-')} must be at least {least}")
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {options.device}: {str(error).splitlines()[0]}") from error
    if options.precision == "auto":
        options.precision = "bf16" if torch.device(options.device).type == "cuda" else "fp32"
    return options


def parse_models(arguments: Sequence[str]) -> dict[str, list[Path]]:
    """The command line's `--models NAME=DIR[,DIR...] ...`."""
    models: dict[str, list[Path]] = {}
    for argument in arguments:
        name, _, directories = argument.partition("=")
        if not name or not all(directories.split(",")):
            raise InputError(f"--models {argument}: expected NAME=DIR[,DIR...]")
        if name in models:
            raise InputError(f"two models are called {name!r}: join their directories by commas")
        models[name] = [Path(directory) for directory in directories.split(",")]
    return models


def digests(models: dict[str, list[Path]]) -> dict[tuple[str, Path], str]:
    """What identifies every directory; `InputError` for a seed given twice."""
    found: dict[tuple[str, Path], str] = {}
    for name, directories in models.items():
        seeds: dict[str, Path] = {}
        for directory in directories:
            digest = encoder_digest(directory)
            if digest in seeds:
                raise InputError(
                    f"{directory}: the same encoder as {seeds[digest]}, not another seed of {name}"
                )
            seeds[digest] = directory
            found[name, directory] = digest
    return found


def bitexts_of(options: argparse.Namespace) -> list[RetrievalPairs]:
    columns = parse_columns(options.columns)
    sources = [parse_bitext(files, columns, options.limit) for files in options.bitext]
    names = [source.name for source in sources]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two bitexts are called {name!r}: write --bitext NAME=FILE")
    return [read_pairs(source) for source in sources]


def describe_results(results: Sequence[RetrievalResult]) -> str:
    """Accuracies of all layers from 0 up, raw and centred, in percent."""

    def percent(centred: bool) -> str:
        layers = [result for result in results if result.centred == centred]
        return " ".join(f"{100 * result.accuracy:.1f}" for result in layers)

    return f"raw {percent(False)}, centred {percent(True)} % by layer, {results[0].pairs:,} pairs"


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it reports of a loaded model is checked
    options = parse(arguments)
    encoders = digests(parse_models(options.models))
    bitexts = bitexts_of(options)
    results = Results(options.output)
    for (name, directory), digest in encoders.items():
        encoder = None
        for bitext in bitexts:
            wanted = RetrievalRun(
                model=name,
                model_sha256=digest,
                bitext=bitext.name,
                bitext_sha256=bitext.sha256,
                max_length=options.max_length,
                precision=options.precision,
            )
            if results.has(wanted):
                say(f"{name}, {directory}, {bitext.name}: already there")
                continue
            if encoder is None:
                encoder = Encoder(directory, options.max_length, options.device, options.precision)
            found = evaluate(encoder, wanted, bitext, options.batch_size)
            results.append(found)
            say(f"{name}, {directory}, {bitext.name}: {describe_results(found)}")
    print(results.path)


if __name__ == "__main__":
    run("weam_ext.transfer", main)
