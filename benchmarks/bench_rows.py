"""Masking, the cross-lingual gather and the head: ours, the plain-Python twin, dense matrices."""

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
import weam_ref.gather
import weam_ref.loss
import weam_ref.mask
from corpora import Record
from plain_weam import dense_links, exchanged, exclusive_mask
from pytest_benchmark.fixture import BenchmarkFixture
from weam_batches import batches, tokenizer

from weam_ext.ops.cross_entropy import linear_cross_entropy
from weam_ext.ops.gather import gather_rows
from weam_ext.ops.mask import MaskedRows
from weam_ext.train.objectives import Masking

PAIRS, LENGTH, WIDTH, VOCABULARY = 32, 128, 256, 30_522
[BATCH] = batches(1, PAIRS, LENGTH, VOCABULARY, "cpu")
MASKING = Masking.of(
    tokenizer(VOCABULARY),
    seed=1,
    probability=0.3,
    device=torch.device("cpu"),
    policy="exclusive",
)


def torch_mask() -> MaskedRows:
    return MASKING(BATCH, exchange=True)


def neighbours() -> list[list[int]]:
    offsets, positions = (values.tolist() for values in BATCH.links[:2])
    return [positions[a:b] for a, b in pairwise(offsets)]


def plain_python_mask() -> weam_ref.mask.MaskedRows:
    rows, exchanged_rows = BATCH.capacities(MASKING.probability)
    return weam_ref.mask.mask_tokens(
        BATCH.input_ids.tolist(),
        BATCH.words.tolist(),
        BATCH.draws.tolist(),
        neighbours(),
        seed=MASKING.seed,
        probability=MASKING.probability,
        mask_id=MASKING.mask_id,
        replacements=MASKING.replacements.tolist(),
        capacity=rows,
        exchange_capacity=exchanged_rows,
        policy=MASKING.policy,
    )


SIZE = f"{PAIRS} pairs of {LENGTH} tokens"
masks = pytest.mark.benchmark(group=f"exclusive mask, {SIZE}")
gathers = pytest.mark.benchmark(group=f"gather, {SIZE}, width {WIDTH}, forward and backward")


@masks
def bench_mask_weam_ext(benchmark: BenchmarkFixture, record: Record) -> None:
    masked = benchmark(torch_mask)
    assert masked.positions.tolist() == plain_python_mask().positions
    record("weam_ext", tokens=PAIRS * LENGTH)


@masks
def bench_mask_dense_matrix(benchmark: BenchmarkFixture, record: Record) -> None:
    def step() -> tuple[torch.Tensor, torch.Tensor]:
        ids, masked = exclusive_mask(BATCH, MASKING, dense_links(BATCH))
        return ids, masked.flatten().nonzero()[:, 0]

    ids, positions = benchmark(step)
    masked = torch_mask()
    assert torch.equal(ids, masked.input_ids)
    assert torch.equal(positions, masked.positions[: masked.count])
    record("dense matrix", tokens=PAIRS * LENGTH)


@masks
def bench_mask_weam_ref(benchmark: BenchmarkFixture, record: Record) -> None:
    masked = benchmark.pedantic(plain_python_mask, rounds=3)
    assert masked.input_ids == torch_mask().input_ids.tolist()
    record("weam_ref", tokens=PAIRS * LENGTH)


def hidden_rows() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*BATCH.input_ids.shape, WIDTH, generator=generator).requires_grad_()


def torch_gather(hidden: torch.Tensor, masked: MaskedRows) -> torch.Tensor:
    rows = gather_rows(hidden, masked, BATCH.links)
    return torch.autograd.grad(rows, hidden, torch.ones_like(rows))[0]


@gathers
def bench_gather_weam_ext(benchmark: BenchmarkFixture, record: Record) -> None:
    hidden = hidden_rows()
    gradient = benchmark(torch_gather, hidden, torch_mask())
    assert gradient.shape == hidden.shape
    record("weam_ext", tokens=PAIRS * LENGTH)


@gathers
def bench_gather_dense_matrix(benchmark: BenchmarkFixture, record: Record) -> None:
    masked, links, hidden = torch_mask(), dense_links(BATCH), hidden_rows()

    def step() -> torch.Tensor:
        both = torch.cat([hidden.flatten(0, 1), exchanged(hidden, links).flatten(0, 1)])
        return torch.autograd.grad(both, hidden, weights)[0]

    # Which of all rows the loss reads: the masked ones, those with a link of both kinds.
    own, others = masked.row_of >= 0, masked.exchanged_of >= 0
    weights = torch.cat([own, others]).float()[:, None].expand(-1, WIDTH)
    gradient = benchmark(step)
    torch.testing.assert_close(gradient, torch_gather(hidden, masked), rtol=1e-5, atol=1e-5)
    record("dense matrix", tokens=PAIRS * LENGTH)


@gathers
def bench_gather_weam_ref(benchmark: BenchmarkFixture, record: Record) -> None:
    masked, links, hidden = plain_python_mask(), neighbours(), hidden_rows()
    vectors = hidden.tolist()

    def step() -> list[list[list[float]]]:
        rows = weam_ref.gather.gather_rows(vectors, masked, links)
        ones = [[1.0] * WIDTH for _ in rows]
        return weam_ref.gather.gather_rows_backward(ones, masked, links)

    gradient = torch.tensor(benchmark.pedantic(step, rounds=3))
    torch.testing.assert_close(gradient, torch_gather(hidden, torch_mask()), rtol=1e-5, atol=1e-5)
    record("weam_ref", tokens=PAIRS * LENGTH)


# ------------------------------------------------------------------------------------------- head

ROWS, HEAD_WIDTH, WORDS = 64, 64, 1000
"""Small, for the twin's sake."""
heads = pytest.mark.benchmark(group=f"losses of {ROWS} rows, width {HEAD_WIDTH}, {WORDS:,} tokens")


def head_inputs() -> tuple[torch.Tensor, ...]:
    """Rows, the output layer's weight and bias, labels and weights."""
    generator = torch.Generator().manual_seed(0)
    shapes = (ROWS, HEAD_WIDTH), (WORDS, HEAD_WIDTH), (WORDS,)
    rows, weight, bias = (torch.randn(*shape, generator=generator) for shape in shapes)
    labels = torch.randint(WORDS, (ROWS,), generator=generator)
    return rows, weight, bias, labels, torch.ones(ROWS)


def whole_logits(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    rows, weight, bias, labels, _ = inputs
    return F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")


@heads
def bench_head_weam_ext(benchmark: BenchmarkFixture, record: Record) -> None:
    inputs = head_inputs()
    losses = benchmark(linear_cross_entropy, *inputs).losses
    torch.testing.assert_close(losses, whole_logits(inputs))
    record("weam_ext", rows=ROWS)


@heads
def bench_head_whole_logits(benchmark: BenchmarkFixture, record: Record) -> None:
    inputs = head_inputs()
    losses = benchmark(whole_logits, inputs)
    torch.testing.assert_close(losses, linear_cross_entropy(*inputs).losses)
    record("whole logits", rows=ROWS)


@heads
def bench_head_weam_ref(benchmark: BenchmarkFixture, record: Record) -> None:
    inputs = head_inputs()
    lists = [values.tolist() for values in inputs]
    _, losses, _ = benchmark.pedantic(weam_ref.loss.linear_cross_entropy, lists, rounds=3)
    torch.testing.assert_close(torch.tensor(losses), linear_cross_entropy(*inputs).losses)
    record("weam_ref", rows=ROWS)
