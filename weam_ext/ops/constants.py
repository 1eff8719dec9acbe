"""The constants that the operators and their kernels share."""

from fractions import Fraction

POLICIES = ("independent", "exclusive")
UNITS = ("token", "word", "span")
UNUSED = -1
IGNORED = -100
MASKING = 0
"""The stream of the masking numbers: the last word of the Philox counter."""
NO_KEY = 2**63 - 1
"""The key of what is never masked: above that of any unit."""

_GOES_ON = Fraction(4, 5)
_LONGEST = 10
LONGER = tuple(
    float((_GOES_ON**d - _GOES_ON**_LONGEST) / (1 - _GOES_ON**_LONGEST)) for d in range(_LONGEST)
)
"""P(a span has more than d words), d = 0..9."""
