"""The counter-based random numbers Philox 4x32-10 (Salmon et al. 2011)."""

import math

from torch import Tensor

Words = tuple[Tensor, Tensor, Tensor, Tensor]

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Philox4x32-10 (Salmon et al. 2011) on broadcastable int64 tensors that hold 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        # The product of two 32-bit words wraps around int64: its bits are right, its sign is not.
        p0 = c0 * _MULTIPLIERS[0]
        p1 = c2 * _MULTIPLIERS[1]
        c0, c1, c2, c3 = _high(p1) ^ c1 ^ k0, p1 & _LOW, _high(p0) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _KEY_STEPS[0]) & _LOW
        k1 = (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def philox_words(seed: int, draws: Tensor, positions: Tensor, stream: int) -> Words:
    """The four random words of each (draw, position), int64 tensors of their broadcast shape.

    `draws` int64: the sample's ordinal in the run; `positions` int64: within the sequence.
    """
    counter = (draws & _LOW, _high(draws), positions, positions.new_full((), stream))
    return philox4x32(counter, (seed & _LOW, (seed >> 32) & _LOW))


def _high(product: Tensor) -> Tensor:
    return (product >> 32) & _LOW


def threshold(probability: float) -> int:
    """The integer t with P(word < t) = `probability` for a uniform 32-bit word: floor(p * 2^32)."""
    return math.floor(probability * 2**32)
