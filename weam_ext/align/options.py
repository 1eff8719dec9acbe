"""The options of `python -m weam_ext.align`, which takes fast_align's flags too."""

from collections.abc import Sequence
from dataclasses import dataclass

from weam_ext.align.links import HEURISTICS
from weam_ext.align.models import MODELS
from weam_ext.align.settings import DIRECTIONS, MEMORY_MODES
from weam_ext.common.errors import InputError
from weam_ext.common.files import path_or_name
from weam_ext.common.memory import parse_size
from weam_ext.common.settings import Settings, above, at_least, option, within
from weam_ext.text.bitext import BitextSource, parse_columns


@dataclass(frozen=True)
class _Input(Settings, group="input"):
    input: str | None = option(
        None,
        "The bitext: 'source ||| target' or tab-separated lines, plain or compressed by gzip, xz, "
        "bzip2 or Zstandard; - for standard input.",
        flags=("-i", "--input"),
        parse=path_or_name,
        metavar="FILE",
    )
    source: str | None = option(
        None,
        "The source sentences, line-aligned with --target.",
        parse=path_or_name,
        metavar="FILE",
    )
    target: str | None = option(None, "The target sentences.", parse=path_or_name, metavar="FILE")
    columns: str | None = option(
        None,
        "The columns of source and target in a tab-separated file. By default 1,2, where the first "
        "line has a tab and no '|||'.",
        metavar="S,T",
    )
    limit: int | None = option(
        None, "Take only the first N pairs. By default all.", rule=at_least(1)
    )
    lowercase: bool = option(False, "Lower-case the text before aligning.", switch=True)
    max_length: int | None = option(
        None,
        "Pairs with more words on a side get an empty line. By default there is no limit.",
        rule=at_least(1),
    )


@dataclass(frozen=True)
class _Model(Settings, group="model"):
    model: str = option(
        "fast-align",
        "fast-align, or hmm, which trains both directions; with --encoder, hybrid (then the "
        "default) or encoder. Anything else is the directory of a saved model, to align without "
        "training (./hmm is a directory).",
        parse=path_or_name,
        metavar="MODEL",
    )
    iterations: int | None = option(
        None,
        "How many iterations are trained; fast-align's last one aligns. By default 5; hmm: 2, and "
        "3 from ten million words a side on.",
        flags=("-I", "--iterations"),
        rule=at_least(1),
    )
    p0: float | None = option(
        None,
        "The prior probability of NULL, for fast-align with -d. By default 0.08; hmm: 0.06, and "
        "0.1 from a million words a side on.",
        flags=("-q", "--p0"),
        metavar="P",
    )
    alpha: float | None = option(
        None,
        "The concentration of the Dirichlet prior. By default 0.01; hmm: 0.13.",
        flags=("-a", "--alpha"),
        rule=above(0),
    )
    save: str | None = option(
        None, "Save the trained model there.", parse=path_or_name, metavar="DIR"
    )
    init: str | None = option(
        None,
        "Continue training a saved model; its expected counts are added to the new ones.",
        parse=path_or_name,
        metavar="DIR",
    )


@dataclass(frozen=True)
class _Hmm(Settings, group="the HMM"):
    stems: str | None = option(
        None,
        "What of each word is learnt: words, prefix:N, suffix:N, or several with commas, whose "
        "posteriors are averaged. By default it depends on the size of the text.",
    )
    spelling: float | None = option(
        None,
        "Pseudo-count added for word pairs spelt identically after transliteration, and less for "
        "pairs spelt nearly so. By default 3, and 1 from a million words a side on.",
    )
    fertility: str | None = option(
        None,
        "Learn how many links each word has. By default on, and off from a million words a side "
        "on.",
        choices=("on", "off"),
    )
    prior: str | None = option(
        None,
        "A dictionary, lines 'source target' or 'source target count': the count is added as a "
        "pseudo-count of links. By default a line counts 3.",
        parse=path_or_name,
        metavar="FILE",
    )
    keep_case: bool = option(False, "Learn words with their case.", switch=True)
    threshold: float | None = option(
        None,
        "Link where the mean of both directions' posteriors is above P, of hybrid the mean of that "
        "and the encoder's score. By default 0.5; encoder: 0.6.",
        metavar="P",
    )


@dataclass(frozen=True)
class _Encoder(Settings, group="the encoder"):
    encoder: str | None = option(
        None,
        "A multilingual encoder, a name on Hugging Face's hub or a directory. By default it is "
        "mixed with the HMM (--model hybrid); with --model encoder it aligns alone, without any "
        "training. With a saved model: where its encoder is now.",
        parse=path_or_name,
        metavar="NAME",
    )
    layer: int | None = option(
        None,
        "The layer whose vectors are compared, counted from 1. By default the two in the middle.",
        rule=at_least(1),
    )
    scale: float | None = option(
        None,
        "What the cosines of tokens are multiplied by before their softmax. By default 30.",
        rule=above(0),
    )
    weight: float | None = option(
        None,
        "How much the encoder's score counts in the mean with the HMM's posterior, from 0 to 1. By "
        "default 0.5.",
        rule=within(0, 1),
    )
    device: str | None = option(
        None, "Where the encoder runs, such as cpu or cuda:1. By default on a GPU if there is one."
    )


@dataclass(frozen=True)
class _FastAlign(Settings, group="fast-align, with fast_align's letters (recommended: -d -o -v)"):
    favor_diagonal: bool = option(
        False,
        "Favour links near the diagonal.",
        flags=("-d", "--favor_diagonal"),
        switch=True,
    )
    optimize_tension: bool = option(
        False,
        "Learn how much the diagonal is favoured.",
        flags=("-o", "--optimize_tension"),
        switch=True,
    )
    variational_bayes: bool = option(
        False,
        "Use a Dirichlet prior on translations.",
        flags=("-v", "--variational_bayes"),
        switch=True,
    )
    reverse: bool = option(
        False,
        "Train P(source | target), with a link for each source word and not for each target word. "
        "Links stay 'source-target'.",
        flags=("-r", "--reverse"),
        switch=True,
    )
    diagonal_tension: float | None = option(
        None,
        "How much the diagonal is favoured, with -o at the start. By default 4; implies -d.",
        flags=("-T", "--diagonal_tension"),
    )
    no_null_word: bool = option(
        False, "Have no NULL word.", flags=("-N", "--no_null_word"), switch=True
    )


@dataclass(frozen=True)
class _ParameterFiles(Settings, group="fast_align's parameter files"):
    conditional_probabilities: str | None = option(
        None,
        "Write the table as lines 'source TAB target TAB log probability' (Sockeye reads them "
        "too).",
        flags=("-p", "--conditional_probabilities"),
        parse=path_or_name,
        metavar="FILE",
    )
    beam_threshold: float = option(
        -4.0,
        "For -p: of each row, write what has log t >= -X log(largest t).",
        flags=("-t", "--beam_threshold"),
    )
    force_align: str | None = option(
        None,
        "Align with such a file, without training, and write 'source ||| target ||| links ||| "
        "score'. Give the -d, -T, -m, -q, -N and -r that belong to it.",
        flags=("-f", "--force_align"),
        parse=path_or_name,
        metavar="FILE",
    )
    mean_srclen_multiplier: float = option(
        1.0,
        "For -f: expected target length / source length.",
        flags=("-m", "--mean_srclen_multiplier"),
        rule=above(0),
    )
    thread_buffer_size: int | None = option(
        None,
        "Accepted because fast_align has it; it changes nothing.",
        flags=("-b", "--thread_buffer_size"),
    )


@dataclass(frozen=True)
class _Output(Settings, group="output"):
    symmetrize: str | None = option(
        None,
        f"Train both directions and combine them by {', '.join(HEURISTICS)}. By default there is "
        "one direction; those of hmm are combined by their posteriors.",
        choices=HEURISTICS,
        metavar="METHOD",
    )
    scores: bool = option(
        False,
        "Write 'links ||| score', where the score is log P(target | source), with -r "
        "log P(source | target), and with --symmetrize both, in this order.",
        flags=("-s", "--scores"),
        switch=True,
    )
    pair_scores: str | None = option(
        None,
        "With an HMM, write the log-probability per word of each pair, the mean of both "
        "directions; it is low for pairs that are no translations.",
        parse=path_or_name,
        metavar="FILE",
    )
    posteriors: bool = option(
        False,
        "Write '0-0:0.9312': each link with its probability, with --symmetrize the mean of both "
        "directions.",
        switch=True,
    )
    lexicon: str | None = option(
        None,
        "Write the most probable translations, lines 'target source probability', with -r 'source "
        "target probability' (as Moses and Marian read them); with --symmetrize both, to FILE.s2t "
        "and FILE.t2s.",
        parse=path_or_name,
        metavar="FILE",
    )
    top: int = option(
        100,
        "For --lexicon: write the K most probable translations of each word.",
        rule=at_least(1),
        metavar="K",
    )
    gold: str | None = option(
        None,
        "Score the last lines of the input against gold links ('i-j' sure, 'i?j' possible).",
        parse=path_or_name,
        metavar="FILE",
    )


@dataclass(frozen=True)
class _Resources(Settings, group="resources"):
    threads: int | None = option(
        None, "The number of threads. By default all processors.", rule=at_least(1)
    )
    memory: str = option(
        "auto",
        "fast keeps an index, whatever it takes; low makes it anew when it is needed; auto "
        "chooses. The links are the same.",
        choices=MEMORY_MODES,
    )
    max_memory: int | None = option(
        None,
        "Use temporary files rather than more memory, such as 2G. By default 80 % of what is free.",
        parse=parse_size,
        metavar="SIZE",
    )
    temp_dir: str | None = option(
        None,
        "The directory for temporary files. By default the system's.",
        parse=path_or_name,
        metavar="DIR",
    )


@dataclass(frozen=True)
class AlignOptions(
    _Resources, _Output, _ParameterFiles, _FastAlign, _Encoder, _Hmm, _Model, _Input
):
    """All options of `python -m weam_ext.align`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.source is None) != (self.target is None):
            raise InputError("--source and --target go together")
        if (self.input is None) == (self.source is None):
            raise InputError("give -i FILE, or --source FILE and --target FILE (see --help)")
        if self.columns and self.source:
            raise InputError("--source and --target have no --columns")
        if self.model in ENCODED and not self.encoder:
            raise InputError(f"--model {self.model} needs --encoder")

    @property
    def kept(self) -> bool:
        """Whether `model` is the directory of a saved model."""
        return self.model not in MODELS

    @property
    def bitext(self) -> BitextSource:
        paths = [path for path in (self.input, self.source, self.target) if path is not None]
        return BitextSource("input", tuple(paths), parse_columns(self.columns), self.limit)

    @property
    def heuristic(self) -> str:
        """That of fast-align."""
        return self.symmetrize or DIRECTIONS[self.reverse]


ENCODED = ("hybrid", "encoder")
"""The models with an encoder; the first is the default where one is given."""

_FAST_ALIGN = (
    "-d/--favor_diagonal -o/--optimize_tension -v/--variational_bayes -r/--reverse "
    "-T/--diagonal_tension -N/--no_null_word -p/--conditional_probabilities -f/--force_align"
)
_OF_ENCODERS = "--encoder --layer --scale --weight --device"
# A flag, what it does, and those that contradict it.
_CONFLICTS = (
    ("--symmetrize", "trains both directions", "-r/--reverse -p/--conditional_probabilities"),
    (
        "--model hmm",
        "trains both directions of another model",
        f"{_FAST_ALIGN} {_OF_ENCODERS}",
    ),
    ("--model hybrid", "trains an HMM", _FAST_ALIGN),
    (
        "--model encoder",
        "has no translation table and learns nothing",
        f"{_FAST_ALIGN} --stems --keep-case --spelling --prior --fertility --init --lexicon "
        "--weight -I/--iterations -q/--p0 -a/--alpha",
    ),
    (
        "--model fast-align",
        "is no HMM",
        "--stems --keep-case --threshold --pair-scores --spelling --prior --fertility "
        f"{_OF_ENCODERS}",
    ),
    (
        "--model DIR",
        "aligns with a saved model",
        "-d/--favor_diagonal -o/--optimize_tension -v/--variational_bayes -r/--reverse "
        "-I/--iterations -q/--p0 -a/--alpha -T/--diagonal_tension -N/--no_null_word --stems "
        "--keep-case --spelling --prior --fertility --init --save -f/--force_align --layer --scale "
        "--weight",
    ),
    (
        "-f/--force_align",
        "aligns with a parameter file, pair by pair",
        "-p/--conditional_probabilities --symmetrize --init --save --lexicon --posteriors --gold",
    ),
    ("--init", "starts from the tension of the saved model", "-T/--diagonal_tension"),
)


def refuse_conflicts(options: AlignOptions, named: Sequence[str], arguments: Sequence[str]) -> None:
    """Raise `InputError` for flags that contradict each other, as the user wrote them.

    Args:
        named: the fields that the command line names.
        arguments: the command line.
    """
    written = {argument.partition("=")[0] for argument in arguments}

    def found(names: str) -> str:
        forms = names.split("/")
        if forms[-1].removeprefix("--").replace("-", "_") not in named:
            return ""
        return forms[-1] if forms[-1] in written else forms[0]

    chosen = f"--model {'DIR' if options.kept else options.model}"
    for names, does, others in _CONFLICTS:
        flag = found(names) if " " not in names else names == chosen and f"--model {options.model}"
        for other in filter(None, map(found, others.split())):
            if flag:
                raise InputError(f"{flag} {does}: leave out {other}")
