"""Evaluation of encoders on downstream tasks: `python -m weam_ext.transfer`.

`docs/transfer.md` says what flows where. What it leaves, `weam_ext.report` makes a page of.
"""

from weam_ext.transfer.results import Cell, Evaluation, Row, read, read_all

__all__ = ["Cell", "Evaluation", "Row", "read", "read_all"]
