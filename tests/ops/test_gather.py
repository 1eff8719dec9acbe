"""The cross-lingual gather against the loops, against dense matrices, and against itself."""

from typing import Any, NamedTuple

import pytest
import torch
from interpreted import interpreting
from masked_rows import (
    ORACLE,
    SETTINGS,
    Batch,
    Rows,
    as_tensors,
    csr,
    each_implementation,
    each_other,
    random_batch,
    random_rows,
    random_weights,
)
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from weam_ref.mask import MaskedRows

from weam_ext.common.errors import InputError
from weam_ext.ops.gather import _gather, _gather_backward, gather_rows, row_labels, row_weights
from weam_ext.ops.mask import mask_tokens
from weam_ext.ops.token_links import Links


class Case(NamedTuple):
    batch: Batch
    masked: MaskedRows
    hidden: list[Rows]
    gradient: Rows
    weights: Rows | None


def case(seed: int, size: int = 3, length: int = 9, width: int = 5, **more: Any) -> Case:
    rows = more.pop("capacity", size * length), more.pop("exchange_capacity", size * length)
    settings = {"probability": more.pop("probability", 0.5)}
    soft = more.pop("soft", False)
    batch = random_batch(seed, size, length, **more)
    masked = batch.masked(**settings, capacity=rows[0], exchange_capacity=rows[1])
    flat = random_rows(seed, size * length, width)
    hidden = [flat[start : start + length] for start in range(0, len(flat), length)]
    weights = random_weights(seed, batch.links) if soft else None
    return Case(batch, masked, hidden, random_rows(seed + 1, sum(rows), width), weights)


UGLY = {
    "length 1": case(0, length=1),
    "one token": case(8, size=1, length=1, padding=0.0, probability=1.0),
    "no links": case(1, density=0.0),
    "all linked": case(2, density=1.0, padding=0.0),
    "all linked, all masked": case(3, density=1.0, padding=0.0, probability=1.0),
    "padding only": case(4, padding=1.0),
    "nothing masked": case(5, probability=0.0),
    "no exchange": case(6, exchange_capacity=0),
    "overflow": case(7, capacity=4, exchange_capacity=2),
    "exactly full": case(9, size=2, padding=0.0, density=1.0, probability=1.0),
    "width 1": case(10, width=1),
    "width 65": case(11, width=65),
    "width 768": case(12, size=2, length=7, width=768),
    "width 1024": case(15, size=1, length=6, width=1024),
    "wide batch": case(13, size=40, length=3, width=2),
    "long": case(14, size=1, length=130, width=3, density=0.05),
    "soft": case(30, soft=True),
    "soft, no links": case(32, density=0.0, soft=True),
    "soft, all linked, all masked": case(33, density=1.0, padding=0.0, probability=1.0, soft=True),
    "soft, overflow": case(35, capacity=4, exchange_capacity=2, density=0.5, soft=True),
    "soft, width 768": case(37, size=2, length=7, width=768, soft=True),
}
each_ugly_case = pytest.mark.parametrize("name", UGLY)


def dense(given: Case) -> Tensor:
    """The matrix [R + X, N] of the gather, written from the formula."""
    matrix = torch.zeros(len(given.gradient), len(given.batch.links), dtype=torch.float64)
    for row, position in enumerate(given.masked.positions):
        if position >= 0:
            matrix[row, position] = 1
    for exchanged, row in enumerate(given.masked.exchanged):
        if row >= 0:
            position = given.masked.positions[row]
            linked = given.batch.links[position]
            own = torch.ones(len(linked), dtype=torch.float64)
            if given.weights is not None:
                own = torch.tensor(given.weights[position], dtype=torch.float64)
            matrix[len(given.masked.positions) + exchanged, linked] = own / own.sum()
    return matrix


def tolerance(given: Case) -> float:
    """Weights are float32, whatever is weighted."""
    return 1e-13 if given.weights is None else 1e-6


def tensors(given: Case, device: str, dtype: torch.dtype = torch.float64) -> tuple[Any, ...]:
    hidden = torch.tensor(given.hidden, dtype=dtype, device=device, requires_grad=True)
    gradient = torch.tensor(given.gradient, dtype=dtype, device=device)
    return hidden, gradient, as_tensors(given.masked, device), links_of(given, device)


def links_of(given: Case, device: str) -> Links:
    return csr(given.batch.links, device, given.weights)


def run(hidden: Tensor, gradient: Tensor, masked: Any, links: Any) -> tuple[Tensor, Tensor]:
    rows = gather_rows(hidden, masked, links)
    return rows.detach(), torch.autograd.grad(rows, hidden, gradient)[0]


@each_implementation
def test_figure_1(implementation: Any) -> None:
    """[CLS] Is it raining today ? [SEP] 今天 下雨 吗 ? [PAD] [SEP], positions 1..13."""
    links: list[list[int]] = [[] for _ in range(13)]
    for a, b in [(4, 9), (5, 8), (6, 11)]:
        links[a - 1].append(b - 1)
        links[b - 1].append(a - 1)
    words = [position if position in (2, 4, 8) else -1 for position in range(1, 14)]
    always = SETTINGS | {"probability": 1.0}
    tokens = list(range(101, 114))
    masked = implementation.mask_tokens(
        [tokens], [words], [0], links, **always, capacity=4, exchange_capacity=3
    )
    hidden = [[[float(position), -float(position)] for position in range(1, 14)]]

    rows = implementation.gather_rows(hidden, masked, links)
    read = [2, 4, 8, 0, 9, 5, 0]  # four masked rows, three exchanged rows, the last of each unused
    assert rows == [[float(position), -float(position)] for position in read]
    assert implementation.row_labels(masked) == [102, 104, 108, -100, 104, 108, -100]
    assert implementation.row_weights(masked, 0.25) == [1.25, 1, 1, 0, 0.25, 0.25, 0]

    gradient = [[float(row), 1.0] for row in range(1, 8)]
    expected = [[0.0, 0.0] for _ in range(14)]
    for row, position in enumerate(read):
        expected[position] = gradient[row] if position else expected[position]
    assert implementation.gather_rows_backward(gradient, masked, links) == [expected[1:]]


@each_ugly_case
@each_other
def test_rows_and_gradients_are_those_of_the_reference(implementation: Any, name: str) -> None:
    given = UGLY[name]
    masked, arguments = given.masked, (given.masked, given.batch.links, given.weights)
    for operation, values in (
        ("gather_rows", given.hidden),
        ("gather_rows_backward", given.gradient),
    ):
        ours, theirs = (
            torch.tensor(getattr(one, operation)(values, *arguments), dtype=torch.float64)
            for one in (implementation, ORACLE)
        )
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance(given))
    assert implementation.row_labels(masked) == ORACLE.row_labels(masked)
    assert implementation.row_weights(masked, 0.5) == ORACLE.row_weights(masked, 0.5)


@each_ugly_case
@each_implementation
def test_rows_and_gradients_are_those_of_the_dense_matrix(implementation: Any, name: str) -> None:
    given = UGLY[name]
    matrix, arguments = dense(given), (given.masked, given.batch.links, given.weights)
    rows = implementation.gather_rows(given.hidden, *arguments)
    hidden = torch.tensor(given.hidden, dtype=torch.float64)
    torch.testing.assert_close(
        torch.tensor(rows, dtype=torch.float64),
        matrix @ hidden.flatten(0, 1),
        rtol=0,
        atol=tolerance(given),
    )
    gradient = implementation.gather_rows_backward(given.gradient, *arguments)
    torch.testing.assert_close(
        torch.tensor(gradient, dtype=torch.float64).flatten(0, 1),
        matrix.T @ torch.tensor(given.gradient, dtype=torch.float64),
        rtol=0,
        atol=tolerance(given),
    )


each_weighting = pytest.mark.parametrize("soft", [False, True], ids=["hard", "soft"])


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"soft": True, "density": 1.0, "padding": 0.0},
        {"density": 0.0},
        {"exchange_capacity": 0},
        {"capacity": 2},
        {"capacity": 2, "soft": True},
        {"padding": 1.0},
    ],
)
def test_gradcheck(more: dict[str, Any], device: str) -> None:
    given = case(24, **({"size": 1, "length": 4, "width": 2, "density": 0.6} | more))
    hidden, _, masked, links = tensors(given, device)
    assert torch.autograd.gradcheck(lambda h: gather_rows(h, masked, links), hidden)


@each_weighting
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_same_bits_every_time(dtype: torch.dtype, soft: bool, device: str) -> None:
    given = tensors(case(20, size=2, length=14, width=64, density=0.4, soft=soft), device, dtype)
    first = run(*given)
    for _ in range(3):
        again = run(*given)
        assert torch.equal(again[0], first[0])
        assert torch.equal(again[1], first[1])


@each_weighting
def test_strides_do_not_matter(soft: bool, device: str) -> None:
    hidden, gradient, masked, links = tensors(case(21, soft=soft), device)
    expected = run(hidden, gradient, masked, links)
    views = [
        hidden.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0),
        torch.stack([hidden.detach()] * 2, dim=-1)[..., 1],
        torch.cat([hidden.detach()] * 2, dim=1)[:, : hidden.shape[1]],
    ]
    for view in views:
        assert not view.is_contiguous()
        rows, back = run(view.requires_grad_(), gradient, masked, links)
        assert torch.equal(rows, expected[0])
        assert torch.equal(back, expected[1])
    spread = Links(
        *(n if n is None else torch.stack([n] * 2, dim=-1)[..., 0] for n in links)  # type: ignore[arg-type]
    )
    for ours, theirs in zip(run(hidden, gradient, masked, spread), expected, strict=True):
        assert torch.equal(ours, theirs)
    strided = torch.stack([gradient] * 2, dim=-1)[..., 0]
    assert torch.equal(run(hidden, strided, masked, links)[1], expected[1])


@each_weighting
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_loses_no_more_than_rounding_the_result(
    dtype: torch.dtype, soft: bool, device: str
) -> None:
    """Sums are in float32: the error is that of the last rounding, whatever the number of links."""
    given = case(22, size=1, length=40, width=16, density=0.7, soft=soft)
    hidden, gradient, masked, links = tensors(given, device, dtype)
    exact = dense(given).to(device)
    expected = exact @ hidden.detach().flatten(0, 1).double(), exact.T @ gradient.double()
    rows, back = run(hidden, gradient, masked, links)
    assert rows.dtype == back.dtype == dtype
    half_ulp = torch.finfo(dtype).eps / 2
    if dtype == torch.bfloat16 and interpreting():
        half_ulp *= 2  # the interpreter cuts float32 off where the hardware rounds
    for ours, theirs in zip((rows, back.flatten(0, 1)), expected, strict=True):
        # 1e-5 of the largest term: float32 sums cancel, and float16 has subnormal numbers.
        torch.testing.assert_close(ours.double(), theirs, rtol=half_ulp * 1.01, atol=1e-5)


@each_weighting
def test_unused_rows_and_positions_do_not_leak(soft: bool, device: str) -> None:
    """What nobody reads may be infinite or no number."""
    given = case(23, density=0.1, probability=0.2, soft=soft)
    hidden, gradient, masked, links = tensors(given, device)
    expected = run(hidden, gradient, masked, links)
    matrix = dense(given).to(device)
    unread = (matrix == 0).all(0).view(hidden.shape[:2])
    unused = (matrix == 0).all(1)
    assert unread.any()
    assert unused.any()
    poisoned = hidden.detach().masked_fill(unread[..., None], torch.nan).requires_grad_()
    bad = gradient.masked_fill(unused[:, None], torch.nan)
    rows, back = run(poisoned, bad, masked, links)
    assert torch.equal(rows, expected[0])
    assert torch.equal(back, expected[1])


@each_weighting
def test_links_may_lie_in_a_longer_buffer(soft: bool, device: str) -> None:
    name = "soft, all linked, all masked" if soft else "all linked, all masked"
    hidden, gradient, masked, links = tensors(UGLY[name], device)
    padded = (n if n is None else torch.nn.functional.pad(n, (0, 11)) for n in links[1:])
    longer = Links(links.offsets, *padded)  # type: ignore[arg-type]
    for ours, theirs in zip(
        run(hidden, gradient, masked, longer), run(hidden, gradient, masked, links), strict=True
    ):
        assert torch.equal(ours, theirs)


def test_the_operators_keep_the_rules_of_torch(device: str) -> None:
    given = case(26, size=1, length=5, width=3, density=0.5, soft=True)
    hidden, gradient, masked, links = tensors(given, device)
    rows = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of
    for sparse in (links, (None,) * 4):
        exchanged = rows if sparse[0] is not None else (*rows[:2], rows[2][:0], rows[3])
        some = gradient[: exchanged[0].numel() + exchanged[2].numel()]
        operators = torch.ops.weam
        torch.library.opcheck(
            operators.gather_rows.default, (hidden.flatten(0, 1), *exchanged, *sparse)
        )
        torch.library.opcheck(operators.gather_rows_backward.default, (some, *exchanged, *sparse))


@pytest.mark.parametrize(
    ("backend", "soft"), [("aot_eager", False), ("aot_eager", True), ("inductor", False)]
)
def test_compiled_whole_it_is_the_same(backend: str, soft: bool, device: str) -> None:
    given = tensors(case(27, size=1, length=6, width=4, soft=soft), device, torch.float32)
    expected = run(*given)
    compiled = torch.compile(gather_rows, fullgraph=True, backend=backend)
    rows = compiled(given[0], *given[2:])
    assert torch.equal(rows, expected[0])
    assert torch.equal(torch.autograd.grad(rows, given[0], given[1])[0], expected[1])


@each_weighting
def test_the_gather_reads_nothing_back_to_the_host(soft: bool) -> None:
    """A fake tensor has no values: reading one, or a shape that depends on one, raises."""
    with FakeTensorMode():
        ids = torch.ones(2, 5, dtype=torch.int64)
        weights = [torch.ones(4)] * 2 if soft else []
        links = Links(*(torch.zeros(n, dtype=torch.int64) for n in (11, 4)), *weights)
        settings = SETTINGS | {"replacements": ids[0], "capacity": 7, "exchange_capacity": 3}
        masked = mask_tokens(ids, ids, ids[:, 0], links, **settings)
        numbers = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of, *links
        rows = _gather(torch.zeros(10, 8), *numbers)
        assert _gather_backward(rows, *numbers).shape == (10, 8)
        assert row_weights(masked, 1.0).shape == row_labels(masked).shape == (10,)
    assert rows.shape == (10, 8)


def test_exchanged_rows_need_links() -> None:
    hidden, _, masked, _ = tensors(case(25), "cpu")
    with pytest.raises(InputError, match="need the links"):
        gather_rows(hidden, masked, None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"weights": None}, "need both weights of every link"),
        ({"transposed": None}, "need both weights of every link"),
        ({"weights": torch.ones(3)}, "need both weights of every link"),
        ({"weights": torch.ones(1000)}, "need both weights of every link"),
    ],
)
def test_weights_that_are_not_those_of_the_links(change: dict[str, Any], sentence: str) -> None:
    hidden, _, masked, links = tensors(case(29, soft=True), "cpu")
    with pytest.raises(InputError, match=sentence):
        gather_rows(hidden, masked, links._replace(**change))
    assert links.weights is not None
    with pytest.raises(InputError, match=r"must be float32, not torch\.float64"):
        gather_rows(hidden, masked, links._replace(weights=links.weights.double()))
