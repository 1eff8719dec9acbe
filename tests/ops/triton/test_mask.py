"""The kernels of masking themselves, interpreted where there is no GPU."""

import pytest
import torch
from masked_rows import DEVICES, REPLACEMENTS, csr, random_batch

from weam_ext.ops.mask import _mask
from weam_ext.ops.philox import threshold
from weam_ext.ops.triton.mask import mask_tokens

DEVICE = DEVICES[-1]


VARIANTS = [
    ("independent", "token", False), ("exclusive", "word", True), ("exclusive", "span", False),
]  # fmt: skip
"""Every value of each setting; tests/ops/test_mask.py combines them all."""


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_every_field_is_that_of_torch(variant: tuple[str, str, bool]) -> None:
    """Also where the capacities do not hold all: the kernels see what the operator's checks do."""
    length = 13
    batch = random_batch(0, size=2, length=length, density=0.4)
    links = csr(batch.links, DEVICE)
    tensors = [torch.tensor(values, device=DEVICE) for values in (*batch[:3], REPLACEMENTS)]
    bounds = threshold(0.5), threshold(0.8), threshold(0.9)
    for capacities in ((2 * length, 2 * length), (4, 2)):
        given = (*tensors[:3], *links[:2], tensors[3], 11, *bounds, 4, *capacities, *variant)
        for ours, theirs in zip(mask_tokens(*given), _mask(*given), strict=True):
            assert torch.equal(ours, theirs)
