"""The settings of a run: its flags, its YAML, and what identifies it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml

from weam_ext.common.errors import InputError, Parser
from weam_ext.common.files import path_or_name
from weam_ext.common.settings import (
    Rule,
    Settings,
    above,
    add_flags,
    at_least,
    between,
    converted,
    flag,
    given,
    option,
    within,
)
from weam_ext.data.shards import read_description
from weam_ext.model.attention import PADDING
from weam_ext.ops.constants import UNITS
from weam_ext.ops.mask import MASKING_POLICIES, check_shares
from weam_ext.prepare.settings import Source, TextSettings, settings_had
from weam_ext.train.objectives import OBJECTIVES, WEAM, ObjectiveSettings
from weam_ext.train.optimizer import PRECISIONS, SCHEDULES
from weam_ext.train.parallel import MODES, own_device

BUILTIN_STEPS = 800
# The paper's; usual for small models; the best of 1e-3, 2e-3 and 3e-3 on the built-in corpus (at
# 3e-3 the run with shuffled links learns nothing).
LR_PRETRAINED, LR_SCRATCH, LR_BUILTIN = 5e-5, 1e-3, 2e-3
GPU_BATCH_TOKENS = 32768
"""A step of 32 pairs keeps a GPU waiting for the processor."""
CONTENT = "content"
"""Of run.yaml: what the files hold. No setting: a configuration may have it."""
_TEXTS = ("bitext", "monolingual", "prepared")


@dataclass(frozen=True)
class _Model(Settings, group="model"):
    model: str | None = option(
        None,
        "The model to go on from, a name on the hub or a directory: BERT, XLM-R, ModernBERT and "
        "their like.",
        parse=path_or_name,
        metavar="NAME",
    )
    model_config: str | None = option(
        None,
        "The configuration (JSON) of a model to train from scratch.",
        parse=path_or_name,
        metavar="JSON",
    )
    freeze_layers: int = option(
        0,
        "Keep the embeddings and the first N layers as they are; with 0, all are trained.",
        rule=at_least(0),
    )
    layer_lr_decay: float = option(
        1.0,
        "Layer k of L learns at LR * D^(L - k), and the embeddings at LR * D^L.",
        rule=Rule(lambda d: 0 < d <= 1, "above 0 and at most 1"),
        metavar="D",
    )


@dataclass(frozen=True)
class _Masking(Settings, group="masking"):
    mask_probability: float = option(
        0.3, "The probability that a token is masked.", rule=between(0, 1), metavar="P"
    )
    masking: str = option(
        "independent",
        "Which tokens may be masked together. exclusive: never both ends of a link, so that fewer "
        "are masked; of the tokens with d links the share (1 - (1 - P)^(d + 1)) / (d + 1), which "
        "is 0.255 for P = 0.3 and d = 1.",
        choices=MASKING_POLICIES,
    )
    mask_unit: str = option(
        "token",
        "What is masked as a whole; a span has 1 to 10 words, 3.8 in the mean.",
        choices=UNITS,
    )
    mask_exact: bool = option(
        False,
        "Mask the same share of the tokens (or words) of every sequence, and not P in the mean.",
    )
    mask_shares: tuple[float, float, float] = option(
        (0.8, 0.1, 0.1),
        "Of the masked tokens, the shares that become [MASK], become a random token, and stay.",
        metavar=("MASK", "RANDOM", "KEEP"),
    )


@dataclass(frozen=True)
class _Batches(Settings, group="sampling and batches"):
    prepared: Path | None = option(
        None,
        "A directory that weam_ext.prepare made, in place of --bitext and --monolingual. The "
        "settings of its text are then the run's.",
        metavar="DIR",
    )
    builtin_pairs: int = option(
        4000,
        "How many sentence pairs of each invented language there are, without text of your own.",
        rule=at_least(1),
    )
    temperature: float = option(
        1.0,
        "A corpus of n pairs is sampled with weight n^(1/T): with 1 as they come, with a high T "
        "all alike.",
        rule=above(0),
        metavar="T",
    )
    monolingual_share: float = option(
        0.5,
        "The share of the samples that is monolingual, where there is such text beside bitext.",
        rule=between(0, 1),
        metavar="S",
    )
    batch_size: int = option(
        32,
        "How many pairs a batch has, over all processes. On a GPU, batches of your own text are "
        "by --batch-tokens where this is not given.",
        rule=within(1, 1 << 20),
    )
    batch_tokens: int | None = option(
        None,
        "Instead, as many pairs of similar length as fit into N tokens, padding included, over "
        f"all processes. By default {GPU_BATCH_TOKENS} on a GPU, with text of your own.",
        rule=within(1, 1 << 26),  # windows hold 32
    )
    accumulate: int = option(1, "How many batches make a step.", rule=at_least(1))


@dataclass(frozen=True)
class _Optimization(Settings, group="training"):
    steps: int | None = option(
        None,
        "How many steps are trained. By default one pass over the pairs, and "
        f"{BUILTIN_STEPS} steps on the built-in corpus.",
        rule=at_least(1),
    )
    lr: float | None = option(
        None,
        f"The learning rate at its peak. By default {LR_PRETRAINED}, from scratch {LR_SCRATCH}, "
        f"and {LR_BUILTIN} for the built-in model.",
        rule=above(0),
    )
    schedule: str = option(
        "linear", "How the learning rate falls after the warm-up.", choices=SCHEDULES
    )
    warmup: float = option(
        0.1, "The share of the steps in which the learning rate rises.", rule=within(0, 1)
    )
    weight_decay: float = option(0.01, "The weight decay of AdamW.", rule=at_least(0))
    betas: tuple[float, float] = option(
        (0.9, 0.999),
        "The betas of AdamW.",
        rule=Rule(lambda betas: all(0 <= b < 1 for b in betas), "at least 0 and below 1"),
        metavar="B",
    )
    clip: float = option(1.0, "The largest norm of the gradient.", rule=above(0))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _workers() -> int:
    return 4 if torch.cuda.is_available() else 0


def _log_every() -> int:
    return 10 if torch.cuda.is_available() else 1


@dataclass(frozen=True)
class _Machine(Settings, group="speed and scale"):
    device: str = option(_device, "The device to train on.")
    precision: str = option(
        "auto",
        "The precision of the model's arithmetic. bf16 computes with weights that are rounded to "
        "bfloat16 and keeps them in float32 for the optimizer; bf16-autocast rounds them for each "
        "product alone; auto is bf16 on a GPU, and else fp32.",
        choices=PRECISIONS,
    )
    deterministic: bool = option(
        True,
        "Give the same bytes when it is run again on the same kind of device. Without, a GPU adds "
        "gradients in whatever order is fastest.",
        identity=False,
    )
    padding: str = option(
        "auto",
        "Whether the encoder pads sequences to one length: always, or never, which computes "
        "nothing for padding and leaves the dropout of attention weights out. auto is never on a "
        "GPU where the model has no such dropout, with bf16; and else always.",
        choices=PADDING,
    )
    parallel: str = option(
        "ddp",
        "What each process holds under torchrun: a whole model (ddp), or its part (fsdp).",
        choices=MODES,
        identity=False,
    )
    compile: bool = option(
        False, "Compile the layers of the encoder with torch.compile.", identity=False
    )
    gradient_checkpointing: bool = option(
        False,
        "Keep no layer's inner values for the backward pass: less memory, a third slower.",
        identity=False,
    )
    workers: int = option(
        _workers,
        "How many processes make batches ahead, for each training process.",
        rule=at_least(0),
        identity=False,
    )
    peak_tflops: float | None = option(
        None,
        "The peak TFLOP/s of one device, for the MFU. By default that of the GPU's data sheet, "
        "dense and in bfloat16, where it is known: 989 for an H100, which no real product reaches.",
        rule=above(0),
        metavar="X",
        identity=False,
    )


@dataclass(frozen=True)
class _Output(Settings, group="output"):
    output: Path | None = option(
        None,
        "The directory of the run. By default weam-out/NAME, with a name made of the settings.",
        metavar="DIR",
        identity=False,
    )
    resume: str = option(
        "auto",
        "Go on with the run that is in --output (auto), or refuse to (never).",
        choices=("auto", "never"),
        identity=False,
    )
    eval_every: int | None = option(
        None,
        "The steps from one evaluation to the next. By default a tenth of the run.",
        rule=at_least(1),
        identity=False,
    )
    save_every: int | None = option(
        None,
        "The steps from one checkpoint to the next. By default a tenth of the run.",
        rule=at_least(1),
        identity=False,
    )
    keep: int = option(
        2,
        "How many of the last checkpoints are kept, beside the one with the best held-out loss.",
        rule=at_least(1),
        identity=False,
    )
    log_every: int = option(
        _log_every,
        "The steps from one line of the log to the next; on a GPU 10, since each waits for it.",
        rule=at_least(1),
        identity=False,
    )
    tensorboard: bool = option(
        True, "Write for TensorBoard too, beside the JSON lines.", identity=False
    )
    wandb: str | None = option(
        None,
        "The project of Weights & Biases to write to as well; wandb must be installed.",
        metavar="PROJECT",
        identity=False,
    )
    license: str = option(
        "other",
        "The licence of the checkpoints, for their model card.",
        metavar="ID",
        identity=False,
    )
    data_license: str = option(
        "not stated", "The licence of the text, for the model card.", metavar="TEXT", identity=False
    )
    config: Path | None = option(
        None,
        "A YAML file of settings, such as the run.yaml of a run; flags override what it says.",
        metavar="YAML",
        identity=False,
    )


@dataclass(frozen=True)
class TrainSettings(
    _Output, _Machine, _Optimization, _Batches, _Masking, ObjectiveSettings, _Model, TextSettings
):
    """All settings of a run."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sources()  # which refuses what cannot be meant
        check_shares(self.mask_shares)
        self._check_objective()
        if self.model and self.model_config:
            raise InputError(
                "--model goes on from a model, --model-config starts one: give one of them"
            )
        if self.prepared and (self.bitext or self.monolingual):
            raise InputError(
                "--prepared names the data already: leave out --bitext and --monolingual"
            )
        if not self.builtin and not (self.model or self.model_config):
            raise InputError("--model or --model-config is needed with your own text")
        if self.model_config and not self.tokenizer:
            raise InputError("--tokenizer is needed with --model-config")

    def _check_objective(self) -> None:
        kind = OBJECTIVES[self.objective]
        apart = not kind.LAYOUT.together or (kind is WEAM and self.encode == "apart")
        if self.masking == "exclusive" and not kind.LAYOUT.linked:
            raise InputError("--masking exclusive needs pairs with links: --objective tlm or weam")
        if self.masking == "exclusive" and apart and self.mask_exact:
            raise InputError("--masking exclusive with --mask-exact needs --encode together")
        if self.soft_links and kind is not WEAM:
            raise InputError("--soft-links weighs the word exchange: --objective weam")
        if self.monolingual and not kind.masks:
            raise InputError(
                f"--monolingual text cannot be learned with --objective {self.objective}"
            )

    @property
    def builtin(self) -> bool:
        """Whether the run is on the built-in corpus."""
        return not (self.bitext or self.monolingual or self.prepared)

    def sources(self) -> list[Source]:
        return [] if self.prepared else super().sources()


# ----------------------------------------------------------------------------------------- sources


def parse(arguments: Sequence[str] | None) -> TrainSettings:
    """The settings of a command line; those of `--config` stand where no flag names them.

    With `--prepared`, the settings of the text are those that the preparation has.
    """
    named = given(parser(), TrainSettings, arguments)
    values = _read_config(named["config"]) if "config" in named else {}
    values = _without_overridden(values, named) | named
    values = _with_batches(values)
    if values.get("soft_links"):
        values["posteriors"] = True  # they are the weights
    settings = TrainSettings(**values)
    _check_machine(settings)
    return _as_prepared(settings, values) if settings.prepared else settings


def parser() -> Parser:
    made = Parser(
        "weam_ext.train",
        "Train a multilingual encoder on parallel text; without arguments, a small BERT on the "
        "built-in corpus. Under torchrun, on as many processes as it starts.",
    )
    made.usage = "%(prog)s [FLAG VALUE ...]"
    add_flags(made, TrainSettings)
    return made


def _read_config(path: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML ({' '.join(str(error).split())})") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: expected settings, one 'name: value' a line")
    values.pop(CONTENT, None)
    return converted(TrainSettings, values, str(path))


def _without_overridden(values: dict[str, Any], named: dict[str, Any]) -> dict[str, Any]:
    """A configuration without its texts and batches, where the command line has others."""
    mine = named.keys() & set(_TEXTS)
    others = set(_TEXTS) if "prepared" in mine else {*mine, "prepared"} if mine else set()
    if "batch_size" in named:
        others = others | {"batch_tokens"}
    return {name: value for name, value in values.items() if name not in others}


def _with_batches(values: dict[str, Any]) -> dict[str, Any]:
    """The values with batches by tokens on a GPU, where they do not say how large a batch is.

    The steps and the learning rate of the built-in run are for its batches of 32 pairs.
    """
    on_gpu = values.get("device", _device()).startswith("cuda")
    builtin = not any(values.get(name) for name in _TEXTS)
    if not on_gpu or builtin or values.keys() & {"batch_size", "batch_tokens"}:
        return values
    return values | {"batch_tokens": GPU_BATCH_TOKENS}


def _as_prepared(settings: TrainSettings, named: dict[str, Any]) -> TrainSettings:
    """The settings with what the preparation has; `InputError` where they named another."""
    assert settings.prepared is not None
    had = settings_had(read_description(settings.prepared))
    if settings.soft_links and not had["posteriors"]:
        raise InputError(
            f"{settings.prepared}: no link_probability, which --soft-links needs: prepare the text "
            "with --posteriors"
        )
    for name in sorted(had.keys() & named.keys()):
        if named[name] != had[name]:
            how = f"with {name} {had[name]}, not {named[name]}"
            if had[name] is None:
                how = f"without {flag(name)}"
            raise InputError(
                f"{settings.prepared}: was prepared {how}: leave out {flag(name)}, or prepare the "
                "text anew"
            )
    return replace(settings, **had)


def _check_machine(settings: TrainSettings) -> None:
    if settings.wandb and not find_spec("wandb"):
        raise InputError("--wandb needs Weights & Biases: pip install wandb")
    try:
        # A meta device has no values: it fails here.
        torch.zeros(1, device=own_device(settings.device)).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {settings.device}: {str(error).splitlines()[0]}") from error


def text_settings() -> set[str]:
    """The names of the settings that say what is prepared, and how."""
    return {each.name for each in fields(TextSettings)}
