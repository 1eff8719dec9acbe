"""Special functions that the standard library lacks."""

import math


def digamma(x: float) -> float:
    """psi(x) for x > 0, to about 1e-10.

    psi(x) = psi(x + 1) - 1/x carries x to 7 or above, where the asymptotic series about z = x - 1/2
    serves: log z + 1/(24 z^2) - 7/(960 z^4) + 31/(8064 z^6) - 127/(30720 z^8).
    """
    shift = 0.0
    while x < 7.0:
        shift -= 1.0 / x
        x += 1.0
    z = x - 0.5
    y = 1.0 / (z * z)
    series = y * (1 / 24 - y * (7 / 960 - y * (31 / 8064 - y * (127 / 30720))))
    return shift + math.log(z) + series


def trigamma(x: float) -> float:
    """psi'(x) for x > 0: the recurrence psi'(x) = psi'(x + 1) + 1/x^2, then `digamma`'s series
    differentiated."""
    shift = 0.0
    while x < 7.0:
        shift += 1.0 / (x * x)
        x += 1.0
    z = x - 0.5
    y = 1.0 / (z * z)
    series = y * (1 / 12 - y * (7 / 240 - y * (31 / 1344 - y * (127 / 3840))))
    return shift + (1.0 - series) / z


def inverse_digamma(y: float) -> float:
    """The x > 0 with psi(x) = y.

    Minka, "Estimating a Dirichlet distribution", 2000, appendix C: from psi(x) ~ log(x - 1/2) for
    large x and psi(x) ~ psi(1) - 1/x for small x, five steps of Newton are enough. It inverts
    `digamma` as well as that is known, to about 1e-10.
    """
    x = math.exp(y) + 0.5 if y >= -2.22 else -1.0 / (y - digamma(1.0))
    for _ in range(5):
        x -= (digamma(x) - y) / trigamma(x)
    return x


def log_poisson(count: int, mean: float) -> float:
    """log of the Poisson probability of `count`, for mean > 0."""
    return count * math.log(mean) - mean - math.lgamma(count + 1)
