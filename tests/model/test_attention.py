"""Attention without padding: the same as with it, in every family; and where it is used."""

import inspect
from typing import Any

import pytest
import torch
from samples import Samples, sample_of
from small_models import each_family, tiny
from small_tokenizers import tokenizer
from torch import Tensor
from torch.nn.attention import varlen

from weam_ext.common.errors import InputError
from weam_ext.data.collate import Batch, Collator, Layout
from weam_ext.model import attention
from weam_ext.model.attention import is_packed, set_padding
from weam_ext.model.encoder import Encoder
from weam_ext.model.predictor import MaskedPredictor
from weam_ext.ops.mask import mask_tokens

CPU, GPU = torch.device("cpu"), torch.device("cuda")
SHAPES = {
    "ragged": [(5, 4), (1, 1), (9, 8), (3, 0)],
    "one": [(4, 5)],
    "full": [(3, 4), (4, 3)],
}


def batch_of(shape: str, layout: Layout) -> Batch:
    """Pairs of so many words, linked along the diagonal; one of them is a sentence alone."""
    sizes = SHAPES[shape]
    pairs = [
        sample_of([*range(m)], [*range(n)], [(k, k) for k in range(0, min(m, n), 2)])
        for m, n in sizes
    ]
    samples: Any = Samples(pairs, [("en", "de")] * len(pairs))
    return Collator(tokenizer("WordPiece"), layout)(samples, [(k, k) for k in range(len(pairs))])


def packed(model: Any) -> Any:
    set_padding(model, "never", CPU, "fp32")
    assert is_packed(model) and is_packed(model.base_model)
    return model


def loss_and_gradients(model: Any, batch: Batch, layer: int | None) -> list[Tensor]:
    predictor = MaskedPredictor(model, exchange_weight=0.7, exchange_layer=layer)
    capacity, exchange_capacity = batch.capacities(0.6)
    masked = mask_tokens(
        batch.input_ids, batch.words, batch.draws, batch.links, seed=3, probability=0.6,
        mask_id=4, replacements=torch.tensor([5, 6]), capacity=capacity,
        exchange_capacity=exchange_capacity,
    )  # fmt: skip
    loss = predictor(batch, masked, exchange=batch.links is not None).loss
    loss.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and loss > 0
    return [loss.detach(), *gradients]


LAYOUTS = {
    "together": Layout(),
    "apart": Layout(together=False),
    "without links": Layout(linked=False),
}


@each_family
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("layer", [None, 1, 2])
def test_losses_and_gradients_are_those_of_padded_batches(
    family: str, shape: str, layout: str, layer: int | None
) -> None:
    size = {"n_layers": 2} if "Distil" in family else {"num_hidden_layers": 2}
    batch = batch_of(shape, LAYOUTS[layout])
    expected = loss_and_gradients(tiny(family, **size), batch, layer)
    found = loss_and_gradients(packed(tiny(family, **size)), batch, layer)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("window", [2, 6])
def test_windows_are_those_of_padded_batches(window: int) -> None:
    """Shorter than the sequences: local layers see less than the others."""
    size = {"num_hidden_layers": 3, "local_attention": window}
    batch = batch_of("ragged", Layout())
    expected, found = (
        loss_and_gradients(way(tiny("ModernBertForMaskedLM", **size)), batch, None)
        for way in (lambda model: model, packed)
    )
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    wide = tiny("ModernBertForMaskedLM", **size | {"local_attention": 64})
    assert not torch.allclose(loss_and_gradients(wide, batch, None)[0], expected[0], rtol=1e-4)


@each_family
def test_a_packed_model_still_takes_padded_batches(family: str) -> None:
    batch = batch_of("ragged", Layout())
    with torch.no_grad():
        expected = tiny(family)(batch.input_ids, batch.attention_mask).logits
        found = packed(tiny(family))(batch.input_ids, batch.attention_mask).logits
    used = batch.attention_mask == 1
    torch.testing.assert_close(expected[used], found[used])


def test_padding_is_zero_and_gets_no_gradient() -> None:
    batch, model = batch_of("ragged", Layout()), packed(tiny("BertForMaskedLM"))
    hidden, _ = Encoder(model.base_model)(batch.input_ids, batch)
    assert batch.attention_mask is not None
    padding = batch.attention_mask == 0
    assert padding.any() and not hidden[padding].any() and hidden[~padding].any()
    hidden[padding].sum().backward()
    assert not any(p.grad.any() for p in model.parameters() if p.grad is not None)


def test_the_dropout_of_attention_weights_is_left_out() -> None:
    batch = batch_of("ragged", Layout())
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.9}
    encoder = Encoder(packed(tiny("BertForMaskedLM", **rates)).base_model.train())
    once, again = (encoder(batch.input_ids, batch)[0] for _ in range(2))
    assert torch.equal(once, again)


def test_what_is_saved_does_not_name_it(tmp_path: Any) -> None:
    packed(tiny("BertForMaskedLM")).save_pretrained(tmp_path)
    assert attention.PACKED not in (tmp_path / "config.json").read_text()


def test_torch_is_asked_as_both_its_oldest_and_its_newest_version_take_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a GPU, whose part a device without values plays here."""
    newest = inspect.signature(varlen.varlen_attn)
    asked: list[dict[str, Any]] = []

    def oldest(
        query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor,
        max_q: int, max_k: int, *, return_aux: Any = None, scale: float | None = None,
        window_size: tuple[int, int] = (-1, -1),
    ) -> Tensor:  # fmt: skip
        """The parameters of torch 2.11, the first version with a scale and a window."""
        newest.bind(
            query, key, value, cu_seq_q, cu_seq_k, max_q, max_k,
            scale=scale, window_size=window_size,
        )  # fmt: skip
        asked.append({"scale": scale, "window": window_size, "longest": (max_q, max_k)})
        return query

    monkeypatch.setattr(varlen, "varlen_attn", oldest)
    rows = torch.zeros(1, 2, 7, 4, device="meta")
    bounds = torch.tensor([0, 3, 7], dtype=torch.int32)
    for window in (None, 3):
        found, _ = attention.packed_attention(
            torch.nn.Identity(), rows, rows, rows, None, scaling=0.5, sliding_window=window,
            cu_seq_lens_q=bounds, max_length_q=4,
        )  # fmt: skip
        assert found.shape == (1, 7, 2, 4)
    assert [each["window"] for each in asked] == [(-1, -1), (2, 2)]
    assert all(each["scale"] == 0.5 and each["longest"] == (4, 4) for each in asked)


@pytest.fixture
def capability(monkeypatch: pytest.MonkeyPatch) -> Any:
    def set_to(major: int) -> None:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (major, 0))

    set_to(9)
    return set_to


def way(family: str, padding: str, device: torch.device, precision: str, **sizes: Any) -> bool:
    model = tiny(family, **sizes)
    set_padding(model, padding, device, precision)
    return is_packed(model)


def test_where_it_is_used_by_itself(capability: Any) -> None:
    none = {"attention_probs_dropout_prob": 0.0}
    assert way("BertForMaskedLM", "auto", GPU, "bf16", **none)
    assert not way("BertForMaskedLM", "auto", GPU, "bf16")  # whose dropout would be left out
    assert way("BertForMaskedLM", "never", GPU, "bf16")
    assert not way("BertForMaskedLM", "always", GPU, "bf16", **none)
    assert not way("BertForMaskedLM", "auto", GPU, "fp32", **none)
    assert not way("BertForMaskedLM", "auto", CPU, "bf16", **none)
    assert way("ModernBertForMaskedLM", "auto", GPU, "bf16")
    assert not way("DistilBertForMaskedLM", "auto", GPU, "bf16")
    capability(7)
    assert not way("BertForMaskedLM", "auto", GPU, "bf16", **none)


@pytest.mark.parametrize(
    ("precision", "major", "heads", "said"),
    [
        ("fp32", 9, 2, "needs --precision bf16"),
        ("bf16", 7, 2, "a GPU of capability 8 or above"),
        ("bf16", 9, 4, "heads of 4 numbers"),
    ],
)
def test_where_it_cannot_be(
    capability: Any, precision: str, major: int, heads: int, said: str
) -> None:
    capability(major)
    with pytest.raises(InputError, match=f"^--padding never: .*{said}"):
        way("BertForMaskedLM", "never", GPU, precision, num_attention_heads=heads)
