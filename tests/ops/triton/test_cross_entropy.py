"""The cross-entropy kernel itself, interpreted where there is no GPU."""

import math

import pytest
import torch
import torch.nn.functional as F
from masked_rows import DEVICES

from weam_ext.ops.triton.cross_entropy import cross_entropy_

DEVICE = DEVICES[-1]


@pytest.mark.parametrize("width", [1, 70, 4096, 4097])
@pytest.mark.parametrize("with_offset", [False, True])
def test_losses_hits_and_gradients_are_those_of_torch(width: int, with_offset: bool) -> None:
    """At the block's width, and one beyond it."""
    generator = torch.Generator().manual_seed(width)
    logits, offset = (torch.randn(*shape, generator=generator, dtype=torch.float64).to(DEVICE)
                      for shape in ((4, width), (width,)))  # fmt: skip
    labels = torch.tensor([0, width - 1, -100, width // 2], device=DEVICE)
    weights = torch.tensor([1.0, 0.5, 3.0, 0.0], dtype=torch.float64, device=DEVICE)
    shown = (logits + offset if with_offset else logits).clone().requires_grad_()
    expected = F.cross_entropy(shown, labels, reduction="none")
    (gradient,) = torch.autograd.grad((expected * weights).sum(), shown)
    in_place = logits.clone()
    losses, correct = cross_entropy_(
        in_place, offset if with_offset else None, labels, weights, True
    )
    torch.testing.assert_close(losses, expected.detach())
    torch.testing.assert_close(in_place, gradient)
    assert torch.equal(correct, (shown.argmax(1) == labels))


def test_without_gradients_the_logits_stay() -> None:
    logits = torch.randn(2, 9, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    before = logits.clone()
    labels = torch.tensor([3, 10], device=DEVICE)  # the second is no word
    losses, _ = cross_entropy_(logits, None, labels, torch.ones(2, device=DEVICE), False)
    assert torch.equal(logits, before)
    assert math.isfinite(losses[0]) and math.isnan(losses[1])
