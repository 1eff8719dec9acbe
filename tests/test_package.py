"""The package as it is installed and as it lies in the checkout."""

import subprocess
import sys
from importlib.metadata import requires, version
from importlib.resources import files
from pathlib import Path

from helpers import ROOT

PACKAGE = ROOT / "weam_ext"


def python(code: str, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_checkout_s_root_is_a_place_to_work_in() -> None:
    """The build leaves the native module there, so that the sources shadow nothing that works."""
    found = python("import weam_ext._native as native; print(native.__file__)", ROOT)
    assert Path(found).parent == ROOT / "weam_ext"
    source = "from weam_ext import Aligner; print(Aligner().fit_align(['a b'], ['c d'])[0])"
    assert python(source, ROOT) == "[(0, 0), (1, 1)]"


def test_elsewhere_the_installed_package_is_used(tmp_path: Path) -> None:
    assert python("import weam_ext._native, weam_ref; print('here')", tmp_path) == "here"


def test_importing_the_package_or_the_aligner_imports_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, weam_ext, weam_ref.diagonal; weam_ext.Aligner;"
        "print({'torch', 'transformers', 'pyarrow', 'tokenizers'} & {*sys.modules})"
    )
    assert python(code, tmp_path) == "set()"


def test_types_and_stubs_are_installed() -> None:
    for package in ("weam_ext", "weam_ref"):
        assert (files(package) / "py.typed").is_file()
    assert (files("weam_ext") / "_native.pyi").is_file()


def test_the_page_s_templates_are_installed() -> None:
    for name in ("page.css", "page.html", "page.js", "page.md"):
        assert (files("weam_ext.report") / name).is_file()


def test_metadata() -> None:
    assert version("weam-ext") == "0.1.0"
    extras = {line.rpartition("extra == ")[2].strip("'\"") for line in requires("weam-ext") or []}
    assert {"scipy", "test", "transfer", "dev"} <= extras


def test_every_module_has_its_test_file() -> None:
    """Under the same name: who changes a module knows where its tests are."""
    modules = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")]
    named = [module for module in modules if not module.stem.startswith("__")]
    assert len(named) > 90
    files = {module: ROOT / "tests" / module.with_name(f"test_{module.name}") for module in named}
    assert [str(module) for module, file in files.items() if not file.is_file()] == []
