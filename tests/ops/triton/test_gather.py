"""The kernels of the gather themselves, interpreted where there is no GPU."""

import pytest
import torch
from masked_rows import DEVICES, as_tensors, csr, random_batch, random_weights

from weam_ext.ops import gather as plain
from weam_ext.ops.triton import gather as kernels

DEVICE = DEVICES[-1]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("soft", [False, True])
def test_both_passes_are_those_of_torch(soft: bool, dtype: torch.dtype) -> None:
    batch = random_batch(5, size=2, length=6, density=0.5)
    links = csr(batch.links, DEVICE, random_weights(1, batch.links) if soft else None)
    masked = as_tensors(batch.masked(probability=0.6, capacity=9, exchange_capacity=7), DEVICE)
    numbers = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of, *links
    generator = torch.Generator().manual_seed(0)
    # Wider than it is long, and every other column: neither packed nor of unit stride.
    hidden = torch.randn(12, 2 * 65, generator=generator).to(DEVICE, dtype)[:, ::2]
    rows = kernels.gather_rows(hidden, *numbers)
    expected = plain._gather(hidden, *numbers)
    far = 1e-2 if dtype == torch.bfloat16 else 1e-6
    torch.testing.assert_close(rows, expected, rtol=far, atol=far)
    back = kernels.gather_rows_backward(rows, *numbers)
    torch.testing.assert_close(back, plain._gather_backward(rows, *numbers), rtol=far, atol=far)


def test_without_links_there_are_the_masked_rows_alone() -> None:
    masked = as_tensors(random_batch(6).masked(capacity=9, exchange_capacity=0), DEVICE)
    numbers = masked.positions, masked.row_of, masked.exchanged, masked.exchanged_of
    hidden = torch.randn(27, 3, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    rows = kernels.gather_rows(hidden, *numbers, None, None, None, None)
    assert torch.equal(rows, plain._gather(hidden, *numbers, None, None, None, None))
