"""The command line of a run, its checks, and the settings that identify it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from weam_ext.batch import LINKS
from weam_ext.errors import InputError, Parser
from weam_ext.mask import POLICIES, UNITS, check_shares
from weam_ext.objectives import OBJECTIVES, objective
from weam_ext.prepare import add_arguments
from weam_ext.words import LINK_MODES

BUILTIN_STEPS = 800
# The paper's; usual for small models; the best of 1e-3, 2e-3 and 3e-3 on the built-in corpus (at
# 3e-3 the run with shuffled links learns nothing).
LR_PRETRAINED, LR_SCRATCH, LR_BUILTIN = 5e-5, 1e-3, 2e-3
# What does not change a single number of the run, and so may differ when it is resumed.
PLACES = ("output", "config", "resume", "keep", "tensorboard", "log_every")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's settings; `--config` gives defaults that other flags override."""
    parser = Parser(
        "weam_ext.train",
        "Train a multilingual encoder on parallel text; without arguments, a small "
        "BERT on the built-in corpus.",
    )
    add_arguments(parser)
    data = parser.add_argument_group("built-in corpus, used without --bitext and --prepared")
    data.add_argument(
        "--builtin-pairs", type=int, default=4000, metavar="N",
        help="sentence pairs of each invented language (%(default)s)",
    )  # fmt: skip
    model = parser.add_argument_group("model and objective")
    model.add_argument("--model", metavar="NAME", help="hub name or directory to go on from")
    model.add_argument("--model-config", metavar="JSON", help="of a model from scratch")
    model.add_argument(
        "--objective", default="weam", metavar="NAME", help=f"{', '.join(OBJECTIVES)} (%(default)s)"
    )
    model.add_argument(
        "--exchange-weight", type=float, default=1.0, metavar="LAMBDA",
        help="weight of the cross-lingual prediction (%(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--mask-probability", type=float, default=0.3, metavar="P", help="of a token (%(default)s)"
    )
    model.add_argument(
        "--masking", choices=POLICIES, default="independent",
        help="exclusive: never both ends of a link, so that fewer are masked: of the tokens with d "
        "links the share (1 - (1 - P)^(d + 1)) / (d + 1), 0.255 for P = 0.3 and d = 1 "
        "(%(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--mask-unit", choices=UNITS, default="token",
        help="what is masked as a whole; a span has 1 to 10 words, 3.8 in the mean (%(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--mask-exact", action="store_true",
        help="the same share of the tokens (words) of every sequence, not P in the mean",
    )  # fmt: skip
    model.add_argument(
        "--mask-shares", type=float, nargs=3, default=[0.8, 0.1, 0.1],
        metavar=("MASK", "RANDOM", "KEEP"),
        help="of the masked tokens, how many become [MASK], become a random token, stay "
        "(0.8 0.1 0.1)",
    )  # fmt: skip
    model.add_argument(
        "--links", choices=LINKS, default="true",
        help="the controls: shuffled permutes the target words, random links any words, as many "
        "as there were (%(default)s)",
    )  # fmt: skip
    model.add_argument(
        "--link-mode", choices=LINK_MODES, default="all",
        help="how word links become token links (%(default)s)",
    )  # fmt: skip
    loop = parser.add_argument_group("training")
    loop.add_argument(
        "--prepared", type=Path, metavar="DIR", help="what weam_ext.prepare made, for --bitext"
    )
    loop.add_argument(
        "--steps", type=int, metavar="N",
        help=f"default: one pass over the pairs; {BUILTIN_STEPS} on the built-in corpus",
    )  # fmt: skip
    loop.add_argument("--batch-size", type=int, default=32, metavar="N", help="pairs (%(default)s)")
    loop.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="batches a step (%(default)s)"
    )
    loop.add_argument(
        "--lr", type=float,
        help=f"at its peak; default {LR_PRETRAINED}, from scratch {LR_SCRATCH}, for the built-in "
        f"model {LR_BUILTIN}",
    )  # fmt: skip
    loop.add_argument("--warmup", type=float, default=0.1, help="share of the steps (%(default)s)")
    loop.add_argument("--weight-decay", type=float, default=0.01, help="of AdamW (%(default)s)")
    loop.add_argument("--clip", type=float, default=1.0, help="largest gradient norm (%(default)s)")
    loop.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)"
    )
    loop.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto",
        help="auto: bf16 autocast on a GPU, else fp32 (%(default)s)",
    )  # fmt: skip
    keep = parser.add_argument_group("output")
    keep.add_argument(
        "--output", type=Path, metavar="DIR", help="default: weam-out/NAME after the settings"
    )
    keep.add_argument(
        "--resume", choices=("auto", "never"), default="auto",
        help="go on with the run in --output, or leave it alone (%(default)s)",
    )  # fmt: skip
    for name in ("eval", "save"):
        keep.add_argument(
            f"--{name}-every", type=int, metavar="N", help="steps; default a tenth of the run"
        )
    keep.add_argument(
        "--keep", type=int, default=2, metavar="N", help="last checkpoints (%(default)s)"
    )
    keep.add_argument("--log-every", type=int, default=1, metavar="N", help="steps (%(default)s)")
    keep.add_argument(
        "--no-tensorboard", dest="tensorboard", action="store_false", help="JSON lines only"
    )
    keep.add_argument(
        "--config", type=Path, metavar="YAML", help="settings, as a run writes them to run.yaml"
    )
    options = parser.parse_args(arguments)
    if options.config:
        parser.set_defaults(**read_config(options.config, set(vars(options))))
        options = parser.parse_args(arguments)
    _check(options)
    return options


def read_config(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected settings, one 'name: value' a line")
    if unknown := sorted(set(values) - known):
        raise InputError(f"{path}: unknown setting {unknown[0]!r}")
    return values


def _check(options: argparse.Namespace) -> None:
    objective(options.objective)
    for name in ("batch_size", "accumulate", "keep", "log_every", "builtin_pairs"):
        _require(options, name, getattr(options, name) >= 1, "at least 1")
    for name in ("steps", "eval_every", "save_every"):
        _require(
            options,
            name,
            getattr(options, name) is None or getattr(options, name) >= 1,
            "at least 1",
        )
    _require(options, "mask_probability", 0 < options.mask_probability < 1, "between 0 and 1")
    check_shares(options.mask_shares)
    if options.masking == "exclusive" and not objective(options.objective).pair:
        raise InputError("--masking exclusive needs pairs with links: --objective tlm or weam")
    _require(options, "warmup", 0 <= options.warmup <= 1, "from 0 to 1")
    _require(options, "lr", options.lr is None or options.lr > 0, "above 0")
    for name in ("exchange_weight", "weight_decay"):
        _require(options, name, getattr(options, name) >= 0, "at least 0")
    _require(options, "seed", 0 <= options.seed < 1 << 31, "from 0 to 2^31 - 1")
    _require(options, "clip", options.clip > 0, "above 0")
    if options.model and options.model_config:
        raise InputError(
            "--model goes on from a model, --model-config starts one: give one of them"
        )
    if options.prepared and (options.bitext or options.monolingual):
        raise InputError("--prepared names the data already: leave out --bitext and --monolingual")
    if not builtin(options) and not (options.model or options.model_config):
        raise InputError("--model or --model-config is needed with your own text")
    if options.model_config and not options.tokenizer:
        raise InputError("--tokenizer is needed with --model-config")
    try:
        torch.empty(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {options.device}: {str(error).splitlines()[0]}") from error


def _require(options: argparse.Namespace, name: str, valid: bool, expected: str) -> None:
    if not valid:
        raise InputError(f"--{name.replace('_', '-')} must be {expected}")


def identity(options: argparse.Namespace) -> dict[str, Any]:
    """The settings that decide what the run computes, as they go into run.yaml."""
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in sorted(vars(options).items())
        if name not in PLACES
    }


def builtin(options: argparse.Namespace) -> bool:
    """Whether the run is on the built-in corpus."""
    return not (options.bitext or options.monolingual or options.prepared)
