"""The command line of the aligner: `python -m weam_ext.align`, `weam-align`."""

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
from weam_ext.align.aligner import Aligner, MemoryPlan, told_spaces
from weam_ext.align.hmm import PER_WORD, read_dictionary
from weam_ext.align.links import DroppedPairs, Links
from weam_ext.align.model import Prior
from weam_ext.align.options import ENCODED, AlignOptions, refuse_conflicts
from weam_ext.align.scoring import score
from weam_ext.align.storage import write_state
from weam_ext.common.errors import InputError, Parser, results, run, say
from weam_ext.common.files import (
    check_apart,
    check_folder_writable,
    check_writable,
    owned,
    write_whole,
)
from weam_ext.common.memory import available_memory, format_size, peak_memory
from weam_ext.common.settings import add_flags, given
from weam_ext.text.bitext import BitextSource, arriving_bitext
from weam_ext.text.lines import shown
from weam_ext.text.pharaoh import Link, read_gold

_DESCRIPTION = """
Word alignment: fast_align's model and flags, an HMM that is more exact (--model hmm), or a
multilingual encoder, with the HMM or alone (--encoder), which is the most exact. Links go to
standard output, one line '0-0 1-2' for each input line; what is said about the run goes to
standard error.
"""
_BLANKS = re.compile("[ \t]+")
_OTHER_SPACE = re.compile(r"[^\S \t]")
_SUFFIXES = (".s2t", ".t2s")  # of the lexica of both directions
_Files = list[tuple[str, str, Callable[[], bytes]]]  # by whose wish, what, how it is made


def parse(arguments: Sequence[str]) -> AlignOptions:
    parser = Parser("weam_ext.align", _DESCRIPTION)
    add_flags(parser, AlignOptions)
    named = given(parser, AlignOptions, arguments)
    if "encoder" in named:
        named.setdefault("model", ENCODED[0])
    options = AlignOptions(**named)
    refuse_conflicts(options, list(named), arguments)
    return options


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse(sys.argv[1:] if arguments is None else arguments)
    results()  # are what this is for
    bitext = options.bitext
    aligner = _aligner(options)
    files = _files(aligner, options)
    _check_places(files, options)
    if options.force_align:
        _force_align(aligner, options, options.force_align)
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
    options: AlignOptions,
) -> None:
    text = _read(aligner, init, bitext, options)
    dropped = DroppedPairs(*text.dropped)
    if len(gold) > len(text):
        raise InputError(f"{options.gold} has {len(gold)} lines, the input only {len(text)}")
    output = _Output(aligner, options, len(gold))
    if options.kept:
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


def _aligner(options: AlignOptions) -> Aligner:
    resources: Any = {
        "threads": options.threads,
        "memory": options.memory,
        "max_memory": options.max_memory,
        "temp_dir": options.temp_dir,
        "device": options.device,
    }
    if options.kept:
        kept = Aligner.load(options.model, encoder=options.encoder, **resources)
        return _kept_aligner(options, kept)
    shared: Any = {
        "iterations": options.iterations,
        "p0": options.p0,
        "alpha": options.alpha,
        "max_length": options.max_length or 0,
        **resources,
    }
    encoded: Any = {
        "encoder": options.encoder,
        "layer": options.layer,
        "scale": options.scale,
        "weight": options.weight,
    }
    if options.model == "encoder":
        return Aligner(
            model="encoder",
            heuristic=options.symmetrize,
            threshold=options.threshold,
            **encoded,
            **shared,
        )
    if options.model in ("hmm", "hybrid"):
        return Aligner(
            model=options.model,
            **encoded,
            heuristic=options.symmetrize,
            threshold=options.threshold,
            spelling=options.spelling,
            fertility={"on": True, "off": False, None: None}[options.fertility],
            stems=options.stems,
            fold_case=not options.keep_case,
            **shared,
        )
    if options.model != "fast-align":
        return Aligner(model=options.model, heuristic=options.symmetrize, **shared)
    tension = options.diagonal_tension
    return Aligner(
        model="fast-align",
        heuristic=options.heuristic,
        tension=tension,
        favor_diagonal=options.favor_diagonal or tension is not None,
        optimize_tension=options.optimize_tension,
        variational_bayes=options.variational_bayes,
        null_word=not options.no_null_word,
        **shared,
    )


def _kept_aligner(options: AlignOptions, aligner: Aligner) -> Aligner:
    one_direction = len(aligner.directions) == 1
    for flag, value in (("threshold", options.threshold), ("pair-scores", options.pair_scores)):
        if value is not None and aligner.threshold is None:
            raise InputError(f"{options.model} is of {aligner.kind}: leave out --{flag}")
    if options.threshold is not None:
        aligner.threshold = options.threshold
    if options.symmetrize and one_direction:
        raise InputError(f"{options.model} has one direction only: leave out --symmetrize")
    if options.conditional_probabilities and not one_direction:
        raise InputError(f"{options.model} has both directions, a parameter file only one")
    aligner.heuristic = options.symmetrize or aligner.heuristic
    aligner.max_length = options.max_length or aligner.max_length
    return aligner


def _files(aligner: Aligner, options: AlignOptions) -> _Files:
    """What is written once the model is there, and how it is made."""
    files: _Files = []
    if path := options.conditional_probabilities:
        files.append(("-p", path, partial(aligner.parameters_text, options.beam_threshold)))
    if path := options.lexicon:
        alone = len(aligner.directions) == 1
        suffixes = ("",) if alone else _SUFFIXES
        for direction, suffix in zip(aligner.directions, suffixes, strict=True):
            make = partial(aligner.lexicon_text, options.top, direction)
            files.append(("--lexicon", path + suffix, make))
    return files


def _check_places(files: _Files, options: AlignOptions) -> None:
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
    aligner: Aligner, init: Aligner | None, bitext: BitextSource, options: AlignOptions
) -> _native.Text:
    with tqdm(desc="reading", unit="B", unit_scale=True, disable=None) as bar:
        return aligner.read(
            bitext,
            init=init,
            known=bool(options.kept),
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
    total, names = aligner.iterations(text, init), aligner.directions
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
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{' and '.join(map(shown, bitext.paths))}: {error}") from error
    optimized = aligner.settings.get("favor_diagonal") and aligner.settings["optimize_tension"]
    for name in aligner.length_ratio:
        prefix = f"{name}: " if len(names) > 1 else ""
        say(f"{prefix}expected target length = source length * {aligner.length_ratio[name]:.6g}")
        if optimized:
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

    def __init__(self, aligner: Aligner, options: AlignOptions, gold: int) -> None:
        self.tail: list[list[Link]] = []
        self._names = aligner.directions
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


def _force_align(aligner: Aligner, options: AlignOptions, parameters: str) -> None:
    """fast_align's -f: every pair with its links and score, as soon as it has been read."""
    aligner.take_parameters(Path(parameters), options.mean_srclen_multiplier)
    total = 0.0
    dropped = DroppedPairs()
    spaces = 0
    for pairs in arriving_bitext(options.bitext):
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
