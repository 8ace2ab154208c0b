"""Windows read along a sequence: what those that overlap have in common is computed once.

Where no convolution is padded, a window's features are a part of those of any longer sequence, as long as the window
starts where a cell of the max-pools does. For networks of one value a window, dense layers follow: the first of them
is a convolution over the features whose kernel is as wide as a window's. Where the windows' stride is no multiple of
the pools' width they fall into phases, for each of which the features are computed anew: of windows 200 bp apart and
pools of 16 bp, every other window.
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

# The features of a longer sequence are computed in parts of so many bp, whose activations stay in the processor's
# cache; each part computes a few hundred bp again.
PART = 16_384


def goes_along(module: nn.Module, stride: int) -> bool:
    """Whether a module reads windows `stride` bp apart as one sequence, and has something to gain from it.

    Then it takes one-hots (B, 4, window + (n - 1) * stride) and gives the bins of the n windows end to end. Modules
    that do have a method `goes_along` of their own; all others read single windows.
    """
    own: Callable[[int], bool] | None = getattr(module, "goes_along", None)
    return own is not None and own(stride)


def count_windows(length: int, window: int, stride: int) -> int:
    """How many windows, `stride` bp apart, a sequence of `length` bp consists of.

    Raises
    ------
    InvalidRequest
        Not a whole number of them, or none.
    """
    if length < window or (length - window) % stride:
        raise InvalidRequest(f"{length:,} bp are no whole number of windows of {window:,} bp, {stride:,} bp apart.")
    return (length - window) // stride + 1


def each_window(x: Tensor, n: int, stride: int) -> Tensor:
    """What belongs to each of n windows that lie `stride` positions apart: (..., L) -> (..., n, L - (n - 1) stride)."""
    return x.unfold(-1, x.shape[-1] - (n - 1) * stride, stride)


@dataclass(frozen=True)
class Windows:
    """How a network with one value a window, and no padding, reads a sequence.

    window, stride : bp of a window, and from one window's start to the next one's
    steps : the network's convolutions and max-pools
    """

    window: int
    stride: int
    steps: Sequence[Step]

    @property
    def positions(self) -> int:
        """Of a window's features."""
        return positions_after(self.window, self.steps)

    @property
    def pool(self) -> int:
        """The bp from one position to the next."""
        return math.prod(step.pool for step in self.steps)

    @property
    def phases(self) -> int:
        """The windows of one phase, every so many, start whole positions apart."""
        return self.pool // math.gcd(self.stride, self.pool)

    @property
    def pitch(self) -> int:
        """The positions from one window of a phase to the next."""
        return self.phases * self.stride // self.pool

    @property
    def overlap(self) -> bool:
        """Whether neighbours of one phase have positions in common."""
        return self.pitch < self.positions

    def values(
        self,
        one_hot: Tensor,
        features: Callable[[Tensor], Tensor],
        dense: nn.Linear,
        rest: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """The value of each window: (B, 4, window + (n - 1) stride) -> (B, T, n).

        Parameters
        ----------
        features
            Convolutions and max-pools: (B, 4, L) -> (B, C, positions).
        dense
            The layer that reads all of a window's features, by channel and position.
        rest
            What follows: (B, dense.out_features) -> (B, T).
        """
        batch, _, length = one_hot.shape
        n = count_windows(length, self.window, self.stride)
        if n == 1:
            return rest(dense(features(one_hot).flatten(1)))[:, :, None]
        rows = one_hot.new_empty(batch, n, dense.out_features)
        kernel = dense.weight.unflatten(1, (-1, self.positions))
        for phase in range(min(self.phases, n)):
            x = self._features_along(one_hot[..., phase * self.stride :], features)
            rows[:, phase :: self.phases] = F.conv1d(x, kernel, dense.bias, self.pitch).transpose(1, 2)
        return rest(rows.flatten(0, 1)).unflatten(0, (batch, n)).transpose(1, 2)

    def _features_along(self, one_hot: Tensor, features: Callable[[Tensor], Tensor]) -> Tensor:
        """Of the windows of one phase, the first of which starts the sequence: (B, C, positions)."""
        n = (one_hot.shape[-1] - self.window) // (self.phases * self.stride) + 1
        stop = self.positions + (n - 1) * self.pitch
        beyond = self.window - self.positions * self.pool  # bp that positions read besides their own
        part = -(-PART // self.pool)
        return torch.cat(
            [
                features(one_hot[..., first * self.pool : min(first + part, stop) * self.pool + beyond])
                for first in range(0, stop, part)
            ],
            dim=-1,
        )
