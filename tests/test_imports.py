"""The house stands: what imports what, read from the source of every module.

A wing is a package of `weam_ext`. It may import from wings on lower floors and from itself; modules
never import each other in a circle. Imports within functions, under TYPE_CHECKING and by
`import_module` count as well.
"""

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers import ROOT

PACKAGE = ROOT / "weam_ext"
FLOORS = (
    ("common",),
    ("text", "ops"),
    ("data",),
    ("model",),
    ("align",),
    ("prepare",),
    ("train", "transfer"),
    ("report",),
)
FLOOR = {wing: floor for floor, wings in enumerate(FLOORS) for wing in wings}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imported(source: str) -> Iterator[str]:
    """The modules of the package that a source imports, in whatever way."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports name the whole path"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            beginning = re.match(r"f?['\"](weam_ext[\w.]*)", ast.unparse(node.args[0]))
            if beginning:
                yield from (name for name in MODULES if name.startswith(beginning[1]))


IMPORTS = {
    module: {name for name in imported(path.read_text()) if name in MODULES} - {module, "weam_ext"}
    for module, path in MODULES.items()
    if module != "weam_ext"
}


def wing(module: str) -> str:
    return module.split(".")[1]


def test_every_module_is_in_a_wing() -> None:
    assert {wing(module) for module in IMPORTS} == set(FLOOR)


@pytest.mark.parametrize("module", IMPORTS)
def test_the_public_names_are_for_users(module: str) -> None:
    """Within the package a name is imported from where it is defined."""
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "weam_ext":
            assert {alias.name for alias in node.names} <= {"_native", "__version__"}


@pytest.mark.parametrize("module", IMPORTS)
def test_no_import_goes_upwards(module: str) -> None:
    for other in IMPORTS[module]:
        same = wing(other) == wing(module)
        assert same or FLOOR[wing(other)] < FLOOR[wing(module)], f"{module} imports {other}"


def test_no_circle() -> None:
    list(TopologicalSorter(IMPORTS).static_order())


def test_what_counts_as_an_import() -> None:
    source = """
from weam_ext.text import lines
def later():
    import weam_ext.align.links
    import_module(f"weam_ext.ops.triton.{name}")
"""
    found = set(imported(source))
    assert {"weam_ext.text.lines", "weam_ext.align.links", "weam_ext.ops.triton.mask"} <= found
