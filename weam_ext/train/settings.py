"""The command line of a run, its checks, and the settings that identify it."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from weam_ext.common.errors import InputError, Parser
from weam_ext.common.files import path_or_name, user_path
from weam_ext.data.collate import LINKS, PIVOT
from weam_ext.data.shards import read_description
from weam_ext.data.token_links import LINK_MODES
from weam_ext.ops.constants import POLICIES, UNITS
from weam_ext.ops.mask import check_shares
from weam_ext.prepare.cli import (
    add_arguments,
    check_values,
    settings_had,
    settings_of,
    sources_of,
    text_settings,
)
from weam_ext.train.objectives import HEADS, OBJECTIVES, WEAM, objective
from weam_ext.train.optimizer import SCHEDULES
from weam_ext.train.parallel import own_device

BUILTIN_STEPS = 800
# The paper's; usual for small models; the best of 1e-3, 2e-3 and 3e-3 on the built-in corpus (at
# 3e-3 the run with shuffled links learns nothing).
LR_PRETRAINED, LR_SCRATCH, LR_BUILTIN = 5e-5, 1e-3, 2e-3
# Where things go and how they are computed, not what: these may differ when a run is resumed.
PLACES = (
    "output", "config", "resume", "keep", "tensorboard", "wandb", "log_every", "eval_every",
    "save_every", "workers", "parallel", "compile", "gradient_checkpointing", "peak_tflops",
    "license", "data_license",
)  # fmt: skip


CONTENT = "content"
"""Of run.yaml: what the files hold. No setting: a configuration may have it."""

_TEXTS = ("bitext", "monolingual")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line's settings; `--config` gives defaults that other flags override.

    With `--prepared`, the settings of the text are those that the preparation has.
    """
    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = parser.parse_args(given)
    if options.config:
        values = read_config(options.config, set(vars(options)))
        given = [*_as_flags(_not_overridden(values, options)), *given]
        options = parser.parse_args(given)
    options.posteriors |= options.soft_links  # which need them
    _check(options)
    if options.prepared:
        _take_prepared(options, _named(parser, given))
    return options


def _parser() -> Parser:
    parser = Parser(
        "weam_ext.train",
        "Train a multilingual encoder on parallel text; without arguments, a small "
        "BERT on the built-in corpus. Under torchrun, on as many processes as it starts.",
    )
    parser.usage = "%(prog)s [FLAG VALUE ...]"
    add_arguments(parser)
    for add in (_add_model, _add_objective, _add_masking, _add_order, _add_training, _add_speed,
                _add_output):  # fmt: skip
        add(parser)
    return parser


def _not_overridden(values: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """A configuration without the texts in whose place the command line names others.

    The flags of texts add up, so that those of the command line would join them.
    """
    mine = {name for name in _TEXTS if getattr(options, name)}
    others = {*_TEXTS, "prepared"} if options.prepared else mine | {"prepared"} if mine else set()
    return {name: value for name, value in values.items() if name not in others}


def _named(parser: argparse.ArgumentParser, arguments: list[str]) -> dict[str, Any]:
    """The settings of the text that a command line names."""
    parser.set_defaults(**dict.fromkeys(text_settings()))
    found = vars(parser.parse_args(arguments))
    return {name: found[name] for name in text_settings() if found[name] is not None}


def _take_prepared(options: argparse.Namespace, named: dict[str, Any]) -> None:
    """Have the settings say what the preparation has; `InputError` where they named another."""
    had = settings_had(read_description(options.prepared))
    if options.soft_links and not had["posteriors"]:
        raise InputError(
            f"{options.prepared}: no link_probability, which --soft-links needs: prepare the text "
            "with --posteriors"
        )
    for name in sorted(had.keys() & named.keys()):
        if named[name] != had[name]:
            flag = f"--{name.replace('_', '-')}"
            how = f"with {name} {had[name]}, not {named[name]}"
            if had[name] is None:
                how = f"without {flag}"
            raise InputError(
                f"{options.prepared}: was prepared {how}: leave out {flag}, or prepare the text "
                "anew"
            )
    vars(options).update(had)


def _as_flags(values: dict[str, Any]) -> Iterator[str]:
    """The command line that says the same as a configuration, so that it is checked the same."""
    for name, value in values.items():
        flag = name.replace("_", "-")
        if name in _TEXTS:
            for files in value if isinstance(value, list) else [value] if value else []:
                yield from [f"--{flag}", *map(str, files if isinstance(files, list) else [files])]
        elif isinstance(value, bool):
            yield f"--{flag}" if value else f"--no-{flag}"
        elif isinstance(value, list):
            yield from [f"--{flag}", *map(str, value)]
        elif value is not None:
            yield f"--{flag}={value}"


def _add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("model")
    group.add_argument(
        "--model", type=path_or_name, metavar="NAME",
        help="hub name or directory to go on from: BERT, XLM-R, ModernBERT and their like",
    )  # fmt: skip
    group.add_argument(
        "--model-config", type=path_or_name, metavar="JSON", help="of a model from scratch"
    )
    group.add_argument(
        "--freeze-layers", type=int, default=0, metavar="N",
        help="keep the embeddings and the first N layers as they are; 0: train all (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--layer-lr-decay", type=float, default=1.0, metavar="D",
        help="layer k of L learns at LR * D^(L - k), the embeddings at LR * D^L (%(default)s)",
    )  # fmt: skip


def _add_objective(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("objective")
    group.add_argument(
        "--objective", default="weam", metavar="NAME", help=f"{', '.join(OBJECTIVES)} (%(default)s)"
    )
    group.add_argument(
        "--exchange-weight", type=float, default=1.0, metavar="LAMBDA",
        help="weam: weight of the cross-lingual prediction; 0 is a control (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--exchange-head", choices=HEADS, default="shared",
        help="weam: of the cross-lingual prediction; separate: another transform and bias; "
        "language: one that is told the language of the answer (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--exchange-layer", type=int, metavar="K",
        help="weam: exchange the vectors of layer K of 1 .. L; default the last",
    )  # fmt: skip
    group.add_argument(
        "--encode", choices=("together", "apart"), default="together",
        help="weam: the sentences of a pair in one sequence, or each in its own (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--links", choices=LINKS, default="true",
        help="weam, word-aligned: the controls: shuffled permutes the target words, random links "
        "any words, as many as there were (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--link-mode", choices=LINK_MODES, default="all",
        help="weam: how word links become token links (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--soft-links", action=argparse.BooleanOptionalAction, default=False,
        help="weam: weigh the vectors of the links of a token by their posterior probability; "
        "implies --posteriors",
    )  # fmt: skip
    group.add_argument(
        "--regularization", type=float, default=1.0, metavar="W",
        help=f"word-aligned: weight of the distance of the '{PIVOT}' side (else the source) to the "
        "initial model (%(default)s)",
    )  # fmt: skip


def _add_masking(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("masking")
    group.add_argument(
        "--mask-probability", type=float, default=0.3, metavar="P", help="of a token (%(default)s)"
    )
    group.add_argument(
        "--masking", choices=POLICIES, default="independent",
        help="exclusive: never both ends of a link, so that fewer are masked: of the tokens with d "
        "links the share (1 - (1 - P)^(d + 1)) / (d + 1), 0.255 for P = 0.3 and d = 1 "
        "(%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--mask-unit", choices=UNITS, default="token",
        help="what is masked as a whole; a span has 1 to 10 words, 3.8 in the mean (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--mask-exact", action=argparse.BooleanOptionalAction, default=False,
        help="the same share of the tokens (words) of every sequence, not P in the mean",
    )  # fmt: skip
    group.add_argument(
        "--mask-shares", type=float, nargs=3, default=[0.8, 0.1, 0.1],
        metavar=("MASK", "RANDOM", "KEEP"),
        help="of the masked tokens, how many become [MASK], become a random token, stay "
        "(0.8 0.1 0.1)",
    )  # fmt: skip


def _add_order(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("sampling and batches")
    group.add_argument(
        "--prepared", type=user_path, metavar="DIR",
        help="what weam_ext.prepare made, for --bitext; the flags of its text then change nothing",
    )  # fmt: skip
    group.add_argument(
        "--builtin-pairs", type=int, default=4000, metavar="N",
        help="sentence pairs of each invented language, where there is no --bitext (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--temperature", type=float, default=1.0, metavar="T",
        help="a corpus of n pairs is sampled with weight n^(1/T): 1 as they come, high all alike "
        "(%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--monolingual-share", type=float, default=0.5, metavar="S",
        help="of the samples, where there is monolingual text beside bitext (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--batch-size", type=int, default=32, metavar="N",
        help="pairs of a batch, over all processes (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--batch-tokens", type=int, metavar="N",
        help="instead: as many pairs of similar length as fit N tokens, padding included",
    )  # fmt: skip
    group.add_argument(
        "--accumulate", type=int, default=1, metavar="N", help="batches a step (%(default)s)"
    )


def _add_training(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("training")
    group.add_argument(
        "--steps", type=int, metavar="N",
        help=f"default: one pass over the pairs; {BUILTIN_STEPS} on the built-in corpus",
    )  # fmt: skip
    group.add_argument(
        "--lr", type=float,
        help=f"at its peak; default {LR_PRETRAINED}, from scratch {LR_SCRATCH}, for the built-in "
        f"model {LR_BUILTIN}",
    )  # fmt: skip
    group.add_argument(
        "--schedule", choices=SCHEDULES, default="linear",
        help="of the learning rate after the warm-up (%(default)s)",
    )  # fmt: skip
    group.add_argument("--warmup", type=float, default=0.1, help="share of the steps (%(default)s)")
    group.add_argument("--weight-decay", type=float, default=0.01, help="of AdamW (%(default)s)")
    group.add_argument(
        "--betas",
        type=float,
        nargs=2,
        default=[0.9, 0.999],
        metavar="B",
        help="of AdamW (0.9 0.999)",
    )
    group.add_argument(
        "--clip", type=float, default=1.0, help="largest gradient norm (%(default)s)"
    )


def _add_speed(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("speed and scale")
    group.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)"
    )
    group.add_argument(
        "--precision", choices=("auto", "fp32", "bf16"), default="auto",
        help="auto: bf16 autocast on a GPU, else fp32 (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--parallel", choices=("ddp", "fsdp"), default="ddp",
        help="under torchrun: a whole model in every process, or its parts (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--compile", action=argparse.BooleanOptionalAction, default=False, help="with torch.compile"
    )
    group.add_argument(
        "--gradient-checkpointing", action=argparse.BooleanOptionalAction, default=False,
        help="keep no layer's inner values for the backward pass: less memory, a third slower",
    )  # fmt: skip
    group.add_argument(
        "--workers", type=int, default=2 if torch.cuda.is_available() else 0, metavar="N",
        help="processes that make batches ahead, for each training process (%(default)s)",
    )  # fmt: skip
    group.add_argument(
        "--peak-tflops", type=float, metavar="X",
        help="of one device, for the MFU; default what is known of the GPU",
    )  # fmt: skip


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("output")
    group.add_argument(
        "--output", type=user_path, metavar="DIR", help="default: weam-out/NAME after the settings"
    )
    group.add_argument(
        "--resume", choices=("auto", "never"), default="auto",
        help="go on with the run in --output, or leave it alone (%(default)s)",
    )  # fmt: skip
    for name in ("eval", "save"):
        group.add_argument(
            f"--{name}-every", type=int, metavar="N", help="steps; default a tenth of the run"
        )
    group.add_argument(
        "--keep", type=int, default=2, metavar="N",
        help="last checkpoints; the one with the best held-out loss stays too (%(default)s)",
    )  # fmt: skip
    group.add_argument("--log-every", type=int, default=1, metavar="N", help="steps (%(default)s)")
    group.add_argument(
        "--tensorboard",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="beside the JSON lines",
    )
    group.add_argument(
        "--wandb", metavar="PROJECT", help="also to Weights & Biases, which must be installed"
    )
    group.add_argument(
        "--license", default="other", metavar="ID", help="of the checkpoints, for their model card"
    )
    group.add_argument(
        "--data-license", default="not stated", metavar="TEXT", help="of the text, for the card"
    )
    group.add_argument(
        "--config",
        type=user_path,
        metavar="YAML",
        help="settings, as a run writes them to run.yaml",
    )


def read_config(path: Path, known: set[str]) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected settings, one 'name: value' a line")
    values.pop(CONTENT, None)
    if unknown := sorted(map(str, set(values) - known)):
        raise InputError(f"{path}: unknown setting {unknown[0]!r}")
    return values


def _check(options: argparse.Namespace) -> None:
    check_values(options)
    _check_numbers(options)
    settings_of(options)  # which refuse what they do not know
    sources_of(options)
    kind = objective(options.objective)
    check_shares(options.mask_shares)
    apart = not kind.LAYOUT.together or (kind is WEAM and options.encode == "apart")
    if options.masking == "exclusive" and not kind.LAYOUT.linked:
        raise InputError("--masking exclusive needs pairs with links: --objective tlm or weam")
    if options.masking == "exclusive" and apart and options.mask_exact:
        raise InputError("--masking exclusive with --mask-exact needs --encode together")
    if options.soft_links and kind is not WEAM:
        raise InputError("--soft-links weighs the word exchange: --objective weam")
    if options.monolingual and not kind.masks:
        raise InputError(
            f"--monolingual text cannot be learned with --objective {options.objective}"
        )
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
    if options.wandb and not find_spec("wandb"):
        raise InputError("--wandb needs Weights & Biases: pip install wandb")
    try:
        # A meta device has no values: it fails here.
        torch.zeros(1, device=own_device(options.device)).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {options.device}: {str(error).splitlines()[0]}") from error


def _check_numbers(options: argparse.Namespace) -> None:
    for name in ("accumulate", "keep", "log_every", "builtin_pairs"):
        _require(options, name, getattr(options, name) >= 1, "at least 1")
    for name, most in (("batch_size", 1 << 20), ("batch_tokens", 1 << 26)):  # windows hold 32
        given = getattr(options, name)
        _require(options, name, given is None or 1 <= given <= most, f"from 1 to {most:,}")
    for name in ("steps", "eval_every", "save_every", "exchange_layer"):
        given = getattr(options, name)
        _require(options, name, given is None or given >= 1, "at least 1")
    for name in ("lr", "peak_tflops"):
        given = getattr(options, name)
        _require(options, name, given is None or given > 0, "above 0")
    for name in ("exchange_weight", "weight_decay", "regularization", "freeze_layers", "workers"):
        _require(options, name, getattr(options, name) >= 0, "at least 0")
    for name in ("mask_probability", "monolingual_share"):
        _require(options, name, 0 < getattr(options, name) < 1, "between 0 and 1")
    _require(options, "warmup", 0 <= options.warmup <= 1, "from 0 to 1")
    _require(options, "layer_lr_decay", 0 < options.layer_lr_decay <= 1, "above 0 and at most 1")
    _require(options, "temperature", options.temperature > 0, "above 0")
    _require(options, "betas", all(0 <= b < 1 for b in options.betas), "at least 0 and below 1")
    _require(options, "seed", 0 <= options.seed < 1 << 31, "from 0 to 2^31 - 1")
    _require(options, "clip", options.clip > 0, "above 0")


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
