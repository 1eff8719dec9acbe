"""The same data sets by their names on the Hugging Face hub, through the `datasets` library."""

import importlib
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from weam_ext.common.errors import InputError, describe, say
from weam_ext.transfer.families.answering import Question, told_apart
from weam_ext.transfer.families.choice import Choice
from weam_ext.transfer.families.classification import NLI, TOPICS, Text
from weam_ext.transfer.families.formats import DEV, SPLITS, TEST, TRAIN, Part
from weam_ext.transfer.families.tagging import NAMES, UPOS, Sentence
from weam_ext.transfer.languages import language_code
from weam_ext.transfer.tasks import Loaded, Task


class HubSet(NamedTuple):
    """A data set on the hub: its name, its configuration for a language, and a row's example."""

    name: str
    configuration: str
    """With `{language}` in it; the hub's own codes."""
    example: Callable[[dict[str, Any], str], Any]
    """From a row and its place in the split."""
    languages: tuple[str, ...]
    train: tuple[str, str] | None = None
    """Another set and its configuration that the source is trained on."""
    language: Callable[[Any], str] | None = None
    """Of an example, where one configuration holds all languages."""


def _pair(labels: Sequence[str], first: str, second: str) -> Callable[[dict[str, Any], str], Text]:
    def example(row: dict[str, Any], key: str) -> Text:
        return Text(key, row[first], row[second], labels[row["label"]])

    return example


def _topic(row: dict[str, Any], key: str) -> Text:
    label = str(row["category"])
    if label not in TOPICS:
        raise ValueError(f"category {label!r}")
    return Text(str(row["index_id"]), row["text"], None, label)


def _similar(row: dict[str, Any], key: str) -> Text:
    return Text(key, row["sentence1"], row["sentence2"], str(float(row["similarity_score"])))


def _tagged(tags: Sequence[str], column: str) -> Callable[[dict[str, Any], str], Sentence]:
    def example(row: dict[str, Any], key: str) -> Sentence:
        return Sentence(key, tuple(row["tokens"]), tuple(tags[k] for k in row[column]))

    return example


def _answers(row: dict[str, Any], key: str) -> Question:
    found = row["answers"]
    answers = tuple(zip(found["text"], map(int, found["answer_start"]), strict=True))
    return Question(str(row["id"]), row["context"], row["question"], answers)


def _choices(row: dict[str, Any], key: str) -> Choice:
    choices = row["choice1"], row["choice2"]
    return Choice(key, row["premise"], row["question"], choices, row["label"])


_SQUAD = ("rajpurkar/squad", "plain_text")
_XNLI = """ar bg de el en es fr hi ru sw th tr ur vi zh"""
_UDPOS = """Afrikaans Arabic Basque Bulgarian Chinese Dutch English Estonian Finnish French German
Greek Hebrew Hindi Hungarian Indonesian Italian Japanese Kazakh Korean Marathi Persian Portuguese
Russian Spanish Tagalog Tamil Telugu Thai Turkish Urdu Vietnamese Yoruba"""
_PANX = """ar bg de el en es et eu fa fi fr he hi hu id it ja ka kk ko ml mr ms my nl pt ru sw ta te
th tl tr ur vi yo zh"""
HUB = {
    "xnli": HubSet(
        "facebook/xnli", "{language}", _pair(NLI, "premise", "hypothesis"), tuple(_XNLI.split())
    ),
    "pawsx": HubSet(
        "google-research-datasets/paws-x", "{language}", _pair("01", "sentence1", "sentence2"),
        ("de", "en", "es", "fr", "ja", "ko", "zh"),
    ),
    "sib200": HubSet("Davlan/sib200", "{language}", _topic, (
        "afr_Latn", "arb_Arab", "bul_Cyrl", "deu_Latn", "ell_Grek", "eng_Latn", "est_Latn",
        "fra_Latn", "hin_Deva", "ita_Latn", "jpn_Jpan", "kor_Hang", "rus_Cyrl", "spa_Latn",
        "swh_Latn", "tam_Taml", "tha_Thai", "tur_Latn", "urd_Arab", "vie_Latn", "zho_Hans",
    )),
    "stsb": HubSet(
        "PhilipMay/stsb_multi_mt", "{language}", _similar,
        ("de", "en", "es", "fr", "it", "nl", "pl", "pt", "ru", "zh"),
    ),
    "xcopa": HubSet("cambridgeltl/xcopa", "{language}", _choices, (
        "et", "ht", "id", "it", "qu", "sw", "ta", "th", "tr", "vi", "zh",
    )),
    "panx": HubSet(
        "google/xtreme", "PAN-X.{language}", _tagged(NAMES, "ner_tags"), tuple(_PANX.split())
    ),
    "udpos": HubSet(
        "google/xtreme", "udpos.{language}", _tagged(UPOS, "pos_tags"), tuple(_UDPOS.split())
    ),
    "tydiqa": HubSet(
        "google-research-datasets/tydiqa", "secondary_task", _answers,
        ("arabic", "bengali", "english", "finnish", "indonesian", "korean", "russian", "swahili",
         "telugu"),
        language=lambda question: language_code(question.key.partition("-")[0]),
    ),
    "mlqa": HubSet("facebook/mlqa", "mlqa.{language}.{language}", _answers, (
        "ar", "de", "en", "es", "hi", "vi", "zh",
    ), _SQUAD),
    "xquad": HubSet("google/xquad", "xquad.{language}", _answers, (
        "ar", "de", "el", "en", "es", "hi", "ro", "ru", "th", "tr", "vi", "zh",
    ), _SQUAD),
}  # fmt: skip


def read_hub(task: Task, languages: Sequence[str] | None, source: str) -> Loaded:
    """A task's parts from the hub, as `read_task` gives those of a directory.

    Raises `InputError` without the `datasets` library, for a task that is not there, and where the
    hub or a row is not as expected.
    """
    try:
        library = importlib.import_module("datasets")
    except ImportError as error:
        raise InputError("--hub needs datasets: pip install 'weam-ext[hub]'") from error
    if task.name not in HUB:
        raise InputError(f"{task.name}: not by name; on the hub are {', '.join(HUB)}")
    way = HUB[task.name]
    loaded: Loaded = {}
    for published in way.languages:
        code = language_code(published)
        if languages is None or code in {*languages, source}:
            configuration = way.configuration.format(language=published)
            for split, found in _load(library, way.name, configuration, way.example).items():
                if split == TRAIN and code != source and not task.parallel_train:
                    continue  # machine translations, some of them: given as files, or not at all
                own = [x for x in found if not way.language or way.language(x) == code]
                loaded[Part(split, code)] = told_apart(own) if way.language else own
    if way.train:
        for split, found in _load(library, *way.train, way.example).items():
            loaded.setdefault(Part(split, source), found)
    return {part: found for part, found in loaded.items() if found}


@lru_cache(maxsize=1)
def _load(
    library: Any, name: str, configuration: str, example: Callable[[dict[str, Any], str], Any]
) -> dict[str, list[Any]]:
    try:
        parts = library.load_dataset(name, configuration)
    except Exception as error:  # of any kind: the hub, its cache, the network
        raise InputError(f"{name}, {configuration}: {describe(error)}") from error
    found: dict[str, list[Any]] = {}
    for part, rows in parts.items():
        if part in SPLITS:
            where = f"{name}, {configuration}, {part}"
            found[SPLITS[part]] = list(_rows(rows, where, part, example))
            if missing := len(rows) - len(found[SPLITS[part]]):
                say(f"{where}: {missing} of {len(rows)} rows have no label and are left out")
    if not {TRAIN, DEV, TEST}.intersection(found):
        raise InputError(f"{name}, {configuration}: none of train, validation and test")
    return found


def _rows(
    rows: Iterable[dict[str, Any]],
    where: str,
    part: str,
    example: Callable[[dict[str, Any], str], Any],
) -> Iterable[Any]:
    for number, row in enumerate(rows):
        try:
            if row.get("label") == -1 or ("answers" in row and not any(row["answers"]["text"])):
                continue
            yield example(row, f"{SPLITS[part]}-{number}")
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise InputError(f"{where}, row {number}: {error!r}") from error
