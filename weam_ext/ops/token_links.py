"""The links between the tokens of a batch, as the operators take them."""

from typing import NamedTuple

import torch
from torch import Tensor


class Links(NamedTuple):
    """The token links of a batch: a symmetric sparse matrix over its N = B * L flattened positions.

    `offsets` [N + 1] int64 and `positions` [nnz] int64: the positions linked to a are
    positions[offsets[a] : offsets[a + 1]], ascending, and if they hold b then those of b hold a.
    `positions` may be longer than offsets[N]; what lies beyond is not used, but must be valid.

    Soft links have a weight w > 0 each, the same both ways, and come normalised, [nnz] float32, so
    that neither pass of the gather has to sum: at the entry b of row a, `weights` holds
    w_ab / sum_j w_aj and `transposed` w_ab / sum_j w_bj. Without them all links count the same.
    """

    offsets: Tensor
    positions: Tensor
    weights: Tensor | None = None
    transposed: Tensor | None = None

    def ends(self) -> tuple[Tensor, Tensor]:
        """Of each link, which is there both ways, the position that it is of and the one it leads
        to, [nnz] int64 each; nothing may lie beyond the last offset."""
        positions = torch.arange(len(self.offsets) - 1, device=self.offsets.device)
        number = self.positions.numel()
        return positions.repeat_interleave(self.offsets.diff(), output_size=number), self.positions
