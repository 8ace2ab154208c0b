"""The single tolerance of all tests that compare rounded sums, such as two runs of a network.

Processors, batch sizes and windows along a sequence add the same terms in different orders, and so round differently.
The error of each of n additions is at most ε, the unit roundoff, times the sum so far. The errors have either sign, so
n of them amount to about ε·√n of the sum's scale, and two runs differ by about c·ε·√n.

In float32, with the instructions of SSE4.1, AVX2 and AVX-512, a run of any architecture in tests/ is at most 1.2 ε·√n
from float64, two runs (alone and in batches, from a cone and in full, at two of these levels) are at most 1.4 ε·√n
apart, and ChromBPNet's reads, exponentials of its sums, are at most 2.2 ε·√n of themselves from the original code's.
C is about twice that, for processors and libraries not measured. `test_tolerance.py` holds float32 against float64.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

C = 4.0
FLOAT32 = 2.0**-24
FLOAT64 = 2.0**-53

# Relative tolerance for a number that a file, a tile or a printed table stores with float32's 7 digits.
STORED = 1e-6

# The largest tolerance, relative to the scale; a wrong bin, weight or base changes a value by a hundredth or more.
MAX_TOLERANCE = 1e-5


def tolerance(terms: int | nn.Module, roundoff: float = FLOAT32) -> float:
    """Return the tolerance relative to the scale: c·ε·√n, at most `MAX_TOLERANCE`.

    Parameters
    ----------
    terms
        The number of terms that are summed on the way to an output, or the network whose layers sum them.
    roundoff
        The unit roundoff ε of the less precise run.
    """
    n = terms_of(terms) if isinstance(terms, nn.Module) else terms
    return min(C * roundoff * n**0.5, MAX_TOLERANCE)


def terms_of(network: nn.Module) -> int:
    """Return the number of products that are summed for one output of each layer, summed over the layers."""
    terms = sum(weight[0].numel() for weight in network.parameters() if weight.ndim > 1)
    assert terms, f"The weights of {type(network).__name__} are unknown; give the number of terms."
    return terms


def assert_close(
    actual: ArrayLike | Tensor,
    expected: ArrayLike | Tensor,
    terms: int | nn.Module,
    *,
    scale: ArrayLike | None = None,
    roundoff: float = FLOAT32,
    gaps: bool = False,
) -> None:
    """Assert that two runs agree except for rounding.

    Parameters
    ----------
    actual, expected
        The results of both runs, of the same shape; tensors of the same type.
    terms, roundoff
        See `tolerance`.
    scale
        The magnitude of the numbers that were summed, for all values or for each; default: the largest |expected|.
    gaps
        Whether NaN is allowed, at the same positions in both.
    """
    if isinstance(actual, Tensor) and isinstance(expected, Tensor):
        assert actual.dtype == expected.dtype, f"The runs have different types, {actual.dtype} and {expected.dtype}."
    one, other = _array(actual), _array(expected)
    assert one.shape == other.shape, f"The runs have different shapes, {one.shape} and {other.shape}."
    known = ~(np.isnan(one) & np.isnan(other)) if gaps else np.full(one.shape, True)
    if not known.any():
        return
    magnitude = np.broadcast_to(np.abs(other[known]).max() if scale is None else _array(scale), one.shape)
    share = tolerance(terms, roundoff)
    with np.errstate(invalid="ignore"):
        difference = np.abs(one - other)
        wrong = known & ~(difference <= share * magnitude)
    if wrong.any():
        index = tuple(int(i) for i in np.argwhere(wrong)[np.argmax(difference[wrong])])
        raise AssertionError(
            f"{wrong.sum():,} of {known.sum():,} numbers differ by more than rounding. At {index}: {one[index]:.9g}"
            f" instead of {other[index]:.9g}; the difference is {difference[index]:.3g}, only {share:.3g} of a scale"
            f" of {magnitude[index]:.3g} is allowed."
        )


def _array(values: ArrayLike | Tensor) -> NDArray[np.float64]:
    return np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, np.float64)
