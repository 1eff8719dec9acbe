"""Word-exchange aligning pre-training (WEAM): from parallel text to a better encoder.

The names below are the public API; they are loaded when they are first used. Names elsewhere are
free to change. The commands are `python -m weam_ext.align`, `.prepare`, `.train`, `.transfer` and
`.report`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from weam_ext.align.aligner import Aligner
    from weam_ext.align.links import Links, symmetrize
    from weam_ext.align.scoring import score
    from weam_ext.common.errors import InputError
    from weam_ext.text.bitext import BitextSource

__all__ = [
    "Aligner",
    "BitextSource",
    "InputError",
    "Links",
    "__version__",
    "score",
    "symmetrize",
]
__version__ = "0.1.0"
_MODULES = {
    "Aligner": "weam_ext.align.aligner",
    "BitextSource": "weam_ext.text.bitext",
    "InputError": "weam_ext.common.errors",
    "Links": "weam_ext.align.links",
    "score": "weam_ext.align.scoring",
    "symmetrize": "weam_ext.align.links",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'weam_ext' has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return __all__
