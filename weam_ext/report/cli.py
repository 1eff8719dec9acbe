"""Tables, figures and verdicts from predictions: `python -m weam_ext.report DIR`.

It reads `DIR/cells` as `weam_ext.transfer` leaves them and writes `report.html` (one page that
needs nothing else), `report.md` and, for programs, `report.json` beside them. No model, no data
set and no GPU is needed.
"""

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path

from weam_ext.common.errors import InputError, Parser
from weam_ext.common.files import user_path, write_whole
from weam_ext.transfer.results import current, read_all, read_failed, read_models

NEEDED = ("jinja2", "matplotlib", "scipy")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = Parser("weam_ext.report", (__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "directory", type=user_path, metavar="DIR", help="the --output of weam_ext.transfer"
    )
    parser.add_argument(
        "--role", nargs="+", default=[], metavar="ROLE=MODEL",
        help="which model is base, tlm, word-aligned, weam, weam-.15 in the claims (default: by "
        "name)",
    )  # fmt: skip
    parser.add_argument(
        "--bitext-languages", nargs="+", metavar="CODE",
        help="languages with parallel text in pre-training (default: those that the names of the "
        "runs' bitexts tell)",
    )  # fmt: skip
    parser.add_argument(
        "--title", default="Does alignment pre-training help?", help="(%(default)s)"
    )
    parser.add_argument(
        "--submission", type=user_path, metavar="OUT",
        help="instead of a report, write one model's predictions as XTREME takes them",
    )  # fmt: skip
    parser.add_argument("--model", metavar="NAME", help="that model (default: the only one)")
    parser.add_argument("--seed", type=int, default=0, help="that seed (%(default)s)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(arguments)
    if options.submission:
        _submit(options)
        return
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(f"needs {name}: pip install 'weam-ext[transfer]'") from error
    from weam_ext.report.compose import compose
    from weam_ext.report.page import to_html, to_json, to_markdown
    from weam_ext.report.table import Results

    directory: Path = options.directory
    rows, failed = read_all(directory), list(read_failed(directory))
    if not rows:
        raise InputError(f"{directory}: no results of weam_ext.transfer there")
    roles = {}
    for argument in options.role:
        role, equals, model = argument.partition("=")
        if not equals:
            raise InputError(f"--role {argument}: expected ROLE=MODEL")
        roles[role] = model
    parts = compose(Results(rows, read_models(directory)), failed, roles, options.bitext_languages)
    write_whole(directory / "report.html", to_html(options.title, parts).encode())
    write_whole(directory / "report.json", to_json(options.title, parts).encode())
    text = to_markdown(options.title, parts)
    write_whole(directory / "report.md", text.encode())
    print(text, end="")


def _submit(options: argparse.Namespace) -> None:
    from weam_ext.report.submission import write_submission

    rows = list(current(read_all(options.directory), read_models(options.directory)))
    models = list(dict.fromkeys(row.cell.model for row in rows))
    if not options.model and len(models) != 1:
        raise InputError(f"--submission needs --model, one of {', '.join(models) or 'none'}")
    model = options.model or models[0]
    for path in write_submission(rows, model, options.seed, options.submission):
        print(path)
