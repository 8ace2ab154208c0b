"""How far apart two runs of a network may be: the one tolerance of all tests that compare rounded sums.

Processors, batches of another size and windows read along a sequence add the same terms up in another order, and
thereby round differently. Each of n additions is off by at most ε, the unit roundoff, of what was added up so far. The
errors have either sign, so n of them come to about ε·√n of the sum's scale, and two runs differ by about c·ε·√n.

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

# Of a number's own size: how far it may be from one that a file, a tile or a printed table keeps in float32's 7 digits.
STORED = 1e-6

# No tolerance is larger, of scale: a wrong bin, weight or base shows at a hundredth of what it is.
MOST = 1e-5


def tolerance(terms: int | nn.Module, roundoff: float = FLOAT32) -> float:
    """Return the part of scale by which two runs may differ: c·ε·√n, at most `MOST`.

    Parameters
    ----------
    terms
        How many terms are added up on the way to an output, or the network whose layers add them up.
    roundoff
        The unit roundoff ε of the less precise of both runs.
    """
    n = terms_of(terms) if isinstance(terms, nn.Module) else terms
    return min(C * roundoff * n**0.5, MOST)


def terms_of(network: nn.Module) -> int:
    """Add up over a network's layers how many products a number of each layer is the sum of."""
    terms = sum(weight[0].numel() for weight in network.parameters() if weight.ndim > 1)
    assert terms, f"Of {type(network).__name__} no weights are known; give the number of terms."
    return terms


def assert_close(
    found: ArrayLike | Tensor,
    expected: ArrayLike | Tensor,
    terms: int | nn.Module,
    *,
    scale: ArrayLike | None = None,
    roundoff: float = FLOAT32,
    gaps: bool = False,
) -> None:
    """Assert that two runs say the same but for rounding.

    Parameters
    ----------
    found, expected
        What both runs say, in the same shape; tensors of the same type.
    terms, roundoff
        As `tolerance` takes them.
    scale
        How far the numbers reach whose sums were rounded, for all or for each; if not given, the largest |expected|.
    gaps
        Whether NaN may stand at the same places in both.
    """
    if isinstance(found, Tensor) and isinstance(expected, Tensor):
        assert found.dtype == expected.dtype, f"The runs are of two types, {found.dtype} and {expected.dtype}."
    one, other = _array(found), _array(expected)
    assert one.shape == other.shape, f"The runs are of two shapes, {one.shape} and {other.shape}."
    known = ~(np.isnan(one) & np.isnan(other)) if gaps else np.full(one.shape, True)
    if not known.any():
        return
    reach = np.broadcast_to(np.abs(other[known]).max() if scale is None else _array(scale), one.shape)
    share = tolerance(terms, roundoff)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - other)
        wrong = known & ~(apart <= share * reach)
    if wrong.any():
        place = tuple(int(at) for at in np.argwhere(wrong)[np.argmax(apart[wrong])])
        raise AssertionError(
            f"{wrong.sum():,} of {known.sum():,} numbers differ by more than rounding. At {place} {one[place]:.9g} is"
            f" found and {other[place]:.9g} is expected: {apart[place]:.3g} apart, where {share:.3g} of a scale of"
            f" {reach[place]:.3g} is allowed."
        )


def _array(values: ArrayLike | Tensor) -> NDArray[np.float64]:
    return np.asarray(values.detach().cpu().numpy() if isinstance(values, Tensor) else values, np.float64)
