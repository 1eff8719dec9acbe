"""The tasks: their files, how they are fine-tuned, and which examples are for what."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weam_ext.common.errors import InputError, say
from weam_ext.common.files import content_digest
from weam_ext.common.registry import Registry
from weam_ext.transfer.families.answering import (
    MLQA_FORMATS,
    TYDIQA_FORMATS,
    XQUAD_FORMATS,
    Answering,
)
from weam_ext.transfer.families.choice import BELEBELE_FORMATS, XCOPA_FORMATS, MultipleChoice
from weam_ext.transfer.families.classification import (
    NLI,
    PARAPHRASE,
    PAWSX_FORMATS,
    SIB_FORMATS,
    STS_FORMATS,
    TOPICS,
    XNLI_FORMATS,
    Classification,
    Similarity,
    crossed,
)
from weam_ext.transfer.families.formats import (
    DEV,
    TEST,
    TRAIN,
    TRANSLATED,
    Format,
    Part,
    UnlabelledError,
    find,
)
from weam_ext.transfer.families.tagging import (
    MASAKHANER_FORMATS,
    MASAKHAPOS_FORMATS,
    NAMES,
    PANX_FORMATS,
    UDPOS_FORMATS,
    UPOS,
    Tagging,
)
from weam_ext.transfer.results import UNLABELLED

HELD_OUT = 5
"""If a language has training examples only, one group in this many is held out of them."""


@dataclass(frozen=True)
class Recipe:
    """XTREME's settings of fine-tuning (Hu et al. 2020, appendix B)."""

    learning_rate: float = 2e-5
    epochs: float = 5
    max_length: int = 128
    batch_size: int = 32
    warmup: float = 0.1
    """A share of the steps, or a number of them from 1 on."""


@dataclass(frozen=True)
class Task:
    """A task that is fine-tuned on one language and tested on many."""

    name: str
    title: str
    formats: tuple[tuple[Format, ...], ...]
    family: Callable[[], Any]
    recipe: Recipe = Recipe()
    crossing: str = ""
    """"answers": a language is that of text and question; "both": all pairs of languages."""
    made: bool = False
    """Whether the pairs of languages are made of parallel files, and are not published so."""
    parallel_train: bool = False
    """Whether the training sets of other languages are translations of the source's."""


_TAGGING = Recipe(epochs=10)
_ANSWERING = Recipe(learning_rate=3e-5, epochs=3, max_length=384, warmup=500)
TASKS: Registry[Task] = Registry("tasks")
for _task in (
    Task("xnli", "XNLI", XNLI_FORMATS, lambda: Classification(NLI)),
    Task(
        "gxnli", "generalised XNLI", XNLI_FORMATS, lambda: Classification(NLI), crossing="both",
        made=True,
    ),
    Task("pawsx", "PAWS-X", PAWSX_FORMATS, lambda: Classification(PARAPHRASE)),
    Task(
        "gpawsx", "generalised PAWS-X", PAWSX_FORMATS, lambda: Classification(PARAPHRASE),
        crossing="both", made=True,
    ),
    Task(
        "sib200", "SIB-200 topics", SIB_FORMATS, lambda: Classification(TOPICS),
        parallel_train=True,
    ),
    Task("stsb", "STS-B", STS_FORMATS, Similarity),
    Task("xcopa", "XCOPA", XCOPA_FORMATS, MultipleChoice),
    Task("belebele", "Belebele", BELEBELE_FORMATS, MultipleChoice, Recipe(max_length=512)),
    Task("udpos", "UD parts of speech", UDPOS_FORMATS, lambda: Tagging(UPOS, "X"), _TAGGING),
    Task(
        "masakhapos", "MasakhaPOS", MASAKHAPOS_FORMATS, lambda: Tagging(UPOS, "X"), _TAGGING,
    ),
    Task("panx", "PAN-X names", PANX_FORMATS, lambda: Tagging(NAMES, "O"), _TAGGING),
    Task(
        "masakhaner", "MasakhaNER", MASAKHANER_FORMATS, lambda: Tagging(NAMES, "O"), _TAGGING,
    ),
    Task(
        "mlqa", "MLQA", MLQA_FORMATS, lambda: Answering("mlqa"), _ANSWERING, crossing="answers"
    ),
    Task(
        "mlqa-gxlt", "MLQA G-XLT", MLQA_FORMATS, lambda: Answering("mlqa"), _ANSWERING,
        crossing="both",
    ),
    Task("xquad", "XQuAD", XQUAD_FORMATS, lambda: Answering("squad"), _ANSWERING),
    Task("tydiqa", "TyDiQA-GoldP", TYDIQA_FORMATS, lambda: Answering("squad"), _ANSWERING),
):  # fmt: skip
    TASKS.add(_task.name)(_task)


# ----------------------------------------------------------------------------------------- splits


@dataclass
class Examples:
    """What a cell reads: by language, but for those to train on."""

    train: list[Any]
    select: dict[str, list[Any]]
    test: dict[str, list[Any]]
    translated: dict[str, list[Any]] = field(default_factory=dict)
    """Training sets in other languages that are translations of the source's."""
    shots: dict[str, list[Any]] = field(default_factory=dict)
    """What few-shot fine-tuning draws from."""
    unlabelled: dict[str, list[Any]] = field(default_factory=dict)
    """Whole test sets that are predicted, for others to score."""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of all that is used."""
        by_language = {
            "select": self.select,
            "test": self.test,
            "translated": self.translated,
            "shots": self.shots,
            "unlabelled": self.unlabelled,
        }
        content: dict[str, Any] = {"train": [example.content() for example in self.train]}
        for name, part in by_language.items():
            content[name] = {code: [x.content() for x in found] for code, found in part.items()}
        return content_digest(content)


@dataclass(frozen=True)
class Limits:
    """The most examples of each kind, drawn alike in all languages; None for all."""

    train: int | None = None
    select: int | None = None
    test: int | None = None


Loaded = dict[Part, list[Any]]


def read_task(task: Task, data: Path, languages: Sequence[str] | None, source: str) -> Loaded:
    """The parts of a task that the given languages need (all there are, for None).

    A test or development set without labels is told of and is no part that is scored; a language
    with a broken file is told of and left out. Raises `InputError` where that is the source or was
    asked for by its name.
    """
    files = find(data, task.formats)
    loaded: Loaded = {}
    broken: set[str] = set()
    for part, loaders in files.items():
        first, _, second = part.language.partition("-")
        wanted = languages is None or {first, second or first} <= {*languages, source}
        if wanted:
            try:
                examples = [example for _, read in loaders for example in read()]
                if not examples:
                    raise InputError(f"{loaders[0][0]}: no examples")
            except UnlabelledError as error:
                if part.split == TRAIN:
                    raise
                say(f"{task.name}: {error}; what other files there are of {part.language} is taken")
                loaded[Part(UNLABELLED, part.language)] = error.examples
            except InputError as error:
                if languages is not None or source in (first, second):
                    raise
                tested = part.split in (DEV, TEST)
                broken |= {part.language} if tested else set()
                what = part.language if tested else f"the training set of {part.language}"
                say(f"{task.name}: {error}; {what} is left out")
            else:
                loaded[part] = examples
    loaded = {part: found for part, found in loaded.items() if part.language not in broken}
    if all(part.split == UNLABELLED for part in loaded):
        raise InputError(f"{data}: no files of {task.name} there")
    return _crossed(task, loaded, source)


def _crossed(task: Task, loaded: Loaded, source: str) -> Loaded:
    """Languages as the task counts them."""
    if task.made:
        tested = {split for split, _ in loaded if split in (DEV, TEST)}
        kept = {part: found for part, found in loaded.items() if part.split not in (DEV, TEST)}
        for split in tested:
            sides = {part.language: x for part, x in loaded.items() if part.split == split}
            kept |= {Part(split, both): x for both, x in crossed(sides).items()}
        return kept
    if task.crossing == "answers":
        same = {}
        for part, found in loaded.items():
            first, _, second = part.language.partition("-")
            if second in ("", first):
                same[Part(part.split, first)] = found
        return same
    return loaded


def assign(
    task: Task,
    loaded: Loaded,
    languages: Sequence[str] | None,
    source: str,
    limits: Limits,
    train_on_dev: bool = False,
) -> Examples:
    """Which examples are for what; see `docs/transfer.md`. Raises `InputError` for what is missing.

    `train_on_dev`: where the source has no training set, its selection examples are cut again, and
    the larger part is trained on.
    """
    own = f"{source}-{source}" if task.crossing == "both" else source
    tested = {part.language for part in loaded if part.split in (DEV, TEST)}
    tested |= {p.language for p in loaded if p.split == TRAIN and not task.parallel_train}
    if task.crossing == "both":
        tested -= {source}
    if languages is not None:
        known = tested | {part.language for part in loaded if part.split == UNLABELLED}
        missing = [c for c in languages if not any(c in there.split("-") for there in known)]
        if missing:
            raise InputError(f"{task.name}: no examples of {', '.join(missing)} to test on")
        wanted = {*languages}
        tested = {there for there in tested if wanted.issuperset(there.split("-"))}
    train = loaded.get(Part(TRAIN, source), [])
    select: dict[str, list[Any]] = {}
    test: dict[str, list[Any]] = {}
    shots: dict[str, list[Any]] = {}
    notes: dict[str, Any] = {"cut": [], "test_limit": limits.test}
    for language in sorted(tested | {own}):
        dev = loaded.get(Part(DEV, language), [])
        final = loaded.get(Part(TEST, language), [])
        extra = loaded.get(Part(TRAIN, language), []) if language != source else []
        if not dev and not final:
            if language == own and train:
                train, held = _held_out(train, HELD_OUT)
                dev, final = _held_out(held, 2)
            elif extra:
                dev, final = _held_out(extra, 2)
            notes["cut"].append(language)
        elif not final or not dev:
            dev, final = _held_out(dev or final, 2)
            notes["cut"].append(language)
        select[language], test[language] = _taken(dev, limits.select), _taken(final, limits.test)
        shots[language] = extra or dev
        if language == own and not train and train_on_dev:
            train, dev = _held_out(dev, HELD_OUT)
            select[language] = _taken(dev, limits.select)
            notes["train"] = f"a part of the development set of {source}"
    if not train:
        raise InputError(
            f"{task.name}: no training set of {source} (--train-on-dev takes a part of its "
            "development set, --source another language)"
        )
    if not select.get(own):
        raise InputError(f"{task.name}: no examples of {source} to select on")
    if own not in tested:
        del test[own]  # only selected on
    kinds = (TRAIN, TRANSLATED) if task.parallel_train else (TRANSLATED,)
    translated = {
        part.language: _taken(found, limits.train)
        for part, found in loaded.items()
        if part.split in kinds and part.language != source
    }
    unlabelled = {
        part.language: found
        for part, found in loaded.items()
        if part.split == UNLABELLED and part.language in (languages or (part.language,))
    }
    if task.crossing == "both" or limits.test is not None:
        unlabelled = {}  # nobody scores them
    return Examples(_taken(train, limits.train), select, test, translated, shots, unlabelled, notes)


def order(group: str) -> bytes:
    """A fixed random order of groups, the same wherever they occur."""
    return hashlib.sha256(group.encode()).digest()


def _held_out(examples: Sequence[Any], share: int) -> tuple[list[Any], list[Any]]:
    """The examples without and with a share 1/`share` of the groups."""
    held = [int.from_bytes(order(x.group)[:8]) % share == 0 for x in examples]
    pairs = list(zip(examples, held, strict=True))
    return [x for x, out in pairs if not out], [x for x, out in pairs if out]


def _taken(examples: Iterable[Any], limit: int | None) -> list[Any]:
    """At most `limit` examples, chosen by their keys and so alike in parallel sets."""
    found = list(examples)
    if limit is None or len(found) <= limit:
        return found
    chosen = set(sorted(range(len(found)), key=lambda k: order(found[k].key))[:limit])
    return [x for k, x in enumerate(found) if k in chosen]
