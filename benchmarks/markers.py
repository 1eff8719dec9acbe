"""Tables that scripts write into documents, between two markers."""

from pathlib import Path

from weam_ext.common.errors import InputError
from weam_ext.common.files import write_whole


def insert(document: Path, begin: str, end: str, table: str) -> None:
    """Put a table between the two markers of a file, in place of what is there.

    Raises `InputError` where the markers are not there once each, in their order.
    """
    text = document.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed or begin in rest or end in tail:
        raise InputError(f"{document}: expected one line {begin!r} and, after it, one {end!r}")
    write_whole(document, f"{head}{begin}\n{table}\n{end}{tail}".encode())
