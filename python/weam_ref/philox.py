"""Philox4x32-10, the counter-based random numbers of every mask and control.

Salmon, Moraes, Dror & Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
"""

import math
from fractions import Fraction

Words = tuple[int, int, int, int]

MASKING, SHUFFLED_LINKS, RANDOM_LINKS = 0, 1, 2
"""The streams: the last word of the counter says what the numbers are for."""

_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """The four 32-bit words that Philox4x32-10 makes of a counter and a key of 32-bit words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        p0 = _MULTIPLIERS[0] * c0
        p1 = _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _LOW, (p0 >> 32) ^ c3 ^ k1, p0 & _LOW
        k0 = (k0 + _KEY_STEPS[0]) & _LOW
        k1 = (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def words(seed: int, draw: int, position: int, stream: int) -> Words:
    """The four random words of one position of one sample.

    `seed` and `draw` (the sample's ordinal in the run) have 64 bits, `position` (within the
    sequence) and `stream` 32. Nothing else enters: not the batch, its order, nor its padding.
    """
    counter = (draw & _LOW, (draw >> 32) & _LOW, position, stream)
    return philox4x32(counter, (seed & _LOW, (seed >> 32) & _LOW))


def threshold(probability: float | Fraction) -> int:
    """The integer t with P(word < t) = `probability` for a uniform 32-bit word: floor(p * 2^32)."""
    return math.floor(probability * 2**32)
