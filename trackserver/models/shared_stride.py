"""Predict overlapping windows as one sequence, so that what they share is computed once.

Without padding, a window's features are part of the features of any longer sequence, as long as the window starts at a
max-pool cell. Networks with one value per window end in dense layers; the first of them becomes a convolution over the
features, with a kernel as wide as a window's features. If the stride of the windows is not a multiple of the pools'
width, the windows fall into phases, and the features are computed once per phase: with windows 200 bp apart and pools
of 16 bp there are two phases, of every other window.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from trackserver.errors import InvalidRequest
from trackserver.models.layers import Step, positions_after

# Features are computed in parts of this many bp, so that their activations stay in the processor's cache. Parts overlap
# by a few hundred bp.
PART_BP = 16_384


def shares_windows(module: nn.Module, stride: int) -> bool:
    """Whether a module can predict windows `stride` bp apart as one sequence, and is faster that way.

    Such a module takes one-hots (B, 4, window + (n - 1) * stride) and returns the bins of the n windows end to end. It
    has a method `shares_windows`; modules without one take single windows only.
    """
    method: Callable[[int], bool] | None = getattr(module, "shares_windows", None)
    return method is not None and method(stride)


def count_windows(length: int, window: int, stride: int) -> int:
    """Count the windows, `stride` bp apart, that make up a sequence of `length` bp.

    Raises
    ------
    InvalidRequest
        They are not a whole number of windows, or none.
    """
    if length < window or (length - window) % stride:
        raise InvalidRequest(f"{length:,} bp are not a whole number of windows of {window:,} bp, {stride:,} bp apart.")
    return (length - window) // stride + 1


def each_window(x: Tensor, n: int, stride: int) -> Tensor:
    """View the positions of n windows that lie `stride` positions apart: (..., L) -> (..., n, L - (n - 1) stride)."""
    return x.unfold(-1, x.shape[-1] - (n - 1) * stride, stride)


@dataclass(frozen=True)
class Windows:
    """Geometry of overlapping windows for a network without padding that has one value per window.

    window, stride : length of a window, and distance from one window's start to the next, in bp
    steps : the network's convolutions and max-pools
    """

    window: int
    stride: int
    steps: Sequence[Step]

    @property
    def positions(self) -> int:
        """Positions of a window's features."""
        return positions_after(self.window, self.steps)

    @property
    def pool(self) -> int:
        """Distance between neighbouring positions, in bp."""
        return math.prod(step.pool for step in self.steps)

    @property
    def phases(self) -> int:
        """Number of phases: windows this many apart start at whole positions of each other."""
        return self.pool // math.gcd(self.stride, self.pool)

    @property
    def pitch(self) -> int:
        """Distance between neighbouring windows of one phase, in positions."""
        return self.phases * self.stride // self.pool

    @property
    def overlap(self) -> bool:
        """Whether neighbouring windows of one phase share positions."""
        return self.pitch < self.positions

    def values(
        self,
        one_hot: Tensor,
        features: Callable[[Tensor], Tensor],
        dense: nn.Linear,
        rest: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Compute the value of each window: (B, 4, window + (n - 1) stride) -> (B, T, n).

        Parameters
        ----------
        features
            Convolutions and max-pools: (B, 4, L) -> (B, C, positions).
        dense
            The layer that reads all of a window's features, by channel and position.
        rest
            The layers after it: (B, dense.out_features) -> (B, T).
        """
        batch, _, length = one_hot.shape
        n = count_windows(length, self.window, self.stride)
        if n == 1:
            return rest(dense(features(one_hot).flatten(1)))[:, :, None]
        rows = one_hot.new_empty(batch, n, dense.out_features)
        kernel = dense.weight.unflatten(1, (-1, self.positions))
        for phase in range(min(self.phases, n)):
            x = self._phase_features(one_hot[..., phase * self.stride :], features)
            rows[:, phase :: self.phases] = F.conv1d(x, kernel, dense.bias, self.pitch).transpose(1, 2)
        return rest(rows.flatten(0, 1)).unflatten(0, (batch, n)).transpose(1, 2)

    def _phase_features(self, one_hot: Tensor, features: Callable[[Tensor], Tensor]) -> Tensor:
        """Features of the windows of one phase; the first window starts the sequence: (B, C, positions)."""
        n = (one_hot.shape[-1] - self.window) // (self.phases * self.stride) + 1
        stop = self.positions + (n - 1) * self.pitch
        overhang = self.window - self.positions * self.pool  # bp that convolutions read beyond the last position
        part = -(-PART_BP // self.pool)
        return torch.cat(
            [
                features(one_hot[..., first * self.pool : min(first + part, stop) * self.pool + overhang])
                for first in range(0, stop, part)
            ],
            dim=-1,
        )
