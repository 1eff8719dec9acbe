"""Evaluate encoders on downstream tasks: `python -m weam_ext.transfer`.

    python -m weam_ext.transfer --data DATA --output scores --seeds 5 \
        --models mbert=mbert weam=runs/a/step-00001000,runs/b/step-00001000 \
        --tasks xnli mlqa udpos udpos-probe tatoeba alignment --languages en de fr sw

Several directories of one name are pre-training seeds of one model. Every model is fine-tuned on
each task's English examples and predicts all languages; a grid of models, tasks, settings and seeds
that goes on where it stopped, and that several processes (or torchrun) share. The predictions lie
in OUTPUT/cells; `python -m weam_ext.report OUTPUT` makes a page of them.
"""

import argparse
import importlib.util
import os
from collections.abc import Sequence

import torch
from transformers.utils import logging as transformers_logging

from weam_ext.common.errors import InputError, Parser, say
from weam_ext.common.files import user_path
from weam_ext.transfer.finetune import parse_setting
from weam_ext.transfer.grid import run_grid
from weam_ext.transfer.jobs import FROZEN, PROBES, jobs_of
from weam_ext.transfer.robust import WAYS
from weam_ext.transfer.tasks import TASKS

# ----------------------------------------------------------------------------------- command line


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("weam_ext.transfer", (__doc__ or "").partition("\n\n")[0])
    what = parser.add_argument_group("what is evaluated")
    what.add_argument(
        "--models", nargs="+", action="extend", required=True, metavar="NAME=DIR[,DIR...]",
        help="Hugging Face encoders; several directories are pre-training seeds of one model",
    )  # fmt: skip
    what.add_argument(
        "--tasks", nargs="+", default=[], metavar="TASK", choices=(*TASKS, *FROZEN),
        help=f"fine-tuned: {', '.join(TASKS)}; frozen: {', '.join(FROZEN)} (bitext: what --bitext "
        "names)",
    )  # fmt: skip
    what.add_argument("--data", type=user_path, metavar="DIR", help="the data sets, as published")
    what.add_argument(
        "--hub", action="store_true",
        help="fine-tuned tasks by their names on the Hugging Face hub (needs the datasets library)",
    )  # fmt: skip
    what.add_argument(
        "--languages", nargs="+", metavar="CODE",
        help="to test on, as far as a task has them (default: all that it has)",
    )  # fmt: skip
    what.add_argument("--source", default="en", metavar="CODE", help="to train on (%(default)s)")
    what.add_argument(
        "--bitext", nargs="+", action="append", default=[], metavar="FILE",
        help="for retrieval: [NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated "
        "lines, or two line-aligned files; again for each language pair",
    )  # fmt: skip
    what.add_argument("--columns", metavar="S,T", help="of tab-separated lines (the first two)")
    what.add_argument(
        "--gold", nargs="+", default=[], metavar="SET",
        help="for alignment: of the folders wa-SET those to use (default: all)",
    )  # fmt: skip
    how = parser.add_argument_group("protocol")
    how.add_argument(
        "--settings", nargs="+", default=["zero-shot"], metavar="SETTING",
        help="zero-shot, translate-train (one model a language), translate-train-all, few-shot-K "
        "(%(default)s)",
    )  # fmt: skip
    how.add_argument(
        "--seeds", type=int, default=5, metavar="N", help="of fine-tuning (%(default)s)"
    )
    how.add_argument(
        "--train-on-dev", action="store_true",
        help="where a task has no training set: train on a part of its development set",
    )  # fmt: skip
    for name, meaning in (("train", "train on"), ("select", "select on"), ("test", "test on")):
        how.add_argument(
            f"--{name}-limit", type=int, metavar="N", help=f"the most examples to {meaning}"
        )
    robust = parser.add_argument_group("robustness")
    robust.add_argument(
        "--noise", nargs="+", default=[], metavar="KIND=P[,P...]",
        help="predict distorted text too: typos, case, accents, code-switch, synonyms, at the "
        "share P of the words",
    )  # fmt: skip
    robust.add_argument(
        "--lexicon", nargs="+", default=[], metavar="CODE=FILE",
        help="what weam-align --lexicon wrote of English to CODE; for code-switch and synonyms",
    )  # fmt: skip
    robust.add_argument(
        "--fine-tuning", nargs="+", default=["plain"], choices=WAYS, metavar="WAY",
        help=f"rivals of each other: {', '.join(WAYS)} (%(default)s)",
    )  # fmt: skip
    robust.add_argument(
        "--radius", type=float, default=0.1, metavar="R",
        help="of a perturbation, relative to the embedding's length (%(default)s)",
    )  # fmt: skip
    numbers = parser.add_argument_group("optimisation (default: XTREME's for each task)")
    for name, kind, meaning in (
        ("learning-rate", float, "at its peak"),
        ("epochs", float, "passes over the training set"),
        ("max-length", int, "tokens of an input with its special tokens"),
        ("batch-size", int, "examples; of frozen tasks, sentences"),
    ):
        numbers.add_argument(f"--{name}", type=kind, metavar="N", help=meaning)
    numbers.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:N; auto takes a GPU (%(default)s)"
    )
    numbers.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto",
        help="auto: bf16 autocast on a GPU, else fp32 (%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--output", required=True, type=user_path, metavar="DIR", help="what it holds is kept"
    )
    options = parser.parse_args(arguments)
    return _checked(options)


def _checked(options: argparse.Namespace) -> argparse.Namespace:
    if options.bitext and "bitext" not in options.tasks:
        options.tasks.append("bitext")
    if not options.tasks:
        raise InputError("nothing to do: give --tasks or --bitext")
    if "bitext" in options.tasks and not options.bitext:
        raise InputError("--tasks bitext needs --bitext")
    if options.data is None and set(options.tasks) - {"bitext"} and not options.hub:
        raise InputError("--data is needed: the directory with the data sets")
    if options.data is not None and not options.data.is_dir():
        raise InputError(f"--data {options.data}: no such directory")
    _check_installed(options.tasks)
    least = {"seeds": 1, "train_limit": 1, "select_limit": 1, "test_limit": 1, "batch_size": 1,
             "max_length": 8}  # fmt: skip
    for name, smallest in least.items():
        if (value := getattr(options, name)) is not None and value < smallest:
            raise InputError(f"--{name.replace('_', '-')} must be at least {smallest}")
    for name in ("learning_rate", "epochs", "radius"):
        if (value := getattr(options, name)) is not None and not 0 < value < float("inf"):
            raise InputError(f"--{name.replace('_', '-')} must be above 0")
    options.device = _one_device(options.device)
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {options.device}: {str(error).splitlines()[0]}") from error
    if options.precision == "auto":
        options.precision = "bf16" if torch.device(options.device).type == "cuda" else "fp32"
    options.settings = [parse_setting(text) for text in options.settings]
    return options


def _check_installed(tasks: Sequence[str]) -> None:
    """Retrieval and alignment need nothing but the base; what else is missing is told at once."""
    needed = {"accelerate", "scipy"} if set(tasks) & set(TASKS) else set()
    if set(tasks) & {"udpos", "panx", *PROBES}:
        needed |= {"seqeval"}
    if set(tasks) & set(PROBES):
        needed |= {"sklearn"}
    for name in sorted(needed):
        if importlib.util.find_spec(name) is None:
            raise InputError(f"needs {name}: pip install 'weam-ext[transfer]'")


def _one_device(wanted: str) -> str:
    """The device, and no other GPU in sight: the Trainer would spread a model over all it sees."""
    count = torch.cuda.device_count() if wanted.startswith(("auto", "cuda")) else 0
    if not count:
        return "cpu" if wanted == "auto" else wanted
    own = int(os.environ.get("LOCAL_RANK", "0")) % count
    if wanted.startswith("cuda:"):
        own = int(wanted[5:]) if wanted[5:].isdecimal() else count
        if own >= count:
            raise InputError(f"--device {wanted}: there are {count} GPUs, counted from 0")
    visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(count)))
    os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[own]
    return "cuda"


# ------------------------------------------------------------------------------------------- main


def main(arguments: Sequence[str] | None = None) -> None:
    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()  # what it reports of a loaded model is checked
    options = parse(arguments)
    rank, ranks = (int(os.environ.pop(name, default)) for name, default in
                   (("RANK", "0"), ("WORLD_SIZE", "1")))  # fmt: skip
    # Cells are shared out, not split: the Trainer must not see torchrun's process group.
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name, None)
    jobs = list(jobs_of(options))
    tally = run_grid(jobs, options.output, rank, ranks)
    say(
        f"{len(jobs)} cells: {tally.made} made, {tally.there} there already, "
        f"{tally.elsewhere} held by others, {len(tally.failed or ())} failed"
    )
    print(options.output)
    if tally.failed:
        raise InputError(
            f"{len(tally.failed)} of {len(jobs)} cells failed; the first, "
            f"{tally.failed[0].cell.name}: {tally.failed[0].reason}"
        )
