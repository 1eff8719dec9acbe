"""The prediction head, its linear cross-entropy, and the WEAM loss put together."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from masked_rows import (
    DEVICES,
    as_tensors,
    csr,
    each_implementation,
    random_batch,
    random_rows,
)
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from weam_ref.loss import weam_loss

from weam_ext.errors import InputError
from weam_ext.gather import gather_rows, row_labels, row_weights
from weam_ext.head import PredictionHead, linear_cross_entropy, predict, split_model

each_device = pytest.mark.parametrize("device", DEVICES)
SIZES = {
    "vocab_size": 70,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 40,
}
DISTILBERT = {"vocab_size": 70, "dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 24}
TOKENS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "cls_token_id": 1}
MODELS = {
    "BertForMaskedLM": ("BertConfig", SIZES),
    "RobertaForMaskedLM": ("RobertaConfig", SIZES),
    "XLMRobertaForMaskedLM": ("XLMRobertaConfig", SIZES),
    "CamembertForMaskedLM": ("CamembertConfig", SIZES),
    "DistilBertForMaskedLM": ("DistilBertConfig", DISTILBERT),
    "ModernBertForMaskedLM": ("ModernBertConfig", SIZES | TOKENS | {"sep_token_id": 2}),
}
each_family = pytest.mark.parametrize("family", MODELS)


def tiny(family: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config, sizes = MODELS[family]
    model = getattr(transformers, family)(getattr(transformers, config)(**(sizes | settings)))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tokens() -> Tensor:
    return torch.randint(5, 70, (3, 7), generator=torch.Generator().manual_seed(1))


@each_family
def test_encoder_and_head_give_the_logits_of_the_model(family: str) -> None:
    model = tiny(family)
    encoder, head = split_model(model)
    with torch.no_grad():
        expected = model(tokens()).logits
        logits = head(encoder(tokens())[0])
    assert expected.std() > 0.1
    assert torch.equal(logits, expected)
    assert head.weight is model.get_output_embeddings().weight
    assert (head.bias is None) == (model.get_output_embeddings().bias is None)


@each_family
@pytest.mark.parametrize("tied", [True, False])
def test_gradients_reach_the_parameters_of_the_model(family: str, tied: bool) -> None:
    model = tiny(family, tie_word_embeddings=tied)
    encoder, head = split_model(model)
    embeddings = model.get_input_embeddings().weight
    assert (head.weight is embeddings) == tied

    ids = tokens()
    labels = ids.flatten().where(torch.arange(21) % 3 == 0, -100)
    loss = F.cross_entropy(model(ids).logits.flatten(0, 1), labels, reduction="sum")
    expected = gradients_of(loss, *model.parameters())
    total = predict(head, encoder(ids)[0].flatten(0, 1), labels, torch.ones(21), 4).total
    gradients = gradients_of(total, *model.parameters())
    torch.testing.assert_close(total, loss)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@each_family
def test_the_head_follows_its_model(family: str) -> None:
    model = tiny(family)
    encoder, head = split_model(model)
    model.double()
    logits = head(encoder(tokens())[0])
    assert logits.dtype == head.weight.dtype == torch.float64


def test_a_model_of_another_family_gets_a_sentence() -> None:
    with pytest.raises(InputError, match=r"split a Linear into .* BertForMaskedLM, Roberta"):
        split_model(torch.nn.Linear(2, 2))

    class Mine(transformers.BertForMaskedLM):
        pass

    assert split_model(Mine(transformers.BertConfig(**SIZES)))[1].weight.shape == (70, 16)


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


def plain(
    rows: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, weights: Tensor
) -> Tensor:
    losses = F.cross_entropy(F.linear(rows, weight, bias), labels, reduction="none")
    return (losses * weights).sum()


def gradients_of(total: Tensor, *of: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(total, of, materialize_grads=True))


@each_implementation
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


@each_device
@pytest.mark.parametrize("chunk_rows", [1, 4, 7, 23, 1000])
@pytest.mark.parametrize("vocabulary", [2, 64, 70, 127])
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


@each_device
def test_gradcheck(device: str) -> None:
    *inputs, labels, weights = example(rows=7, width=3, vocabulary=5, device=device)

    def total(*given: Tensor) -> Tensor:
        return linear_cross_entropy(*given, labels, weights, chunk_rows=3).total

    assert torch.autograd.gradcheck(total, tuple(inputs))


@each_device
def test_only_the_gradients_asked_for(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    expected = gradients_of(plain(rows, weight, bias, labels, weights), rows, weight, bias)
    for wanted in range(3):
        inputs = [t.detach() for t in (rows, weight, bias)]
        inputs[wanted].requires_grad_()
        total = linear_cross_entropy(*inputs, labels, weights, chunk_rows=8).total
        torch.testing.assert_close(gradients_of(total, inputs[wanted])[0], expected[wanted])


@each_device
def test_the_results_beside_the_total_have_no_gradient(device: str) -> None:
    result = linear_cross_entropy(*example(device=device))
    assert result.total.requires_grad
    assert not result.losses.requires_grad
    assert not result.correct.requires_grad
    assert not result.correct[3::4].any()
    assert not result.losses[3::4].any()


@each_device
def test_ignored_rows_alone_give_zeros(device: str) -> None:
    rows, weight, bias, labels, weights = example(device=device)
    result = linear_cross_entropy(rows, weight, bias, labels.fill_(-100), weights, chunk_rows=5)
    assert result.total.item() == 0
    for gradient in gradients_of(result.total, rows, weight, bias):
        assert torch.equal(gradient, torch.zeros_like(gradient))


@each_device
def test_large_logits_do_not_overflow(device: str) -> None:
    rows, weight, bias, labels, weights = example(dtype=torch.float32, device=device)
    total = linear_cross_entropy(rows * 1e4, weight, bias, labels, weights).total
    expected = plain(rows * 1e4, weight, bias, labels, weights)
    torch.testing.assert_close(total, expected)
    for gradient in gradients_of(total, rows, weight, bias):
        assert gradient.isfinite().all()


@each_device
def test_the_same_bits_every_time(device: str) -> None:
    rows, weight, bias, labels, weights = example(dtype=torch.float32, device=device)
    runs = []
    for _ in range(3):
        result = linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=5)
        runs.append([*result, *gradients_of(result.total, rows, weight, bias)])
    for again in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, runs[0], strict=True))


class Watch(TorchDispatchMode):
    """What runs: the largest tensor made, in elements, and the types of the matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = 0
        self.products: list[torch.dtype] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
        result = function(*args, **(kwargs or {}))
        if function.overloadpacket.__name__ in ("mm", "addmm", "bmm"):
            self.products.append(args[-1].dtype)
        for made in result if isinstance(result, tuple) else (result,):
            if isinstance(made, Tensor):
                self.largest = max(self.largest, made.numel())
        return result


def error(ours: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [((a.double() - b).norm() / b.norm()).item() for a, b in zip(ours, exact, strict=True)]


@each_device
@pytest.mark.parametrize("chunk_rows", [16, 64])
def test_autocast_is_no_worse_than_plain_autocast(chunk_rows: int, device: str) -> None:
    rows, weight, bias, labels, weights = example(64, 32, 300, torch.float32, device)
    of = rows, weight, bias
    wide = [t.detach().double().requires_grad_() for t in of]
    expected = plain(*wide, labels, weights)
    exact = [expected.detach(), *gradients_of(expected, *wide)]
    with Watch() as watch, torch.autocast(device, torch.bfloat16):
        total = linear_cross_entropy(*of, labels, weights, chunk_rows=chunk_rows).total
        theirs = plain(*of, labels, weights)
    ours = [total.detach(), *gradients_of(total, *of)]
    assert set(watch.products) == {torch.bfloat16}
    assert total.dtype == torch.float32
    assert [gradient.dtype for gradient in ours] == [torch.float32] * 4
    plain_errors = error([theirs.detach(), *gradients_of(theirs, *of)], exact)
    for our_error, their_error in zip(error(ours, exact), plain_errors, strict=True):
        assert our_error < 1.05 * their_error + 1e-6


@each_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_rows_are_no_worse_than_plain_half(dtype: torch.dtype, device: str) -> None:
    of = example(64, 32, 300, dtype, device)[:3]
    labels, weights = example(64, 32, 300, dtype, device)[3:]
    wide = [t.detach().double().requires_grad_() for t in of]
    expected = plain(*wide, labels, weights)
    exact = [expected.detach(), *gradients_of(expected, *wide)]
    result = linear_cross_entropy(*of, labels, weights, chunk_rows=20)
    gradients = gradients_of(result.total, *of)
    assert result.total.dtype == result.losses.dtype == torch.float32
    assert [gradient.dtype for gradient in gradients] == [dtype] * 3
    theirs = plain(*of, labels, weights)
    plain_errors = error([theirs.detach(), *gradients_of(theirs, *of)], exact)
    for our_error, their_error in zip(
        error([result.total.detach(), *gradients], exact), plain_errors, strict=True
    ):
        assert our_error < 1.05 * their_error + 1e-6


@each_device
def test_the_logits_are_never_whole(device: str) -> None:
    rows, weight, bias, labels, weights = example(200, 4, 640, torch.float32, device)
    with Watch() as ours:
        linear_cross_entropy(rows, weight, bias, labels, weights, chunk_rows=20).total.backward()
    with Watch() as theirs:
        plain(rows, weight, bias, labels, weights).backward()
    assert theirs.largest == 200 * 640
    assert ours.largest == 20 * 640


@each_device
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
    with FakeTensorMode(allow_non_fake_inputs=True):
        rows, weight = torch.zeros(9, 4, requires_grad=True), torch.zeros(70, 4, requires_grad=True)
        bias, labels = torch.zeros(70), torch.zeros(9, dtype=torch.int64)
        with torch.autocast("cpu", torch.bfloat16):
            result = linear_cross_entropy(rows, weight, bias, labels, torch.ones(9), chunk_rows=4)
        result.total.backward()
    assert rows.grad is not None
    assert weight.grad is not None


@each_device
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
