"""The implementations of masking, gather and linear cross-entropy behind one plain-list face.

Every test body goes through each of `IMPLEMENTATIONS`; the first is the oracle.
"""

import dataclasses
import random
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from typing import Any, NamedTuple

import pytest
import torch
import weam_ref.gather
import weam_ref.loss
import weam_ref.mask
import weam_ref.philox
from weam_ref.mask import MaskedRows

import weam_ext.ops.cross_entropy
import weam_ext.ops.gather
import weam_ext.ops.mask
from weam_ext.ops.constants import POLICIES, UNITS
from weam_ext.ops.token_links import Links

Rows = list[list[float]]
SPECIAL = 0
MASK_ID = 4
REPLACEMENTS = [*range(5, 40, 3), 41]
SETTINGS: dict[str, Any] = {
    "seed": 1234567890123,
    "probability": 0.3,
    "shares": (0.8, 0.1, 0.1),
    "mask_id": MASK_ID,
    "replacements": REPLACEMENTS,
}


class Reference:
    name = "weam_ref"
    philox4x32 = staticmethod(weam_ref.philox.philox4x32)
    words = staticmethod(weam_ref.philox.words)
    mask_tokens = staticmethod(weam_ref.mask.mask_tokens)
    gather_rows = staticmethod(weam_ref.gather.gather_rows)
    gather_rows_backward = staticmethod(weam_ref.gather.gather_rows_backward)
    row_weights = staticmethod(weam_ref.gather.row_weights)
    row_labels = staticmethod(weam_ref.gather.row_labels)
    linear_cross_entropy = staticmethod(weam_ref.loss.linear_cross_entropy)


class Torch:
    examples = 100

    def __init__(self, device: str) -> None:
        self.name = f"torch-{device}"
        self.device = device

    def philox4x32(self, counter: Any, key: Any) -> tuple[int, ...]:
        words = weam_ext.ops.philox.philox4x32(tuple(self.tensor(c) for c in counter), key)
        return tuple(word.item() for word in words)

    def words(self, seed: int, draw: int, position: int, stream: int) -> tuple[int, ...]:
        draws, positions = self.tensor([draw]), self.tensor([position])
        words = weam_ext.ops.philox.philox_words(seed, draws, positions, stream)
        return tuple(word.item() for word in words)

    def mask_tokens(
        self,
        input_ids: Any,
        words: Any,
        draws: Any,
        links: Any = None,
        *,
        replacements: Any,
        capacity: int | None = None,
        exchange_capacity: int | None = None,
        **settings: Any,
    ) -> MaskedRows:
        size = len(input_ids) * len(input_ids[0])
        if exchange_capacity is None:
            exchange_capacity = 0 if links is None else size
        masked = weam_ext.ops.mask.mask_tokens(
            self.tensor(input_ids),
            self.tensor(words),
            self.tensor(draws),
            None if links is None else csr(links, self.device),
            replacements=self.tensor(replacements),
            capacity=size if capacity is None else capacity,
            exchange_capacity=exchange_capacity,
            **settings,
        )
        return as_lists(masked)

    def gather_rows(self, hidden: Any, masked: MaskedRows, links: Any, weights: Any = None) -> Rows:
        rows = weam_ext.ops.gather.gather_rows(
            self.tensor(hidden), as_tensors(masked, self.device), csr(links, self.device, weights)
        )
        return rows.tolist()

    def gather_rows_backward(
        self, gradient: Any, masked: MaskedRows, links: Any, weights: Any = None
    ) -> list[Rows]:
        length = len(masked.input_ids[0])
        shape = len(masked.input_ids), length, len(gradient[0])
        hidden = torch.zeros(shape, dtype=torch.float64, device=self.device, requires_grad=True)
        rows = weam_ext.ops.gather.gather_rows(
            hidden, as_tensors(masked, self.device), csr(links, self.device, weights)
        )
        return torch.autograd.grad(rows, hidden, self.tensor(gradient))[0].tolist()

    def row_weights(self, masked: MaskedRows, exchange_weight: float) -> list[float]:
        return weam_ext.ops.gather.row_weights(
            as_tensors(masked, self.device), exchange_weight
        ).tolist()

    def row_labels(self, masked: MaskedRows) -> list[int]:
        return weam_ext.ops.gather.row_labels(as_tensors(masked, self.device)).tolist()

    def linear_cross_entropy(
        self, rows: Rows, weight: Rows, bias: list[float] | None, labels: Any, weights: Any
    ) -> tuple[float, list[float], list[bool]]:
        total, losses, correct = weam_ext.ops.cross_entropy.linear_cross_entropy(
            self.tensor(rows),
            self.tensor(weight),
            None if bias is None else self.tensor(bias),
            self.tensor(labels),
            self.tensor(weights).float(),
            chunk_rows=3,
        )
        return total.item(), losses.tolist(), correct.tolist()

    def tensor(self, values: Any) -> torch.Tensor:
        made = torch.tensor(values, device=self.device)
        return (
            torch.tensor(values, device=self.device, dtype=torch.float64)
            if made.is_floating_point()
            else made
        )


class Triton(Torch):
    """The kernels of masking and gather: through the interpreter where there is no GPU."""

    examples = 8

    def __init__(self) -> None:
        super().__init__("cuda" if torch.cuda.is_available() else "cpu")
        self.name = "triton"

    def mask_tokens(self, *given: Any, **settings: Any) -> MaskedRows:
        with self.kernels():
            return super().mask_tokens(*given, **settings)

    def gather_rows(self, *given: Any) -> Rows:
        with self.kernels():
            return super().gather_rows(*given)

    def gather_rows_backward(self, *given: Any) -> list[Rows]:
        with self.kernels():
            return super().gather_rows_backward(*given)

    def kernels(self) -> AbstractContextManager[None]:
        if self.device == "cuda":
            return nullcontext()
        from interpreted import triton_on_cpu

        return triton_on_cpu()


DEVICES = ["cpu", *["cuda"] * torch.cuda.is_available()]
ORACLE = Reference()
IMPLEMENTATIONS = [ORACLE, Torch("cpu"), Triton()]
each_implementation = pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS, ids=lambda implementation: implementation.name
)
each_other = pytest.mark.parametrize(
    "implementation", IMPLEMENTATIONS[1:], ids=lambda implementation: implementation.name
)


VARIANTS = list(product(POLICIES, UNITS, (False, True)))
"""Policy, unit, and whether the rate is exact."""
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=str)


def variant_settings(variant: tuple[str, str, bool]) -> dict[str, Any]:
    return SETTINGS | dict(zip(("policy", "unit", "exact"), variant, strict=True))


class Batch(NamedTuple):
    """A random batch as plain lists; `links[a]` are the flattened positions linked to a."""

    input_ids: list[list[int]]
    words: list[list[int]]
    draws: list[int]
    links: list[list[int]]

    def masked(self, **settings: Any) -> MaskedRows:
        return ORACLE.mask_tokens(*self, **(SETTINGS | settings))

    @property
    def ordinary(self) -> int:
        return sum(word >= 0 for row in self.words for word in row)


def random_batch(
    seed: int, size: int = 3, length: int = 9, *, density: float = 0.2, padding: float = 0.2
) -> Batch:
    """Sequences in which a share `padding` of the tokens is special and a share `density` of the
    pairs of the others is linked, many to many."""
    choose = random.Random(seed)
    ordinary = [[choose.random() >= padding for _ in range(length)] for _ in range(size)]
    input_ids = [[choose.randrange(5, 40) if o else SPECIAL for o in row] for row in ordinary]
    links: list[list[int]] = [[] for _ in range(size * length)]
    flat = [allowed for row in ordinary for allowed in row]
    for a in range(size * length if density else 0):
        for b in range(a + 1, a - a % length + length):
            if flat[a] and flat[b] and choose.random() < density:
                links[a].append(b)
                links[b].append(a)
    draws = [choose.getrandbits(60) for _ in range(size)]
    words = [random_words(choose, row) for row in ordinary]
    return Batch(input_ids, words, draws, [sorted(linked) for linked in links])


def random_words(choose: random.Random, ordinary: list[bool]) -> list[int]:
    """Words of 1 to 4 tokens, numbered as they come, some numbers left out."""
    words, word, left = [], -1, 0
    for allowed in ordinary:
        if allowed and left == 0:
            word += choose.choice((1, 1, 1, 2))
            left = choose.randint(1, 4)
        left = left - 1 if allowed else 0
        words.append(word if allowed else -1)
    return words


def random_rows(seed: int, rows: int, width: int) -> Rows:
    choose = random.Random(seed)
    return [[choose.gauss(0, 1) for _ in range(width)] for _ in range(rows)]


def random_weights(seed: int, links: list[list[int]]) -> list[list[float]]:
    """Of each link, the same both ways; the largest are a million times the smallest."""
    choose = random.Random(seed)
    known = {(a, b): 10 ** choose.uniform(-6, 0) for a, linked in enumerate(links) for b in linked}
    return [[known[min(a, b), max(a, b)] for b in linked] for a, linked in enumerate(links)]


def csr(
    links: list[list[int]], device: str = "cpu", weights: list[list[float]] | None = None
) -> Links:
    lengths = torch.tensor([0] + [len(linked) for linked in links], device=device)
    positions = [b for linked in links for b in linked]
    hard = Links(lengths.cumsum(0), torch.tensor(positions, dtype=torch.int64, device=device))
    if weights is None:
        return hard
    sums = [sum(row) for row in weights]
    entries = [
        (w / sums[a], w / sums[b])
        for a, (linked, row) in enumerate(zip(links, weights, strict=True))
        for b, w in zip(linked, row, strict=True)
    ]
    own, others = torch.tensor(entries, dtype=torch.float32, device=device).view(-1, 2).unbind(1)
    return Links(*hard[:2], own.contiguous(), others.contiguous())


def as_tensors(masked: MaskedRows, device: str = "cpu") -> weam_ext.ops.mask.MaskedRows:
    fields = {field.name: getattr(masked, field.name) for field in dataclasses.fields(masked)}
    tensors = {
        name: torch.tensor(values, dtype=torch.int64, device=device)
        for name, values in fields.items()
    }
    return weam_ext.ops.mask.MaskedRows(**tensors)


def as_lists(masked: weam_ext.ops.mask.MaskedRows) -> MaskedRows:
    return MaskedRows(
        **{field.name: getattr(masked, field.name).tolist() for field in dataclasses.fields(masked)}
    )
