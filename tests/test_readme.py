"""What .ci/readme.py takes for a command: nothing that a document tells readers to run is lost."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT

DOCUMENT = r"""
First run `python -m thing --help`, or `make all`; `python` alone and `--flag` are no commands.

```sh
# a comment
pip install . && python -m thing \
    --bitext a b \
    --steps 3
weam-align -i text > links
```

```python
from thing import other
other()
```

```
python is only shown here
```

At last `weam-atools -c union
-i a -j b`.
"""
DOCSTRING = '''"""A program.

    python benchmarks/one.py --data DIR
    torchrun two.py

`python three.py` is only spoken of.
"""
'''


@pytest.fixture(scope="module")
def readme() -> Iterator[Any]:
    sys.path.insert(0, str(ROOT / ".ci"))
    try:
        yield importlib.import_module("readme")
    finally:
        sys.path.remove(str(ROOT / ".ci"))


def test_every_command_of_a_document_is_found(readme: Any) -> None:
    assert [(each.language, each.text) for each in readme.in_markdown(DOCUMENT)] == [
        ("sh", "python -m thing --help"),
        ("sh", "make all"),
        ("sh", "pip install ."),
        ("sh", "python -m thing --bitext a b --steps 3"),
        ("sh", "weam-align -i text > links"),
        ("python", "from thing import other\nother()\n"),
        ("sh", "weam-atools -c union -i a -j b"),
    ]
    found = [each.text for each in readme.in_docstring(DOCSTRING)]
    assert found == ["python benchmarks/one.py --data DIR", "torchrun two.py"]


def test_a_command_that_no_rule_knows_is_run_as_written(readme: Any) -> None:
    new = readme.Command("sh", "python -m weam_ext.something --new")
    assert readme.to_run(new) == (new, "")


def test_what_is_not_run_has_a_reason(readme: Any) -> None:
    found = [command for path in readme.documents() for command in readme.commands(path)]
    assert readme.Command("sh", "pytest benchmarks --benchmark-only") in found
    left_out = {c.text: why for c in found for run, why in [readme.to_run(c)] if run is None}
    assert all(left_out.values())
    assert len(left_out) < len(found) / 2


def test_a_failure_is_told(readme: Any, tmp_path: Any) -> None:
    assert readme.call(readme.Command("sh", "true; read line || echo none"), tmp_path) == ""
    assert readme.call(readme.Command("sh", "echo said; false; true"), tmp_path) == "said\n"
    assert "NameError" in readme.call(readme.Command("python", "nothing"), tmp_path)


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PLACE = re.compile(r"`((?:weam_ext|csrc|python|benchmarks|tests|docs|recipes)/[\w./]+)`")
NAME = re.compile(r"`weam_ext((?:\.[a-z_]\w*)*)(?:\.([A-Z]\w*))?`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    for place in PLACE.findall(text):
        assert (ROOT / place).exists(), place
    for modules, name in NAME.findall(text):
        parts = modules.split(".")[1:]
        found: Any = importlib.import_module("weam_ext")
        for k, part in enumerate(parts, 1):
            try:
                found = importlib.import_module(".".join(["weam_ext", *parts[:k]]))
            except ModuleNotFoundError:
                found = getattr(found, part)
        assert not name or hasattr(found, name), f"weam_ext{modules}.{name}"
