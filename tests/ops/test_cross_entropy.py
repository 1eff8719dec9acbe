"""The prediction head, its linear cross-entropy, and the WEAM loss put together."""

import math
from contextlib import nullcontext
from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from masked_rows import DEVICES, ORACLE, Torch, as_tensors, csr, random_batch, random_rows
from small_models import gradients_of, tiny
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves
from weam_ref.loss import weam_loss

import weam_ext.ops.cross_entropy
import weam_ext.ops.triton.cross_entropy
from weam_ext.model.heads import PredictionHead, predict, split_model
from weam_ext.ops.cross_entropy import linear_cross_entropy
from weam_ext.ops.gather import gather_rows, row_labels, row_weights

# Compiled kernels cannot take tensors of the processor, and there is no interpreter beside them.
ON_GPU = ["torch-cuda", "triton-cuda"]
PATHS = ["torch-cpu", *(ON_GPU if "cuda" in DEVICES else ["triton-cpu"])]
OPERATOR = torch.ops.weam.linear_cross_entropy.default


def interpreted(*arguments: Any) -> tuple[Tensor, Tensor]:
    """The kernel without a GPU; what its interpreter copies about is nobody's business."""
    with _disable_current_modes():
        return weam_ext.ops.triton.cross_entropy.cross_entropy_(*arguments)


def take_path(path: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The device of a path, after choosing that path's cross-entropy there."""
    name, device = path.split("-")
    if name == "torch":
        monkeypatch.setattr(weam_ext.ops.cross_entropy, "launcher", lambda *_, otherwise: otherwise)
    elif device == "cpu":
        monkeypatch.setattr(weam_ext.ops.cross_entropy, "_cross_entropy_", interpreted)
    return device


@pytest.fixture(params=PATHS)
def device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    return take_path(request.param, monkeypatch)


@pytest.fixture(params=[ORACLE.name, *PATHS])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    if request.param == ORACLE.name:
        return ORACLE
    return Torch(take_path(request.param, monkeypatch))


def example(
    rows: int = 23,
    width: int = 6,
    vocabulary: int = 70,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Rows, weight, bias, labels (every fourth ignored), weights."""
    generator = torch.Generator().manual_seed(rows + width + vocabulary)
    shapes = (rows, width), (vocabulary, width), (vocabulary,)
    floats = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    labels = torch.randint(vocabulary, (rows,), generator=generator)
    labels[3::4] = -100
    weights = torch.randint(1, 8, (rows,), generator=generator) / 4
    hidden, weight, bias = (f.to(device, dtype).requires_grad_() for f in floats)
    return hidden, weight, bias, labels.to(device), weights.to(device)


def plain_losses(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, _: Tensor
) -> Tensor:
    return F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")


def plain(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, weights: Tensor
) -> Tensor:
    return (plain_losses(rows, weight, bias, labels, weights) * weights).sum()


@pytest.mark.parametrize("with_bias", [True, False])
def test_losses_are_those_of_cross_entropy(implementation: Any, with_bias: bool) -> None:
    rows, weight, bias, labels, weights = (t.detach() for t in example())
    logits = F.linear(rows, weight, bias if with_bias else None)
    labels[::4] = logits.argmax(1)[::4]
    total, losses, correct = implementation.linear_cross_entropy(
        rows.tolist(),
        weight.tolist(),
        bias.tolist() if with_bias else None,
        labels.tolist(),
        weights.tolist(),
    )
    expected = F.cross_entropy(logits, labels, reduction="none")
    assert losses == pytest.approx(expected.tolist(), abs=1e-12)
    assert total == pytest.approx((expected * weights).sum().item(), abs=1e-11)
    assert correct == (logits.argmax(1) == labels).tolist()
    assert correct.count(True) >= 6


@pytest.mark.parametrize(
    ("vocabulary", "chunk_rows"),
    [*product([2, 64, 70, 127], [1, 7, 23, 1000]), *product([1, 63, 65, 2047, 2048, 2049], [7])],
)
def test_gradients_are_those_of_cross_entropy(
    vocabulary: int, chunk_rows: int, device: str
) -> None:
    rows, weight, bias, labels, weights = example(vocabulary=vocabulary, device=device)
    for offset in (bias, None):
        of = (rows, weight) if offset is None else (rows, weight, offset)
        result = linear_cross_entropy(rows, weight, offset, labels, weights, chunk_rows=chunk_rows)
        expected = plain(rows, weight, offset, labels, weights)
        torch.testing.assert_close(result.total, expected)
        for ours, theirs in zip(
            gradients_of(result.total * 3, *of), gradients_of(expected * 3, *of), strict=True
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_gradcheck(device: str) -> None:
    *inputs, labels, weights = example(rows=4, width=2, vocabulary=5, device=device)

    def total(*given: Tensor) -> Tensor:
        return linear_cross_entropy(*given, labels, weights, chunk_rows=3).total

    assert torch.autograd.gradcheck(total, tuple(inputs))


def test_only_the_gradients_asked_for(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    expected = gradients_of(plain(rows, weight, bias, labels, weights), rows, weight, bias)
    for wanted in range(3):
        inputs = [t.detach() for t in (rows, weight, bias)]
        inputs[wanted].requires_grad_()
        total = linear_cross_entropy(*inputs, labels, weights, chunk_rows=8).total
        torch.testing.assert_close(gradients_of(total, inputs[wanted])[0], expected[wanted])


def test_the_results_beside_the_total_have_no_gradient(device: str) -> None:
    result = linear_cross_entropy(*example(device=device))
    assert result.total.requires_grad
    assert not result.losses.requires_grad
    assert not result.correct.requires_grad
    assert not result.correct[3::4].any()
    assert not result.losses[3::4].any()


def test_ignored_rows_alone_give_zeros(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    result = linear_cross_entropy(rows, weight, bias, labels.fill_(-100), weights, chunk_rows=5)
    assert result.total.item() == 0
    for gradient in gradients_of(result.total, rows, weight, bias):
        assert torch.equal(gradient, torch.zeros_like(gradient))


def test_no_row_gives_zeros(device: str) -> None:
    """Also where the memory for the gradients held something else."""
    inputs = example(device=device)
    rows, weight, bias, labels, weights = (t.detach() for t in inputs)
    of = [t.requires_grad_() for t in (rows[:0], weight, bias)]
    result = linear_cross_entropy(*of, labels[:0], weights[:0], chunk_rows=5)
    assert result.total.item() == 0 and result.losses.shape == result.correct.shape == (0,)
    for tensor, gradient in zip(of, gradients_of(result.total, *of), strict=True):
        assert torch.equal(gradient, torch.zeros_like(tensor))


def test_large_logits_do_not_overflow(device: str) -> None:
    rows, weight, bias, labels, weights = example(dtype=torch.float32, device=device)
    total = linear_cross_entropy(rows * 1e4, weight, bias, labels, weights).total
    expected = plain(rows * 1e4, weight, bias, labels, weights)
    torch.testing.assert_close(total, expected)
    for gradient in gradients_of(total, rows, weight, bias):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("with_bias", [True, False])
def test_of_equal_logits_the_first_is_the_prediction(
    with_bias: bool, dtype: torch.dtype, device: str
) -> None:
    """Small integers, exact in every type, over more words than a block of the kernel has."""
    generator = torch.Generator().manual_seed(4)
    shapes = (16, 3), (9001, 3), (9001,)
    rows, weight, bias = (
        torch.randint(-1, 2, shape, generator=generator).to(device, dtype) for shape in shapes
    )
    offset = bias if with_bias else None
    logits = F.linear(rows.double(), weight.double(), bias.double() if with_bias else None)
    largest = logits == logits.max(1, keepdim=True).values
    assert (largest.sum(1) > 50).all()
    first = largest.int().argmax(1)
    last = logits.shape[1] - 1 - largest.flip(1).int().argmax(1)
    smallest = logits.argmin(1)
    for labels, expected in ((first, first > -1), (last, last == first), (smallest, first < 0)):
        labels = labels.index_fill(0, torch.tensor([5], device=device), -100)
        expected = expected & (labels >= 0)
        weights = torch.ones(16, device=device)
        result = linear_cross_entropy(rows, weight, offset, labels, weights, chunk_rows=9)
        assert result.correct.tolist() == expected.tolist()
        losses = F.cross_entropy(logits, labels, reduction="none")
        torch.testing.assert_close(result.losses, losses.to(result.losses.dtype))


def test_ignored_rows_may_hold_anything(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    expected = linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=5)
    gradients = gradients_of(expected.total, rows, weight, bias)
    for bad in (torch.inf, torch.nan):
        poisoned = rows.detach().masked_fill((labels < 0)[:, None], bad).requires_grad_()
        result = linear_cross_entropy(poisoned, weight, bias, labels, weights, chunk_rows=5)
        for ours, theirs in zip(result, expected, strict=True):
            assert torch.equal(ours, theirs)
        for ours, theirs in zip(
            gradients_of(result.total, poisoned, weight, bias), gradients, strict=True
        ):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("value", [0.0, 7.0, torch.inf, torch.nan])
def test_an_ignored_row_of_logits_becomes_zeros(value: float) -> None:
    """In the kernel itself."""
    logits = torch.full((2, 5000), value, device=DEVICES[-1])
    labels = torch.tensor([-100, -100], device=DEVICES[-1])
    losses, correct = weam_ext.ops.triton.cross_entropy.cross_entropy_(
        logits, labels, torch.ones(2, device=DEVICES[-1]), True, None
    )
    assert losses.tolist() == [0, 0]
    assert correct.tolist() == [False, False]
    assert not logits.any()


@pytest.mark.parametrize("label", [-1, 64, 2**40])
def test_a_label_that_is_no_word_reads_no_stray_memory(label: int) -> None:
    logits, labels = torch.zeros(1, 64, device=DEVICES[-1]), torch.tensor([label])
    losses, _ = weam_ext.ops.triton.cross_entropy.cross_entropy_(
        logits, labels.to(DEVICES[-1]), torch.ones(1, device=DEVICES[-1]), True, None
    )
    assert losses.isnan().all()


def test_strides_do_not_matter(device: str) -> None:
    given = [t.detach() for t in example(vocabulary=64, dtype=torch.float32, device=device)]
    given[-1].fill_(1.5)
    views = [torch.stack([t] * 2, -1)[..., 1] for t in given[:-1]]
    views.append(given[-1][:1].expand(23))
    assert not any(view.is_contiguous() for view in views)
    results = linear_cross_entropy(*views, chunk_rows=5), linear_cross_entropy(*given, chunk_rows=5)
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_rows_of_no_weight_have_losses_and_no_gradient(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    expected = linear_cross_entropy(rows, weight, bias, labels, weights).losses
    result = linear_cross_entropy(rows, weight, bias, labels, weights * 0, chunk_rows=5)
    torch.testing.assert_close(result.losses, expected)
    assert result.total.item() == 0
    for gradient in gradients_of(result.total, rows, weight, bias):
        assert not gradient.any()


def test_words_may_be_forbidden(device: str) -> None:
    """A whole block of logits at -inf, the first."""
    rows, weight, bias, labels, weights = example(vocabulary=5000, device=device)
    bias.detach()[:4500] = -torch.inf
    labels = labels.where(labels < 0, 4500 + labels % 500)
    total = linear_cross_entropy(rows, weight, bias, labels, weights).total
    expected = plain(rows, weight, bias, labels, weights)
    torch.testing.assert_close(total, expected)
    for ours, theirs in zip(
        gradients_of(total, rows, weight, bias),
        gradients_of(expected, rows, weight, bias),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.skipif(not hasattr(F, "linear_cross_entropy"), reason="torch 2.13 has it first")
def test_losses_and_gradients_are_those_of_torch(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    theirs = F.linear_cross_entropy(rows, weight, labels, linear_bias=bias, reduction="none")
    ours = linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=5)
    torch.testing.assert_close(ours.losses, theirs.detach())
    for our_gradient, their_gradient in zip(
        gradients_of(ours.total, rows, weight, bias),
        gradients_of((theirs * weights).sum(), rows, weight, bias),
        strict=True,
    ):
        torch.testing.assert_close(our_gradient, their_gradient)


def test_a_second_derivative_is_an_error(device: str) -> None:
    """And not a silent zero: the gradients are constants of the backward."""
    rows, weight, bias, labels, weights = example(device=device)
    total = linear_cross_entropy(rows, weight, bias, labels, weights).total
    gradient = torch.autograd.grad(total**2, rows, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_the_same_bits_every_time(device: str) -> None:
    rows, weight, bias, labels, weights = example(dtype=torch.float32, device=device)
    runs = []
    for _ in range(3):
        result = linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=5)
        runs.append([*result, *gradients_of(result.total, rows, weight, bias)])
    for again in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, runs[0], strict=True))


class Watch(TorchDispatchMode):
    """What runs, inside the operator too: the largest tensor made, in elements, the types of the
    matrix products, and the most bytes that all that was made had at any one time."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.peak = 0
        self.products: list[torch.dtype] = []
        self.made: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        if function is OPERATOR:
            with self:
                return weam_ext.ops.cross_entropy._linear_cross_entropy(*args)
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in ("mm", "addmm", "bmm"):
            self.products.append(args[1].dtype)
        given = {ref for ref, _, _ in self.storages((args, kwargs))}
        for ref, size, elements in self.storages(result):
            self.largest = max(self.largest, elements)
            if ref not in given:
                self.made[ref] = size
        self.made = {ref: size for ref, size in self.made.items() if not ref.expired()}
        self.peak = max(self.peak, sum(self.made.values()))
        return result

    @staticmethod
    def storages(values: Any) -> list[tuple[StorageWeakRef, int, int]]:
        return [
            (StorageWeakRef(storage), storage.nbytes(), value.numel())
            for value in tree_leaves(values)
            if isinstance(value, Tensor)
            for storage in [value.untyped_storage()]
        ]


def allowed() -> float:
    """The error, in errors of plain torch: over many draws less, at the median, in one 10 % more.

    The interpreter truncates to bfloat16, a GPU rounds.
    """
    return 1.2 if weam_ext.ops.cross_entropy._cross_entropy_ is interpreted else 1.1


def error(ours: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(ours, exact, strict=True)]


def exact_results(inputs: tuple[Tensor, ...], *others: Tensor) -> list[Tensor]:
    """Losses of the rows and gradients of their weighted sum, in float64."""
    wide = [t.detach().double().requires_grad_() for t in inputs]
    gradients = gradients_of(plain(*wide, *others), *wide)
    return [plain_losses(*wide, *others).detach(), *gradients]


@pytest.mark.parametrize("chunk_rows", [16, 64])
def test_autocast_is_no_worse_than_plain_autocast(chunk_rows: int, device: str) -> None:
    *inputs, labels, weights = example(256, 32, 300, torch.float32, device)
    exact = exact_results((*inputs,), labels, weights)
    with torch.autocast(device, torch.bfloat16):
        with Watch() as watch:
            result = linear_cross_entropy(*inputs, labels, weights, chunk_rows=chunk_rows)
        losses = plain_losses(*inputs, labels, weights)
    ours = [result.losses, *gradients_of(result.total, *inputs)]
    assert set(watch.products) == {torch.bfloat16}
    assert result.total.dtype == torch.float32
    assert [gradient.dtype for gradient in ours] == [torch.float32] * 4
    theirs = [losses.detach(), *gradients_of((losses * weights).sum(), *inputs)]
    for our_error, their_error in zip(error(ours, exact), error(theirs, exact), strict=True):
        assert our_error < allowed() * their_error + 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_rows_are_no_worse_than_plain_half(dtype: torch.dtype, device: str) -> None:
    *inputs, labels, weights = example(256, 32, 300, dtype, device)
    exact = exact_results((*inputs,), labels, weights)
    result = linear_cross_entropy(*inputs, labels, weights, chunk_rows=80)
    gradients = gradients_of(result.total, *inputs)
    assert result.total.dtype == result.losses.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients] == [dtype] * 3
    losses = plain_losses(*inputs, labels, weights)
    theirs = [losses.detach(), *gradients_of((losses * weights).sum(), *inputs)]
    ours = [result.losses, *gradients]
    for our_error, their_error in zip(error(ours, exact), error(theirs, exact), strict=True):
        assert our_error < allowed() * their_error + 1e-6


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_half_weights_are_no_worse_for_float32_rows(half: torch.dtype, device: str) -> None:
    """Weight and bias are kept in a half type, and what autocast makes of the rows is not."""
    rows, weight, bias, labels, weights = example(256, 32, 300, torch.float32, device)
    inputs = rows, *(t.detach().to(half).requires_grad_() for t in (weight, bias))
    exact = exact_results(inputs, labels, weights)
    with torch.autocast(device, half):
        result = linear_cross_entropy(*inputs, labels, weights, chunk_rows=80)
        losses = plain_losses(*inputs, labels, weights)
    gradients = gradients_of(result.total, *inputs)
    assert result.losses.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients] == [torch.float32, half, half]
    theirs = [losses.detach(), *gradients_of((losses * weights).sum(), *inputs)]
    ours = [result.losses, *gradients]
    for our_error, their_error in zip(error(ours, exact), error(theirs, exact), strict=True):
        assert our_error < allowed() * their_error + 1e-6


def test_the_logits_are_never_whole(device: str) -> None:
    rows, weight, bias, labels, weights = example(80, 4, 640, torch.float32, device)
    with Watch() as ours:
        linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=20).total.backward()
    with Watch() as theirs:
        plain(rows, weight, bias, labels, weights).backward()
    assert theirs.largest == 80 * 640
    assert ours.largest == 20 * 640


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_peak_memory(dtype: torch.dtype, device: str) -> None:
    """One chunk of logits, and twice the weight: a padded copy and the gradient, or that scaled.

    A CPU has no mixed product: there what is added to the gradient is one bfloat16 copy more.
    """
    given = example(96, 32, 1000, dtype, device)
    with Watch() as ours:
        linear_cross_entropy(*given, chunk_rows=16).total.backward()
    with Watch() as theirs:
        plain(*given).backward()
    logits = 16 * 1024 * given[0].itemsize
    if dtype == torch.bfloat16 and weam_ext.ops.cross_entropy._cross_entropy_ is not interpreted:
        logits += 16 * 1024 * 4  # torch's softmax is of float32 logits, the kernel's in registers
    weight, rows = 1024 * (32 + 2) * 4, 96 * (32 + 1) * 4
    copies = 2 if dtype == torch.float32 else 2.5
    assert ours.peak < logits + copies * weight + 3 * rows
    assert theirs.peak > 2 * 96 * 1000 * given[0].itemsize


def test_peak_memory_where_there_is_a_mixed_product(monkeypatch: pytest.MonkeyPatch) -> None:
    """The meta device stands for a GPU: bfloat16 is added to a float32 gradient with no copy."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which meta has not
    given = [t.detach().to("meta") for t in example(96, 64, 1000, torch.bfloat16)]
    with Watch() as watch:
        weam_ext.ops.cross_entropy._linear_cross_entropy(
            *given, 16, torch.bfloat16, want_rows=True, want_weight=True, want_bias=True
        )
    weight, rows = 1024 * (64 + 2) * 4, 96 * (64 + 1) * 4
    logits = 16 * 1024 * (2 + 4)  # torch's softmax is of a float32 copy
    assert watch.peak < logits + 1.5 * weight + 3 * rows


@pytest.mark.skipif(not torch.cuda.is_available(), reason="measures the memory of a GPU")
def test_peak_memory_of_a_gpu() -> None:
    """As `test_peak_memory`, with all that the operations take for themselves."""
    given = example(8192, 64, 30000, torch.bfloat16, "cuda")
    for _ in range(2):  # the first time cuBLAS also takes its workspace
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        linear_cross_entropy(*given, chunk_rows=512).total.backward()
        for tensor in given[:3]:
            tensor.grad = None
    peak = torch.cuda.max_memory_allocated() - before
    assert peak < 512 * 30016 * 2 + 2 * 30016 * 64 * 4 + 4 * 8192 * 64 * 4


@pytest.mark.parametrize("wanted", [(True, True, True), (True, False, False), (False,) * 3])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_operator_is_sound(with_bias: bool, wanted: tuple[bool, ...], device: str) -> None:
    rows, weight, bias, labels, weights = example(9, device=device)
    offset = bias if with_bias else None
    wanted = (*wanted[:2], wanted[2] and with_bias)
    torch.library.opcheck(OPERATOR, (rows, weight, offset, labels, weights, 4, rows.dtype, *wanted))


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.long)])
def test_compiled_whole_it_is_the_same(backend: str, device: str) -> None:
    rows, weight, bias, labels, weights = example(9, dtype=torch.float32, device=device)

    def step(rows: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        result = linear_cross_entropy(rows * 2, weight, bias, labels, weights, chunk_rows=4)
        return result.total * 3, result.losses, result.correct

    compiled = torch.compile(step, fullgraph=True, backend=backend)
    ours, theirs = compiled(rows, weight, bias), step(rows, weight, bias)
    assert [result.requires_grad for result in ours] == [True, False, False]
    of = rows, weight, bias
    for a, b in zip(
        [*ours, *gradients_of(ours[0], *of)], [*theirs, *gradients_of(theirs[0], *of)], strict=True
    ):
        assert torch.equal(a, b)


@pytest.mark.parametrize("family", ["BertForMaskedLM", "XLMRobertaForMaskedLM"])
@pytest.mark.parametrize("autocast", [False, True])
def test_heads_compile_whole(family: str, autocast: bool, device: str) -> None:
    model = tiny(family).to(device)
    _, head = split_model(model)
    rows, _, _, labels, weights = example(21, 16, 70, torch.float32, device)

    def step(rows: Tensor) -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=autocast):
            return predict(head, rows, labels, weights, chunk_rows=8).total

    embeddings = model.get_input_embeddings().weight
    assert head.weight is embeddings
    of = embeddings, rows, *model.parameters()
    total, expected = torch.compile(step, fullgraph=True, backend="aot_eager")(rows), step(rows)
    assert torch.equal(total, expected)
    gradients = gradients_of(total, *of)
    assert gradients[0].any()
    for ours, theirs in zip(gradients, gradients_of(expected, *of), strict=True):
        assert torch.equal(ours, theirs)


def test_three_products_a_chunk_or_one_without_gradients(device: str) -> None:
    rows, weight, bias, labels, weights = example(40, device=device)
    with Watch() as training:
        linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=10).total.backward()
    with Watch() as evaluation, torch.no_grad():
        result = linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=10)
    assert len(training.products) == 3 * 4
    assert len(evaluation.products) == 4
    assert not result.total.requires_grad


def test_the_head_reads_nothing_back_to_the_host() -> None:
    """A fake tensor has no values: reading one, or a shape that depends on one, raises."""
    with FakeTensorMode(allow_non_fake_inputs=True), Watch() as watch:
        rows, weight = torch.zeros(9, 4, requires_grad=True), torch.zeros(70, 4, requires_grad=True)
        bias, labels = torch.zeros(70), torch.zeros(9, dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16):
            result = linear_cross_entropy(rows, weight, bias, labels, torch.ones(9), chunk_rows=4)
        result.total.backward()
    assert len(watch.products) == 3 * 3
    assert rows.grad is not None
    assert weight.grad is not None


@pytest.mark.parametrize("exchange_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_the_parts_make_the_weam_loss(density: float, exchange_weight: float, device: str) -> None:
    batch = random_batch(30, size=2, length=12, density=density)
    spare = {"capacity": 30, "exchange_capacity": 28}
    lists = batch.masked(probability=0.5, **spare)
    rows, width, vocabulary = random_rows(31, 24, 6), 6, 45
    weight, bias = random_rows(32, vocabulary, width), random_rows(33, 1, vocabulary)[0]

    def on_device(values: Any) -> Tensor:
        return torch.tensor(values, dtype=torch.float64, device=device)

    masked = as_tensors(lists, device)
    head = PredictionHead(
        torch.nn.Identity(), torch.nn.Linear(width, vocabulary, device=device, dtype=torch.float64)
    )
    with torch.no_grad():
        head.decoder.weight.copy_(on_device(weight))
        head.decoder.bias.copy_(on_device(bias))
    result = predict(
        head,
        gather_rows(on_device(rows).view(2, 12, width), masked, csr(batch.links, device)),
        row_labels(masked),
        row_weights(masked, exchange_weight),
        chunk_rows=7,
    )
    expected = weam_loss(
        rows,
        [token for ids in batch.input_ids for token in ids],
        lists.positions[: lists.count],
        batch.links,
        weight,
        bias,
        exchange_weight=exchange_weight,
    )
    assert math.isclose((result.total / masked.count).item(), expected.total, abs_tol=1e-10)
    multilingual = result.losses[: len(lists.positions)].sum() / masked.count
    assert math.isclose(multilingual.item(), expected.multilingual, abs_tol=1e-10)
