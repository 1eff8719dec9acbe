"""What a preparation is asked for, and what it counts."""

from dataclasses import asdict, dataclass

from weam_ext.align.aligner import Aligner
from weam_ext.common.errors import InputError
from weam_ext.text.words import SEGMENTERS

OVERLONG = ("drop", "truncate")


@dataclass(frozen=True)
class PrepareSettings:
    """How text becomes shards; part of what identifies a prepared directory."""

    words: str = "bert"
    lowercase: bool = False
    """Only what the aligner sees."""
    aligner: str = "hmm"
    """A model of `weam_ext.align.MODELS`."""
    heuristic: str | None = None
    """How its directions are combined; None: as that model does by default."""
    posteriors: bool = False
    """Whether the shards hold the posterior probability of each link."""
    max_length: int = 128
    """Tokens of a pair or a sentence with its special tokens."""
    overlong: str = "drop"
    heldout: int = 300
    """Pairs of each corpus kept out of training, at most a tenth of it; copies go with them."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value, names in (
            ("words", self.words, SEGMENTERS),
            ("overlong", self.overlong, OVERLONG),
        ):
            if value not in names:
                raise InputError(f"unknown {name} {value!r}; there are {', '.join(names)}")
        Aligner(model=self.aligner, heuristic=self.heuristic)  # refuses what it does not know
        if self.max_length < 8:
            raise InputError(f"{self.max_length} tokens leave no room for a pair")
        if self.heldout < 1:
            raise InputError("at least one pair must be held out")
        if not 0 <= self.seed < 1 << 31:
            raise InputError(f"the seed must be from 0 to 2^31 - 1, not {self.seed}")


@dataclass
class Counts:
    """What became of the pairs of a bitext, or of the sentences of other text."""

    read: int = 0
    empty: int = 0
    """With a side that has no words or no tokens."""
    overlong: int = 0
    """With more than `max_length` tokens: dropped or truncated as the settings say."""
    train: int = 0
    heldout: int = 0
    links: int = 0
    train_tokens: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        more = asdict(other)
        return Counts(**{name: count + more[name] for name, count in asdict(self).items()})

    def told(self, pair: str) -> str:
        """In words; `pair` is what is counted."""
        links = self.links / max(1, self.train + self.heldout)
        return (
            f"{self.read:,} {pair}s read, {self.empty:,} empty, {self.overlong:,} over-long, "
            f"{self.train:,} to train on ({self.train_tokens:,} tokens), {self.heldout:,} held out"
            + (f", {links:.1f} word links a pair" if self.links else "")
        )
