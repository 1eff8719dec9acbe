"""Predictions as XTREME's own evaluation takes them (Hu et al. 2020, arXiv 2003.11080).

A file `TASK/test-LANGUAGE.tsv` has a label a line, or of tags one a line and a blank line between
sentences; of questions `.json` has the answers by their ids, and XCOPA's, of XTREME-R, is `.jsonl`.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from weam_ext.common.errors import InputError, say
from weam_ext.common.files import write_whole
from weam_ext.transfer.results import Row

_SUFFIXES = {
    "xnli": "tsv", "pawsx": "tsv", "udpos": "tsv", "panx": "tsv", "xquad": "json", "mlqa": "json",
    "tydiqa": "json", "xcopa": "jsonl",
}  # fmt: skip


def write_submission(rows: Sequence[Row], model: str, seed: int, output: Path) -> list[Path]:
    """The zero-shot predictions of a model's seed, of every test set that is whole.

    Of several encoders of one name that of the first directory counts. Sets of which examples were
    left out are told of. Raises `InputError` where nothing is left.
    """
    whole: dict[Path, bytes] = {}
    cut: set[Path] = set()
    directory = min((row.directory for row in rows if row.cell.model == model), default="")
    for row in rows:
        cell, suffix = row.cell, _SUFFIXES.get(row.cell.task)
        chosen = (cell.model, cell.seed, row.directory) == (model, seed, directory)
        plain = cell.setting == "zero-shot" and cell.options.get("fine_tuning") == "plain"
        if not (suffix and chosen and plain and row.selection == "english" and not row.noise):
            continue
        path = output / cell.task / f"test-{row.language}.{suffix}"
        parts = {*row.facts.get("cut", ())} if row.split == "test" else set()
        if row.language in parts or len(row.keys) == row.facts.get("test_limit"):
            cut.add(path)
        else:
            whole[path] = _content(row).encode()
    for path in sorted(cut - set(whole)):
        say(f"{path}: not written, as only a part of that test set was predicted")
    if not whole:
        raise InputError(f"no whole test set of XTREME was predicted by {model}, seed {seed}")
    for path, content in whole.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    return list(whole)


def _content(row: Row) -> str:
    match _SUFFIXES[row.cell.task]:
        case "json":
            return json.dumps(dict(zip(row.keys, row.predictions, strict=True)), ensure_ascii=False)
        case "jsonl":
            return "".join(json.dumps({"label": int(label)}) + "\n" for label in row.predictions)
    if row.cell.task in ("udpos", "panx"):
        return "\n".join(tags.replace(" ", "\n") + "\n" for tags in row.predictions)
    return "".join(f"{label}\n" for label in row.predictions)
