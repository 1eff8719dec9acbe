"""The command line of the aligner: `python -m weam_ext.align`, `weam-align`."""

import argparse
import math
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from weam_ext import _native
from weam_ext.align.aligner import PER_WORD, Aligner, MemoryPlan, told_spaces
from weam_ext.align.hmm import Prior, read_dictionary
from weam_ext.align.links import HEURISTICS, DroppedPairs, Links
from weam_ext.align.scoring import score
from weam_ext.align.settings import DIRECTIONS, MEMORY_MODES, MODELS
from weam_ext.align.storage import write_state
from weam_ext.common.errors import InputError, Parser, results, run, say
from weam_ext.common.files import (
    check_apart,
    check_folder_writable,
    check_writable,
    owned,
    path_or_name,
    write_whole,
)
from weam_ext.common.memory import available_memory, format_size, parse_size, peak_memory
from weam_ext.text.bitext import BitextSource, arriving_bitext, parse_columns
from weam_ext.text.lines import shown
from weam_ext.text.pharaoh import Link, read_gold

_DESCRIPTION = """
Word alignment: fast_align's model and flags, or an HMM that is more exact (--model hmm). Links go
to standard output, one line '0-0 1-2' for each input line; what is said about the run goes to
standard error.
"""
_BLANKS = re.compile("[ \t]+")
_OTHER_SPACE = re.compile(r"[^\S \t]")
_MOST = 2**31 - 1
# A flag, what it does, and those that contradict it.
_CONFLICTS = (
    ("--symmetrize", "trains both directions", "-r/--reverse -p/--conditional_probabilities"),
    (
        "--model hmm",
        "trains both directions of another model",
        "-d/--favor_diagonal -o/--optimize_tension -v/--variational_bayes -r/--reverse "
        "-T/--diagonal_tension -N/--no_null_word -p/--conditional_probabilities -f/--force_align",
    ),
    (
        "--model fast-align",
        "is no HMM",
        "--stems --keep-case --threshold --pair-scores --spelling --prior --fertility",
    ),
    (
        "--model DIR",
        "aligns with a kept model",
        "-d/--favor_diagonal -o/--optimize_tension -v/--variational_bayes -r/--reverse "
        "-I/--iterations -q/--p0 -a/--alpha -T/--diagonal_tension -N/--no_null_word --stems "
        "--keep-case --spelling --prior --fertility --init --save -f/--force_align",
    ),
    (
        "-f/--force_align",
        "aligns with a parameter file, pair by pair",
        "-p/--conditional_probabilities --symmetrize --init --save --lexicon --posteriors --gold",
    ),
    ("--init", "starts from the tension of the kept model", "-T/--diagonal_tension"),
)
_SUFFIXES = (".s2t", ".t2s")  # of the lexica of both directions
_Files = list[tuple[str, str, Callable[[], bytes]]]  # by whose wish, what, how it is made


def _parser() -> argparse.ArgumentParser:
    parser = Parser("weam_ext.align", _DESCRIPTION)
    _add_input(parser)
    _add_model(parser)
    _add_parameter_files(parser)
    _add_output(parser)
    _add_resources(parser)
    return parser


def _add_input(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("input").add_argument
    add(
        "-i",
        "--input",
        type=path_or_name,
        metavar="FILE",
        help="'source ||| target' or tab-separated lines; plain, gzip, xz, bzip2 or Zstandard; "
        "- for standard input",
    )
    add(
        "--source",
        type=path_or_name,
        metavar="FILE",
        help="the source sentences, line-aligned with --target",
    )
    add("--target", type=path_or_name, metavar="FILE", help="the target sentences")
    add(
        "--columns",
        metavar="S,T",
        help="source and target of a tab-separated file (default: 1,2, where the first line has a "
        "tab and no '|||')",
    )
    add("--limit", type=_count, metavar="N", help="take the first N pairs (default: all)")
    add("--lowercase", action="store_true", help="lower-case before aligning (default: off)")
    add(
        "--max-length",
        type=_count,
        default=0,
        metavar="N",
        help="pairs with more words on a side get an empty line (default: no limit)",
    )


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("model").add_argument
    add(
        "--model",
        default="fast-align",
        type=path_or_name,
        metavar="MODEL",
        help="fast-align or hmm, which trains both directions; anything else is the directory of a "
        "kept model, to align without training (./hmm is a directory) (default: %(default)s)",
    )
    add(
        "-I",
        "--iterations",
        type=_count,
        metavar="N",
        help="of training; fast-align's last one aligns (default: 5; hmm: 2, from ten "
        "million words a side on 3)",
    )
    add(
        "-q",
        "--p0",
        type=float,
        metavar="P",
        help="prior of NULL, of fast-align with -d (default: 0.08; hmm: 0.06, from a million "
        "words a side on 0.1)",
    )
    add(
        "-a",
        "--alpha",
        type=_positive,
        metavar="X",
        help="of the Dirichlet prior (default: 0.01; hmm: 0.13)",
    )
    add("--save", type=path_or_name, metavar="DIR", help="keep the trained model")
    add(
        "--init",
        type=path_or_name,
        metavar="DIR",
        help="go on from a kept model, its counts beside the new ones",
    )
    add = parser.add_argument_group("the HMM").add_argument
    add(
        "--stems",
        metavar="STEMS",
        help="what of each word is learnt: words, prefix:N, suffix:N, or several with commas, "
        "whose posteriors are averaged (default: by the size of the text)",
    )
    add(
        "--spelling",
        type=float,
        metavar="X",
        help="of two words spelt the same, in Latin letters, so many links seen beforehand, fewer "
        "of words spelt nearly so (default: 3, from a million words a side on 1)",
    )
    add(
        "--fertility",
        choices=("on", "off"),
        help="learn how many links each word has (default: on, from a million words a side on off)",
    )
    add(
        "--prior",
        type=path_or_name,
        metavar="FILE",
        help="a dictionary, lines 'source target' or 'source target count': so many links seen "
        "beforehand (default of a line: 3)",
    )
    add("--keep-case", action="store_true", help="learn words with their case (default: off)")
    add(
        "--threshold",
        type=float,
        metavar="P",
        help="link where the mean of both directions' posteriors is above it (default: 0.5)",
    )
    add = parser.add_argument_group(
        "fast-align, with fast_align's letters (recommended: -d -o -v)"
    ).add_argument
    add("-d", "--favor_diagonal", action="store_true", help="favour the diagonal (default: off)")
    add("-o", "--optimize_tension", action="store_true", help="learn how much (default: off)")
    add(
        "-v",
        "--variational_bayes",
        action="store_true",
        help="Dirichlet prior on translations (default: off)",
    )
    add(
        "-r",
        "--reverse",
        action="store_true",
        help="train P(source | target): a link for each source word (default: for each target "
        "word); links stay 'source-target'",
    )
    add(
        "-T",
        "--diagonal_tension",
        type=float,
        metavar="X",
        help="how much the diagonal is favoured, with -o at the start (default: 4); implies -d",
    )
    add("-N", "--no_null_word", action="store_true", help="no NULL word (default: there is one)")


def _add_parameter_files(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("fast_align's parameter files").add_argument
    add(
        "-p",
        "--conditional_probabilities",
        type=path_or_name,
        metavar="FILE",
        help="write the table as lines 'source TAB target TAB log probability' (Sockeye too)",
    )
    add(
        "-t",
        "--beam_threshold",
        type=float,
        default=-4.0,
        metavar="X",
        help="of -p: of each row, what has log t >= -X log(largest t) (default: %(default)s)",
    )
    add(
        "-f",
        "--force_align",
        type=path_or_name,
        metavar="FILE",
        help="align with such a file, without training, and write 'source ||| target ||| links "
        "||| score'; give the -d, -T, -m, -q, -N and -r that belong to it",
    )
    add(
        "-m",
        "--mean_srclen_multiplier",
        type=_positive,
        default=1.0,
        metavar="X",
        help="of -f: expected target length / source length (default: %(default)s)",
    )
    add(
        "-b",
        "--thread_buffer_size",
        type=int,
        metavar="N",
        help="taken for fast_align's sake; there is nothing to choose here (no default)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("output").add_argument
    add(
        "--symmetrize",
        choices=HEURISTICS,
        metavar="METHOD",
        help=f"train both directions and combine them: {', '.join(HEURISTICS)} (default: one "
        "direction; hmm: by their posteriors)",
    )
    add(
        "-s",
        "--scores",
        action="store_true",
        help="'links ||| score': log P(target | source), with -r log P(source | target); with "
        "--symmetrize both, in this order (default: off)",
    )
    add(
        "--pair-scores",
        type=path_or_name,
        metavar="FILE",
        help="with an HMM, write the log-probability per word of each pair, the mean of both "
        "directions': low for what is no translation",
    )
    add(
        "--posteriors",
        action="store_true",
        help="'0-0:0.9312': the probability of each link, with --symmetrize the mean of both "
        "directions' (default: off)",
    )
    add(
        "--lexicon",
        type=path_or_name,
        metavar="FILE",
        help="write the likeliest translations, lines 'target source probability', with -r 'source "
        "target probability' (Moses, Marian); with --symmetrize both, to FILE.s2t and FILE.t2s",
    )
    add(
        "--top",
        type=_count,
        default=100,
        metavar="K",
        help="of --lexicon: so many a word (default: %(default)s)",
    )
    add(
        "--gold",
        type=path_or_name,
        metavar="FILE",
        help="score the last lines of the input against gold links ('i-j' sure, 'i?j' possible)",
    )


def _add_resources(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("resources").add_argument
    add("--threads", type=_count, metavar="N", help="(default: all processors)")
    add(
        "--memory",
        choices=MEMORY_MODES,
        default="auto",
        metavar="MODE",
        help="fast keeps an index, whatever it takes; low makes it anew when needed; auto chooses; "
        "the links are the same (default: %(default)s)",
    )
    add(
        "--max-memory",
        type=_size,
        metavar="SIZE",
        help="such as 2G: use temporary files rather than more (default: 80%% of what is free)",
    )
    add(
        "--temp-dir",
        type=path_or_name,
        metavar="DIR",
        help="for temporary files (default: the system's)",
    )


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MOST:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to {_MOST}, not {text!r}")
    return int(text)


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, not {text!r}")
    return value


def _size(text: str) -> int:
    try:
        return parse_size(text)
    except InputError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def main(arguments: Sequence[str] | None = None) -> None:
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options = parser.parse_args(arguments)
    results()  # are what this is for
    _refuse_conflicts(parser, options, arguments)
    bitext = _bitext(options)
    aligner = _aligner(options)
    files = _files(aligner, options)
    _check_places(files, options)
    if options.force_align:
        _force_align(aligner, options, bitext)
        return
    gold = read_gold(options.gold) if options.gold else []
    init = Aligner.load(options.init) if options.init else None
    prior = read_dictionary(options.prior) if options.prior else {}
    with _place(Path(options.save)) if options.save else nullcontext():
        _align(aligner, init, prior, bitext, gold, files, options)


def _align(
    aligner: Aligner,
    init: Aligner | None,
    prior: Prior,
    bitext: BitextSource,
    gold: Sequence[tuple[set[Link], set[Link]]],
    files: _Files,
    options: argparse.Namespace,
) -> None:
    text = _read(aligner, init, bitext, options)
    dropped = DroppedPairs(*text.dropped)
    if len(gold) > len(text):
        raise InputError(f"{options.gold} has {len(gold)} lines, the input only {len(text)}")
    output = _Output(aligner, options, len(gold))
    if _kept(options):
        aligner.align_text(text, output.take, posteriors=options.posteriors)
    else:
        _train(aligner, init, prior, text, bitext, None if options.posteriors else output)
        if options.posteriors:
            aligner.align_text(text, output.take, posteriors=True)
    results().flush()  # a full disk leaves nothing to report
    if options.save:
        write_state(aligner.state(), Path(options.save))
    for _, path, make in files:
        write_whole(Path(path), make())
    if options.pair_scores:
        lines = "".join(f"{value:.6g}\n" for value in output.per_word)
        write_whole(Path(options.pair_scores), lines.encode())
    say(f"dropped pairs: {dropped}")
    _report_spaces(text.other_spaces)
    say(f"peak memory: {format_size(peak_memory())}")
    if gold:
        say(f"{len(gold)} gold pairs: {score(output.tail, gold)}")


@contextmanager
def _place(folder: Path) -> Iterator[None]:
    """A folder to save to, and nobody else: who else would is told before training.

    One that was made for nothing is removed.
    """
    there = folder.exists()
    try:
        with owned(folder):
            yield
    finally:
        if not there:
            with suppress(OSError):  # it has something in it
                folder.rmdir()


def script() -> NoReturn:
    """The program `weam-align`."""
    run("weam_ext.align", main)


def _refuse_conflicts(
    parser: argparse.ArgumentParser, options: argparse.Namespace, arguments: Sequence[str]
) -> None:
    written = {argument.partition("=")[0] for argument in arguments}

    def found(names: str) -> str:
        """A flag as the user wrote it, or "" where it has its default."""
        forms = names.split("/")
        name = forms[-1].removeprefix("--").replace("-", "_")
        if getattr(options, name) == parser.get_default(name):
            return ""
        return forms[-1] if forms[-1] in written else forms[0]

    chosen = f"--model {'DIR' if _kept(options) else options.model}"
    for names, does, others in _CONFLICTS:
        flag = found(names) if " " not in names else names == chosen and f"--model {options.model}"
        for other in filter(None, map(found, others.split())):
            if flag:
                raise InputError(f"{flag} {does}: leave out {other}")


def _kept(options: argparse.Namespace) -> bool:
    """Whether --model names the directory of a kept model."""
    return options.model not in MODELS


def _bitext(options: argparse.Namespace) -> BitextSource:
    if (options.source is None) != (options.target is None):
        raise InputError("--source and --target go together")
    if (options.input is None) == (options.source is None):
        raise InputError("give -i FILE, or --source FILE and --target FILE (see --help)")
    if options.columns and options.source:
        raise InputError("--source and --target have no --columns")
    paths = (options.input,) if options.input is not None else (options.source, options.target)
    return BitextSource("input", paths, parse_columns(options.columns), options.limit)


def _aligner(options: argparse.Namespace) -> Aligner:
    resources = {
        "threads": options.threads,
        "memory": options.memory,
        "max_memory": options.max_memory,
        "temp_dir": options.temp_dir,
    }
    if _kept(options):
        return _kept_aligner(options, resources)
    shared = {
        "iterations": options.iterations,
        "p0": options.p0,
        "alpha": options.alpha,
        "max_length": options.max_length,
        **resources,
    }
    if options.model == "hmm":
        return Aligner(
            heuristic=options.symmetrize,
            threshold=options.threshold,
            spelling=options.spelling,
            fertility={"on": True, "off": False}.get(options.fertility),
            stems=options.stems,
            fold_case=not options.keep_case,
            **shared,
        )
    tension = options.diagonal_tension
    return Aligner(
        model="fast-align",
        heuristic=options.symmetrize or DIRECTIONS[options.reverse],
        tension=tension,
        favor_diagonal=options.favor_diagonal or tension is not None,
        optimize_tension=options.optimize_tension,
        variational_bayes=options.variational_bayes,
        null_word=not options.no_null_word,
        **shared,
    )


def _kept_aligner(options: argparse.Namespace, resources: dict[str, Any]) -> Aligner:
    aligner = Aligner.load(options.model, **resources)
    one_direction = not aligner.hmm and aligner.heuristic in DIRECTIONS
    for name in ("threshold", "pair_scores"):
        if getattr(options, name) is not None and not aligner.hmm:
            flag = name.replace("_", "-")
            raise InputError(f"{options.model} is of fast-align: leave out --{flag}")
    if options.threshold is not None:
        aligner.threshold = options.threshold
    if options.symmetrize and one_direction:
        raise InputError(f"{options.model} has one direction only: leave out --symmetrize")
    if options.conditional_probabilities and not one_direction:
        raise InputError(f"{options.model} has both directions, a parameter file only one")
    aligner.heuristic = options.symmetrize or aligner.heuristic
    aligner.max_length = options.max_length or aligner.max_length
    return aligner


def _files(aligner: Aligner, options: argparse.Namespace) -> _Files:
    """What is written once the model is there, and how it is made."""
    files: _Files = []
    if path := options.conditional_probabilities:
        files.append(("-p", path, partial(aligner.parameters_text, options.beam_threshold)))
    if path := options.lexicon:
        alone = not aligner.hmm and aligner.heuristic in DIRECTIONS
        names = {aligner.heuristic: ""} if alone else dict(zip(DIRECTIONS, _SUFFIXES, strict=True))
        for direction, suffix in names.items():
            make = partial(aligner.lexicon_text, options.top, direction)
            files.append(("--lexicon", path + suffix, make))
    return files


def _check_places(files: _Files, options: argparse.Namespace) -> None:
    """Notice now what could not be written after hours of training, or would be written over."""
    read = {
        "-i": options.input,
        "--source": options.source,
        "--target": options.target,
        "--gold": options.gold,
        "--prior": options.prior,
        "-f": options.force_align,
    }
    written = [(flag, path) for flag, path, _ in files]
    if options.pair_scores:
        written.append(("--pair-scores", options.pair_scores))
    check_apart(
        {f"{flag} {path}": path for flag, path in read.items() if path is not None},
        {f"{flag} {path}": path for flag, path in written},
    )
    for _, path in written:
        check_writable(Path(path))
    if options.save:
        check_folder_writable(Path(options.save))
    if options.temp_dir and not Path(options.temp_dir).is_dir():
        raise InputError(f"--temp-dir {options.temp_dir}: no such folder")


def _read(
    aligner: Aligner, init: Aligner | None, bitext: BitextSource, options: argparse.Namespace
) -> _native.Text:
    with tqdm(desc="reading", unit="B", unit_scale=True, disable=None) as bar:
        return aligner.read(
            bitext,
            init=init,
            model=aligner.model if _kept(options) else None,
            lowercase=options.lowercase,
            on_bytes=bar.update,
        )


def _train(
    aligner: Aligner,
    init: Aligner | None,
    prior: Prior,
    text: _native.Text,
    bitext: BitextSource,
    output: "_Output | None",
) -> None:
    total = aligner.iterations(text, init)
    alone = not aligner.hmm and aligner.heuristic in DIRECTIONS
    names = (aligner.heuristic,) if alone else DIRECTIONS
    numbers = iter(range(1, total + 1))
    with tqdm(total=total, desc="aligning", unit="iteration", disable=None) as bar:

        def report(measures: list[_native.Iteration]) -> None:
            bar.update()
            bar.clear()
            _report_iteration(next(numbers), total, names, measures)

        try:
            aligner.fit_text(
                text,
                init=init,
                prior=prior,
                progress=report,
                on_memory=_report_memory,
                take=output.take if output else None,
            )
        except ValueError as error:
            raise InputError(f"{' and '.join(map(shown, bitext.paths))}: {error}") from error
    for name in names:
        prefix = f"{name}: " if len(names) > 1 else ""
        say(f"{prefix}expected target length = source length * {aligner.length_ratio[name]:.6g}")
        if (
            not aligner.hmm
            and aligner.settings["favor_diagonal"]
            and aligner.settings["optimize_tension"]
        ):
            say(f"{prefix}final tension: {aligner.tension[name]:.6g}")


def _report_memory(plan: MemoryPlan) -> None:
    other = "" if plan.mode == "fast" else f" (fast mode would need {format_size(plan.fast)})"
    say(
        f"memory: {plan.mode} mode, about {format_size(plan.needed)}{other}; "
        f"{format_size(available_memory())} free"
    )
    if plan.limit and plan.needed > plan.limit:
        reason = "with less, there would be too many passes"
        if plan.longest:
            longest = format_size(plan.longest)
            reason = f"of an HMM, the table is read at random; its longest pair takes {longest}"
        say(f"this is more than --max-memory: {reason}")


def _report_iteration(
    number: int, total: int, names: Sequence[str], measures: list[_native.Iteration]
) -> None:
    """In fast_align's words, which scripts look for."""
    say(f"ITERATION {number}{' (FINAL)' if number == total else ''}")
    for name, measured in zip(names, measures, strict=True):
        base2 = measured.log_likelihood / math.log(2)
        if len(names) > 1:
            say(f" {name}")
        say(f"  log_e likelihood: {measured.log_likelihood:.6g}")
        say(f"  log_2 likelihood: {base2:.6g}")
        say(f"     cross entropy: {math.log2(measured.perplexity):.6g}")
        say(f"        perplexity: {measured.perplexity:.6g}")
        say(f"      posterior p0: {measured.posterior_p0:.6g}")
        say(f" posterior al-feat: {measured.posterior_feature:.6g}")
        say(f"           tension: {measured.tension:.6g}")


def _report_spaces(pairs: int) -> None:
    if pairs:
        say(told_spaces(pairs))


class _Output:
    """Writes the lines of links as they come, and keeps those that have gold links."""

    def __init__(self, aligner: Aligner, options: argparse.Namespace, gold: int) -> None:
        self.tail: list[list[Link]] = []
        alone = not aligner.hmm and aligner.heuristic in DIRECTIONS
        self._names = (aligner.heuristic,) if alone else DIRECTIONS
        self._by_target = aligner.heuristic == "forward"
        self._scores = options.scores
        self._posteriors = options.posteriors
        self._threads = options.threads
        self._gold = gold
        self.per_word: list[float] = []

    def take(self, links: Links, scores: dict[str, NDArray[np.float64]]) -> None:
        text = links.to_pharaoh(
            by_target=self._by_target, probabilities=self._posteriors, threads=self._threads
        )
        self.per_word += scores.get(PER_WORD, np.zeros(0)).tolist()
        if self._scores:
            columns = zip(*(scores[name].tolist() for name in self._names), strict=True)
            lines = zip(text.splitlines(), columns, strict=True)
            text = "".join(
                f"{line} ||| {' '.join(f'{value:.6g}' for value in row)}\n" for line, row in lines
            )
        results().write(text)
        if self._gold:
            last = links.part(max(0, len(links) - self._gold), len(links)).to_lists()
            self.tail = (self.tail + last)[-self._gold :]


def _force_align(aligner: Aligner, options: argparse.Namespace, bitext: BitextSource) -> None:
    """fast_align's -f: every pair with its links and score, as soon as it has been read."""
    aligner.take_parameters(Path(options.force_align), options.mean_srclen_multiplier)
    total = 0.0
    dropped = DroppedPairs()
    spaces = 0
    for pairs in arriving_bitext(bitext):
        sides = [[_words(pair[side], options.lowercase) for pair in pairs] for side in (0, 1)]
        alignment = aligner.align(*sides)
        links = alignment.to_pharaoh(by_target=not options.reverse).splitlines()
        scores = alignment.scores[aligner.heuristic].tolist()
        for row in zip(*sides, links, scores, strict=True):
            results().write(_forced_row(*row))
        results().flush()
        total += sum(value for value in scores if not math.isnan(value))
        dropped += alignment.dropped
        spaces += sum(bool(_OTHER_SPACE.search(" ".join(pair))) for pair in pairs if all(pair))
    say(f"dropped pairs: {dropped}")
    _report_spaces(spaces)
    say(f"TOTAL LOG PROB {total:.6g}")


def _words(sentence: str, lowercase: bool) -> list[str]:
    text = sentence.lower() if lowercase else sentence
    return _BLANKS.split(text) if text else []


def _forced_row(source: list[str], target: list[str], links: str, value: float) -> str:
    """In fast_align's form, to the blank: nothing stands for what is empty."""
    fields = [*source, "|||", *target, "|||", *links.split(), "|||", f"{value:.6g}"]
    return " ".join(fields) + "\n"
