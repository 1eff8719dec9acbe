"""The cross-entropy kernel itself, interpreted where there is no GPU."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from masked_rows import DEVICES

from weam_ext.ops.triton.cross_entropy import cross_entropy_

DEVICE = DEVICES[-1]


@pytest.mark.parametrize(
    ("rows", "width"),
    [*product([4], [1, 63, 64, 2047, 2048, 5003]), *product([1, 127, 128, 129], [65, 2049])],
)
@pytest.mark.parametrize("with_bias", [False, True])
def test_losses_hits_and_gradients_are_those_of_torch(
    rows: int, width: int, with_bias: bool
) -> None:
    """At the width of a program and the height of a stretch, one less and one more."""
    generator = torch.Generator().manual_seed(width)
    logits = torch.randn(rows, width, generator=generator, dtype=torch.float64).to(DEVICE)
    labels = torch.tensor([width - 1, 0, -100, width // 2], device=DEVICE).repeat(40)[:rows]
    weights = torch.tensor([1.0, 0.5, 3.0, 0.0], dtype=torch.float64, device=DEVICE)
    weights = weights.repeat(40)[:rows]
    whole = logits.clone().requires_grad_()
    expected = F.cross_entropy(whole, labels, reduction="none")
    (gradient,) = torch.autograd.grad((expected * weights).sum(), whole)
    in_place, d_bias = logits.clone(), torch.full_like(logits[0], 7) if with_bias else None
    losses, correct = cross_entropy_(in_place, labels, weights, True, d_bias)
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(in_place, gradient)
    assert torch.equal(correct, (logits.argmax(1) == labels))
    if d_bias is not None:
        torch.testing.assert_close(d_bias, 7 + gradient.sum(0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["far apart", "-inf in most", "label at -inf", "inf", "nan"])
def test_ugly_logits_give_what_torch_gives(kind: str, dtype: torch.dtype) -> None:
    """Also -inf in whole lanes and blocks, and as the first that a lane sees."""
    logits = torch.randn(1, 4500, generator=torch.Generator().manual_seed(1)).to(dtype)
    label = torch.tensor([4400])
    if kind == "far apart":
        logits *= 1e4
    elif kind == "-inf in most":
        logits[:, :4390] = -torch.inf
    elif kind == "label at -inf":
        logits[:, 4400] = -torch.inf
    else:
        logits[:, 3000] = float(kind)
    in_place = logits.to(DEVICE, copy=True)
    whole = logits.float().requires_grad_()
    expected = F.cross_entropy(whole, label, reduction="none")
    (gradient,) = torch.autograd.grad(expected, whole)
    weights = torch.ones(1, device=DEVICE)
    losses, correct = cross_entropy_(in_place, label.to(DEVICE), weights, True, None)
    torch.testing.assert_close(losses.cpu(), expected.detach(), equal_nan=True)
    if kind in ("inf", "nan"):
        assert in_place.isnan().all()
    else:
        torch.testing.assert_close(in_place.cpu(), gradient.to(dtype), rtol=1e-2, atol=1e-6)
        assert correct.item() == (logits.argmax().item() == 4400)


def test_without_gradients_the_logits_stay() -> None:
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    before = logits.clone()
    labels = torch.tensor([3, 10], device=DEVICE)  # the second is no word
    losses, _ = cross_entropy_(logits, labels, torch.ones(2, device=DEVICE), False, None)
    assert torch.equal(logits, before)
    assert math.isfinite(losses[0]) and math.isnan(losses[1])
