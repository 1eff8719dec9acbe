"""The links of a batch as the operators take them."""

import torch
from masked_rows import SETTINGS, as_lists, csr, random_batch, random_weights

from weam_ext.ops.gather import gather_rows
from weam_ext.ops.mask import MaskedRows, mask_tokens
from weam_ext.ops.token_links import Links

BATCH = random_batch(3, density=0.4)


def rows_of(links: Links) -> tuple[MaskedRows, torch.Tensor]:
    """What a batch becomes with some links, masked exclusively, and its gathered rows."""
    ids, words, draws = map(torch.tensor, BATCH[:3])
    settings = SETTINGS | {"replacements": torch.tensor([5, 6]), "policy": "exclusive"}
    masked = mask_tokens(ids, words, draws, links, capacity=27, exchange_capacity=27, **settings)
    hidden = torch.randn(*ids.shape, 4, generator=torch.Generator().manual_seed(0))
    return masked, gather_rows(hidden, masked, links)


def test_without_weights_all_links_count_the_same() -> None:
    hard = csr(BATCH.links)
    soft = csr(BATCH.links, weights=[[0.25] * len(linked) for linked in BATCH.links])
    assert hard.weights is hard.transposed is None
    torch.testing.assert_close(rows_of(soft)[1], rows_of(hard)[1])
    uneven = csr(BATCH.links, weights=random_weights(1, BATCH.links))
    assert not torch.allclose(rows_of(uneven)[1], rows_of(hard)[1])


def test_what_lies_beyond_the_links_is_not_used() -> None:
    links = csr(BATCH.links)
    longer = links._replace(positions=torch.nn.functional.pad(links.positions, (0, 9), value=1))
    (masked, rows), (others, expected) = rows_of(longer), rows_of(links)
    assert as_lists(masked) == as_lists(others)
    assert torch.equal(rows, expected)
