"""Philox: the published words, in each implementation."""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
import weam_ref.philox
from masked_rows import each_implementation

from weam_ext.ops.philox import philox_words, threshold

KNOWN_ANSWERS = {
    "zeros": "00000000 00000000 00000000 00000000 | 00000000 00000000"
    " | 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ones": "ffffffff ffffffff ffffffff ffffffff | ffffffff ffffffff"
    " | 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "pi": "243f6a88 85a308d3 13198a2e 03707344 | a4093822 299f31d0"
    " | d16cfe09 94fdcceb 5001e420 24126ea1",
}
"""Random123's kat_vectors: counter | key | words."""


def known_answer(name: str) -> Iterator[tuple[int, ...]]:
    for words in KNOWN_ANSWERS[name].split("|"):
        yield tuple(int(word, 16) for word in words.split())


@each_implementation
@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(implementation: Any, name: str) -> None:
    counter, key, answer = known_answer(name)
    assert implementation.philox4x32(counter, key) == answer


@each_implementation
@pytest.mark.parametrize("name", KNOWN_ANSWERS)
def test_words_put_seed_draw_position_and_stream_in_their_places(
    implementation: Any, name: str
) -> None:
    counter, key, answer = known_answer(name)
    draw = counter[0] | counter[1] << 32
    # Tensors hold the 64 bits of a draw as a signed number.
    signed = draw - 2**64 if draw >= 2**63 else draw
    words = implementation.words(key[0] | key[1] << 32, signed, counter[2], counter[3])
    assert words == answer


def test_words_are_those_of_the_reference_whatever_is_broadcast() -> None:
    draws, positions = torch.tensor([[0], [-1], [2**62]]), torch.tensor([0, 1, 2**31])
    found = philox_words(2**64 - 1, draws, positions, 7)
    for row, draw in enumerate((0, 2**64 - 1, 2**62)):
        for column, position in enumerate(positions.tolist()):
            expected = weam_ref.philox.words(2**64 - 1, draw, position, 7)
            assert tuple(word[row, column].item() for word in found) == expected


@pytest.mark.parametrize("probability", [0.0, 1e-12, 0.15, 0.3, 1 / 3, 1 - 2**-40, 1.0])
def test_a_threshold_is_the_share_of_the_words_below_it(probability: float) -> None:
    found = threshold(probability)
    assert found == weam_ref.philox.threshold(probability)
    assert 0 <= Fraction(probability) - Fraction(found, 2**32) < Fraction(1, 2**32)
