"""Fit a compact model: loss, optimizer, schedule, averaged weights and early stopping."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from trackserver.errors import DataError
from trackserver.genome.sequence import Codes, one_hot
from trackserver.models.card import ModelCard
from trackserver.models.compact import Compact, margin
from trackserver.predict.engine import Predictor
from trackserver.progress import StageProgress
from trackserver.training.crops import Crops
from trackserver.training.evaluation import evaluate
from trackserver.training.recipe import Recipe
from trackserver.training.targets import TrainingTrack, Values, Window, of_fold

State = dict[str, Tensor]


@dataclass(frozen=True)
class Goal:
    """What a model is fitted to."""

    tracks: tuple[TrainingTrack, ...]
    means: tuple[float, ...]  # of each track, over the train windows
    variances: NDArray[np.float64]  # of log(1 + scale * y / mean), over the train windows
    recipe: Recipe

    @property
    def opposite(self) -> list[int]:
        return [t.track.index if t.track.strand_pair is None else t.track.strand_pair for t in self.tracks]

    @property
    def factor(self) -> int:
        return self.recipe.network.bin_width // self.recipe.step


class Objective:
    """The loss of a batch: each track has its own loss, over known bins only, and all tracks weigh the same."""

    def __init__(self, goal: Goal, device: torch.device):
        def column(values: Sequence[float]) -> Tensor:
            return torch.tensor(values, dtype=torch.float32, device=device)[:, None]

        self.losses = [track.loss for track in goal.tracks]
        self.scale = column([track.scale for track in goal.tracks])
        self.mean = column(goal.means)
        self.variance = column([max(variance, 1e-6) for variance in goal.variances])
        self.loss_tracks = {loss: [i for i, own in enumerate(self.losses) if own == loss] for loss in set(self.losses)}

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Scalar loss of logits and targets (B, T, n); targets are in the data's units, NaN where unknown."""
        known = targets.isfinite()
        targets = torch.where(known, targets, 0)
        each = torch.empty_like(logits)
        for loss, tracks in self.loss_tracks.items():
            each[:, tracks] = getattr(self, f"_{loss}")(logits[:, tracks], targets[:, tracks], tracks)
        return (each * known).sum() / known.sum().clamp(min=1)

    def _signal(self, logits: Tensor, targets: Tensor, tracks: list[int]) -> Tensor:
        scale = self.scale[tracks]
        ratio = targets.clamp(min=0) / self.mean[tracks]
        difference = torch.log1p(scale * F.softplus(logits)) - torch.log1p(scale * ratio)
        return difference.square() / self.variance[tracks]

    def _poisson(self, logits: Tensor, targets: Tensor, tracks: list[int]) -> Tensor:
        rate = F.softplus(logits)
        return rate - targets.clamp(min=0) / self.mean[tracks] * torch.log(rate + 1e-6)

    def _peaks(self, logits: Tensor, targets: Tensor, tracks: list[int]) -> Tensor:
        labels = (self.scale[tracks] * targets).clamp(0, 1)
        return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


@dataclass
class Clock:
    """Progress of a run, by its steps or its minutes, whichever is further."""

    steps: int
    minutes: float | None
    start: float = field(default_factory=time.monotonic)

    def done(self, step: int) -> float:
        spent = 0.0 if self.minutes is None else self.seconds() / max(60 * self.minutes, 1e-9)
        return min(max(step / self.steps, spent), 1.0)

    def seconds(self) -> float:
        return time.monotonic() - self.start


@dataclass
class FitResult:
    """The selected weights so far, with their step and score, and the highest score of any step."""

    state: State
    step: int = 0
    score: float = -math.inf
    highest: float = -math.inf
    highest_step: int = 0
    steps: int = 0


def fit(
    goal: Goal,
    card: ModelCard,
    windows: Sequence[Window],
    clock: Clock,
    seed: int,
    device: torch.device,
    progress: StageProgress,
) -> FitResult:
    """Fit a network to the train fold, and select the weights that score best on the valid fold."""
    recipe = goal.recipe
    network = Compact(recipe.network, len(goal.tracks)).to(device)
    network.scale.copy_(torch.tensor(goal.means))
    learner = _Learner(network, goal, device)
    crops = Crops(of_fold(windows, "train"), goal.opposite, recipe, seed)
    valid = of_fold(windows, "valid")
    result = FitResult(_copy(learner.average))
    while (done := clock.done(learner.step)) < 1:
        learner.learn(*crops.batch(), done)
        if learner.step % recipe.evaluate_every == 0 or clock.done(learner.step) >= 1:
            result = _better(result, learner, learner.score(card, valid))
            progress(0.05 + 0.9 * done, f"step {learner.step}, valid r {result.score:.3f}")
            if recipe.patience and learner.step - result.highest_step >= recipe.patience * recipe.evaluate_every:
                break
    result.steps = learner.step
    return result


def _better(result: FitResult, learner: _Learner, score: float) -> FitResult:
    """The learner's weights, unless their score is lower than the highest by more than the tolerance."""
    if score < result.highest - learner.recipe.tolerance:
        return result
    highest, highest_step = max((result.highest, result.highest_step), (score, learner.step), key=lambda pair: pair[0])
    return FitResult(_copy(learner.average), learner.step, score, highest, highest_step)


class _Learner:
    """A network, its optimizer, and the running mean of its weights, which is evaluated and stored."""

    def __init__(self, network: Compact, goal: Goal, device: torch.device):
        recipe = goal.recipe
        self.network, self.recipe, self.device, self.factor = network, recipe, device, goal.factor
        self.objective = Objective(goal, device)
        self.optimizer = torch.optim.AdamW(
            network.parameters(), recipe.learning_rate, recipe.betas, weight_decay=recipe.weight_decay
        )
        self.average = _copy(network.state_dict())
        crop = margin(recipe.network) // recipe.network.bin_width
        self.averaged = Compact(recipe.network, len(goal.tracks), crop).to(device)  # for evaluation
        self.edge = recipe.loss_margin // recipe.network.bin_width
        self.step = 0

    def learn(self, codes: Codes, targets: Values, done: float) -> None:
        """Take one step on a batch; `done` (0 to 1) is the part of the run that sets the learning rate."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * rate(self.recipe, self.step, done)
        self.network.train()
        logits = self.network.logits(torch.from_numpy(one_hot(codes)).to(self.device))
        inner = logits[..., self.edge : logits.shape[-1] - self.edge]
        loss = self.objective(inner, torch.from_numpy(targets).to(self.device))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.clip)
        self.optimizer.step()
        self.step += 1
        self._average()

    def _average(self) -> None:
        # A short memory at first, so that the mean soon forgets the random start.
        memory = min(self.recipe.average, self.step / (self.step + 10))
        for name, tensor in self.network.state_dict().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor.detach(), 1 - memory)
            else:
                self.average[name].copy_(tensor)

    def score(self, card: ModelCard, windows: Sequence[Window]) -> float:
        """Score for early stopping: the mean over tracks of r within windows and of r of log1p over all bins."""
        if not all(tensor.isfinite().all() for tensor in self.average.values()):
            raise DataError(f"Training diverged by step {self.step}; use a smaller learning_rate in the recipe.")
        self.averaged.load_state_dict(self.average)
        tracks = evaluate(Predictor(card, self.averaged, str(self.device)), windows, self.factor)
        both = [r for track in tracks for r in (track.window_pearson, track.log1p_pearson)]
        return float(np.nan_to_num(both).mean())


def rate(recipe: Recipe, step: int, done: float) -> float:
    """Factor of the learning rate at a step, after the part `done` (0 to 1) of the run."""
    warm = min(1.0, (step + 1) / recipe.warmup) if recipe.warmup else 1.0
    if recipe.schedule == "cosine":
        decay = (1 - math.cos(math.pi * done)) / 2
    else:
        decay = max(0.0, 2 * done - 1)
    return warm * (1 - (1 - recipe.floor) * decay)


def _copy(state: Mapping[str, Tensor]) -> State:
    return {name: tensor.detach().clone() for name, tensor in state.items()}


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch inside the block; afterwards the process's own random numbers continue undisturbed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
