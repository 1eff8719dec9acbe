"""The settings of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from weam_ext.common.errors import InputError
from weam_ext.common.files import user_path
from weam_ext.common.settings import REQUIRED, Settings, above, at_least, option
from weam_ext.text.bitext import BitextSource, parse_bitext, parse_columns
from weam_ext.transfer.encoder import PRECISIONS
from weam_ext.transfer.finetune import Setting, parse_setting
from weam_ext.transfer.noise import KINDS, Lexicon, Noise, parse_noises, read_lexicon
from weam_ext.transfer.robust import WAYS
from weam_ext.transfer.tasks import TASKS, Limits, Recipe

PROBES = ("udpos-probe", "panx-probe", "sib200-probe")
RETRIEVAL = ("tatoeba", "ntrex", "flores", "multi30k")
FROZEN = (*PROBES, *RETRIEVAL, "lareqa", "bitext", "alignment", "lexicon")


@dataclass(frozen=True)
class _What(Settings, group="what is evaluated"):
    models: tuple[tuple[str, ...], ...] = option(
        REQUIRED,
        "The Hugging Face encoders to compare. Several directories of one name are seeds of its "
        "pre-training.",
        again=True,
        metavar="NAME=DIR[,DIR...]",
    )
    tasks: tuple[str, ...] | None = option(
        None,
        f"The tasks. Fine-tuned are {', '.join(TASKS)}; frozen are {', '.join(FROZEN)}, where "
        "bitext is what --bitext names.",
        metavar="TASK",
    )
    data: Path | None = option(
        None, "The directory with the data sets, as they are published.", metavar="DIR"
    )
    hub: bool = option(
        False,
        "Read fine-tuned tasks by their names on the Hugging Face hub, which needs the datasets "
        "library.",
    )
    languages: tuple[str, ...] | None = option(
        None,
        "The languages to test on, as far as a task has them. By default all that it has.",
        metavar="CODE",
    )
    source: str = option("en", "The language to train on.", metavar="CODE")
    bitext: tuple[tuple[str, ...], ...] | None = option(
        None,
        "For retrieval, [NAME=]FILE [FILE]: one file of 'source ||| target' or tab-separated "
        "lines, or two line-aligned files. Give the flag again for each language pair.",
        again=True,
        metavar="FILE",
    )
    columns: str | None = option(
        None,
        "The columns of source and target in tab-separated files. By default the first two.",
        metavar="S,T",
    )
    gold: tuple[str, ...] | None = option(
        None,
        "For alignment, which of the folders wa-SET are used. By default all.",
        metavar="SET",
    )
    output: Path = option(
        REQUIRED, "The directory of the results; what it holds is kept.", metavar="DIR"
    )


@dataclass(frozen=True)
class _Protocol(Settings, group="protocol"):
    settings: tuple[str, ...] = option(
        ("zero-shot",),
        "What is trained on: zero-shot, translate-train (one model a language), "
        "translate-train-all, few-shot-K.",
        metavar="SETTING",
    )
    seeds: int = option(5, "How many seeds of fine-tuning.", rule=at_least(1))
    train_on_dev: bool = option(
        False, "Where a task has no training set, train on a part of its development set."
    )
    train_limit: int | None = option(None, "The most examples to train on.", rule=at_least(1))
    select_limit: int | None = option(None, "The most examples to select on.", rule=at_least(1))
    test_limit: int | None = option(None, "The most examples to test on.", rule=at_least(1))


@dataclass(frozen=True)
class _Robustness(Settings, group="robustness"):
    noise: tuple[str, ...] | None = option(
        None,
        f"Predict distorted text too, by {', '.join(KINDS)}, at the share P of the words.",
        metavar="KIND=P[,P...]",
    )
    lexicon: tuple[str, ...] | None = option(
        None,
        "What weam-align --lexicon wrote of English to CODE, for code-switch and synonyms.",
        metavar="CODE=FILE",
    )
    fine_tuning: tuple[str, ...] = option(
        ("plain",), "The ways of fine-tuning that are compared.", choices=WAYS
    )
    radius: float = option(
        0.1,
        "The radius of a perturbation, relative to the length of the embedding.",
        rule=above(0),
        metavar="R",
    )


@dataclass(frozen=True)
class _Optimization(Settings, group="optimisation (by default XTREME's for each task)"):
    learning_rate: float | None = option(None, "The learning rate at its peak.", rule=above(0))
    epochs: float | None = option(None, "The passes over the training set.", rule=above(0))
    max_length: int | None = option(
        None, "The most tokens of an input, special tokens included.", rule=at_least(8)
    )
    batch_size: int | None = option(
        None, "The examples of a batch; of frozen tasks, the sentences.", rule=at_least(1)
    )
    device: str = option("auto", "cpu, cuda, or cuda:N; auto takes a GPU where there is one.")
    precision: str = option(
        "auto",
        "The precision of the arithmetic. bf16-autocast rounds weights for each product alone; "
        "auto is bf16-autocast on a GPU, and else fp32.",
        choices=PRECISIONS,
    )


@dataclass(frozen=True)
class TransferSettings(_Optimization, _Robustness, _Protocol, _What):
    """All settings of `python -m weam_ext.transfer`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        known = {*TASKS, *FROZEN}
        for task in self.tasks or ():
            if task not in known:
                raise InputError(f"--tasks {task}: unknown; there are {', '.join(sorted(known))}")
        if not self.chosen_tasks:
            raise InputError("nothing to do: give --tasks or --bitext")
        if "bitext" in self.chosen_tasks and not self.bitext:
            raise InputError("--tasks bitext needs --bitext")
        if self.data is None and set(self.chosen_tasks) - {"bitext"} and not self.hub:
            raise InputError("--data is needed: the directory with the data sets")
        if self.data is not None and not self.data.is_dir():
            raise InputError(f"--data {self.data}: no such directory")
        self.setting_list()

    @property
    def chosen_tasks(self) -> tuple[str, ...]:
        """Each once; --bitext asks for the task bitext."""
        return tuple(dict.fromkeys([*(self.tasks or ()), *(["bitext"] if self.bitext else [])]))

    def setting_list(self) -> list[Setting]:
        return [parse_setting(text) for text in self.settings]

    def model_directories(self) -> dict[str, list[Path]]:
        """The directories of each model; `InputError` for what is not NAME=DIR[,DIR...]."""
        found: dict[str, list[Path]] = {}
        for argument in (each for group in self.models for each in group):
            name, _, directories = argument.partition("=")
            if not name or not all(directories.split(",")):
                raise InputError(f"--models {argument}: expected NAME=DIR[,DIR...]")
            if name in found:
                raise InputError(
                    f"two models are called {name!r}: join their directories by commas"
                )
            found[name] = [user_path(directory) for directory in directories.split(",")]
        return found

    def bitexts(self) -> list[BitextSource]:
        columns = parse_columns(self.columns)
        found = [parse_bitext(files, columns, self.test_limit) for files in self.bitext or ()]
        names = [source.name for source in found]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two bitexts are called {name!r}: write --bitext NAME=FILE")
        return found

    def noises(self, lexica: Mapping[str, Lexicon]) -> tuple[Noise, ...]:
        return tuple(parse_noises(self.noise or (), lexica, self.source))

    def lexica(self) -> dict[str, Lexicon]:
        """What `--lexicon` names, read."""
        found = {}
        for argument in self.lexicon or ():
            code, equals, path = argument.partition("=")
            if not (code and equals and path):
                raise InputError(f"--lexicon {argument}: expected CODE=FILE")
            found[code] = read_lexicon(user_path(path))
        return found

    def limits(self) -> Limits:
        return Limits(self.train_limit, self.select_limit, self.test_limit)

    def recipe(self, default: Recipe) -> Recipe:
        """A task's recipe with the numbers that were given instead."""
        return Recipe(
            learning_rate=self.learning_rate or default.learning_rate,
            epochs=self.epochs or default.epochs,
            max_length=self.max_length or default.max_length,
            batch_size=self.batch_size or default.batch_size,
            warmup=default.warmup,
        )
