"""Sums of losses: added, sent, and divided at the end."""

import torch

from weam_ext.model.sums import Ratio, Sums


def sums(loss: float, count: float, hits: float, overflow: int = 0, **counts: float) -> Sums:
    ratio = Ratio(torch.tensor(hits), torch.tensor(count))
    return Sums(torch.tensor(loss), torch.tensor(count), torch.tensor(overflow),
                {"accuracy": ratio}, {k: torch.tensor(v) for k, v in counts.items()})  # fmt: skip


def test_means_are_taken_after_the_sums() -> None:
    added = sums(6.0, 2.0, 1.0, masked=2.0) + sums(2.0, 6.0, 3.0, masked=6.0)
    assert added.means() == {"loss": 1.0, "accuracy": 0.5, "masked": 8.0}


def test_of_nothing_the_means_are_0() -> None:
    assert sums(0.0, 0.0, 0.0).means() == {"loss": 0.0, "accuracy": 0.0}


def test_all_of_it_travels_in_one_tensor_without_gradient() -> None:
    one = sums(6.0, 2.0, 1.0, linked=3.0)
    one.loss.requires_grad_()
    stacked = one.stacked()
    assert stacked.tolist() == [6.0, 2.0, 0.0, 1.0, 2.0, 3.0] and not stacked.requires_grad
    twice = one.replaced(2 * stacked)
    assert twice.means() == {"loss": 3.0, "accuracy": 0.5, "linked": 6.0}


def test_what_was_left_out_of_any_batch_is_told_and_no_error() -> None:
    added = sums(1.0, 1.0, 1.0, overflow=2) + sums(1.0, 1.0, 1.0) + sums(1.0, 1.0, 1.0, overflow=1)
    assert added.means() == {"loss": 1.0, "overflow": 3.0, "accuracy": 1.0}
