"""The model card of a checkpoint: what it was made from, how, and how good it is."""

from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import yaml


def model_card(
    settings: dict[str, Any],
    corpora: Sequence[dict[str, Any]],
    heldout: dict[str, dict[str, float]],
    *,
    objective: str,
    step: int,
    steps: int,
    license: str,
    data_license: str,
) -> str:
    """README.md of a checkpoint, in the form of the Hugging Face hub.

    Args:
        settings: those of the run.
        corpora: as in `prepared.json`.
        heldout: the last held-out means, by corpus.
        objective: what it was trained with (`Objective.CARD`).
    """
    return "\n".join(
        [
            *_front_matter(settings, corpora, license),
            f"# {settings['objective']}, step {step:,} of {steps:,}",
            "",
            f"Trained by weam_ext {_version()} with {objective}"
            f"{_control(settings)}, from {_origin(settings)}.",
            "",
            "## Data",
            "",
            *_table(
                ["corpus", "languages", "kind", "trained on", "tokens", "held out", "links a pair"],
                (_corpus(corpus) for corpus in corpora),
            ),
            "",
            f"Licence of the data: {data_license}.",
            "",
            *_aligner(corpora),
            "## Held-out losses",
            "",
            "In nats for each masked token; *apart*: with the sentences of a pair encoded apart."
            if heldout
            else "Not measured yet.",
            "",
            *_losses(heldout),
            "## Settings",
            "",
            "```yaml",
            yaml.safe_dump(settings, allow_unicode=True).rstrip(),
            "```",
            "",
        ]
    )


def _front_matter(
    settings: dict[str, Any], corpora: Sequence[dict[str, Any]], license: str
) -> Iterator[str]:
    # Names of languages that are no codes ("NAME:source") mean nothing to the hub.
    codes = {code for corpus in corpora for code in corpus["languages"] if ":" not in code}
    values: dict[str, Any] = {
        "license": license,
        "library_name": "transformers",
        "pipeline_tag": "fill-mask",
        "tags": ["cross-lingual", "weam_ext", settings["objective"]],
    }
    if codes:
        values["language"] = sorted(codes)
    if settings["model"]:
        values["base_model"] = settings["model"]
    yield "---"
    yield yaml.safe_dump(values, allow_unicode=True).rstrip()
    yield "---"
    yield ""


def _version() -> str:
    try:
        return version("weam-ext")
    except PackageNotFoundError:  # run from its sources
        return "(not installed)"


def _control(settings: dict[str, Any]) -> str:
    return "" if settings["links"] == "true" else f", a control with {settings['links']} links"


def _origin(settings: dict[str, Any]) -> str:
    return f"`{settings['model']}`" if settings["model"] else "random weights"


def _corpus(corpus: dict[str, Any]) -> list[str]:
    counts = corpus["counts"]
    kept = counts["train"] + counts["heldout"]
    links = f"{counts['links'] / max(1, kept):.1f}" if corpus["kind"] == "bitext" else "–"
    return [
        corpus["name"],
        " and ".join(corpus["languages"]),
        corpus["kind"],
        f"{counts['train']:,}",
        f"{counts['train_tokens']:,}",
        f"{counts['heldout']:,}",
        links,
    ]


def _aligner(corpora: Sequence[dict[str, Any]]) -> Iterator[str]:
    aligners = [corpus["aligner"] for corpus in corpora if corpus.get("aligner")]
    if not aligners:
        return
    settings = {name: value for name, value in aligners[0].items() if not isinstance(value, dict)}
    yield "Word links: " + ", ".join(f"{name} {value}" for name, value in settings.items()) + "."
    yield ""


def _losses(heldout: dict[str, dict[str, float]]) -> Iterator[str]:
    means = next(iter(heldout.values()), {})
    names = [name for name in means if name.endswith(("loss", "accuracy", "distance"))]
    if names:
        rows = ([corpus, *(f"{means[n]:.4f}" for n in names)] for corpus, means in heldout.items())
        header = [name.replace("_", " ") for name in names]
        yield from _table(["corpus", *header], rows)
        yield ""


def _table(header: Sequence[str], rows: Iterator[list[str]]) -> Iterator[str]:
    for row in (header, ["---"] * len(header), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"
