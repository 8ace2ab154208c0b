"""The recipe for training a compact model: sizes, augmentation, optimizer and stopping, read from TOML."""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from trackserver.errors import DataError
from trackserver.models.compact import CompactConfig, margin
from trackserver.training.targets import Uncovered
from trackserver.validation import first_problem


@dataclass(frozen=True)
class Recipe:
    """Defaults for 128-bp bins and a few megabases of training windows, tuned on ENCODE DNase and FANTOM5 CAGE."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    network: CompactConfig = field(default_factory=CompactConfig)
    window: int = 65_536  # bp that the finished model reads at once: 160 MB of memory
    crop: int = 16_384  # bp of a training example: short, so that a batch has many loci
    trim: int | None = None  # bp without loss at each end of a crop; None: all that depend on sequence beyond the crop
    step: int = 32  # bp between possible starts of a crop: bins are computed for each, which multiplies the data
    shift: int = 3  # bp that the sequence may shift against its bins, which should not depend on single bp
    reverse_complement: bool = True  # also train on the other strand; tracks of a strand pair are swapped
    randomize: float = 0.1  # fraction of bases replaced at random, so that no single k-mer identifies a locus
    uncovered: Uncovered = "missing"  # bases without a value in a bigWig: unknown, or zero in files that omit zeros
    batch_size: int = 8
    steps: int = 800
    learning_rate: float = 2e-3
    weight_decay: float = 0.3  # strong, because there are many parameters for the data
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # norm of the gradient, so that single huge peaks do not disturb the weights
    warmup: int = 100  # steps
    schedule: Literal["plateau", "cosine"] = "plateau"  # constant, then linear from half the run on; or a half cosine
    floor: float = 0.05  # final learning rate, as a fraction of learning_rate
    average: float = 0.98  # memory of the running mean of the weights
    evaluate_every: int = 40  # steps
    patience: int = 12  # evaluations on the valid fold without improvement before stopping; 0 never stops
    tolerance: float = 0.003  # of r on the valid fold: within it later weights win, as their learning rate was lower
    half: bool = False  # store weights as float16

    def __post_init__(self) -> None:
        width = self.network.bin_width
        for name in ("window", "crop", "loss_margin"):
            if getattr(self, name) % width:
                raise DataError(f"A recipe's {name} must be a multiple of the bin width, {width} bp.")
        if width % self.step or self.step < 1:
            raise DataError(f"A recipe's step must divide the bin width, {width} bp; {self.step} does not.")
        if self.crop <= 2 * self.loss_margin or self.window <= 2 * margin(self.network):
            raise DataError("A recipe's crop and window must be longer than the margins at both ends.")
        if min(self.batch_size, self.steps, self.evaluate_every) < 1 or min(self.shift, self.warmup, self.patience) < 0:
            raise DataError("A recipe's batch_size, steps and evaluate_every must be at least 1, and nothing negative.")
        if not (0 <= self.randomize <= 1 and 0 <= self.average < 1 and 0 <= self.floor <= 1 and self.learning_rate > 0):
            raise DataError("A recipe's randomize, average and floor must be 0 to 1, and its learning_rate above 0.")

    @property
    def loss_margin(self) -> int:
        """Bp without loss at each end of a crop."""
        return margin(self.network) if self.trim is None else self.trim

    @property
    def core(self) -> int:
        """Bp of a crop that have a loss."""
        return self.crop - 2 * self.loss_margin


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe from TOML: the fields of `Recipe`, with those of its network under `[network]`.

    Raises
    ------
    DataError
        The file is missing, not TOML, or has an unknown or wrong field, which the message names.
    """
    path = Path(path)
    try:
        # Through JSON, because strict validation accepts a list as a tuple there, but no quoted number.
        text = json.dumps(tomllib.loads(path.read_text(encoding="utf-8")), default=str)
        return TypeAdapter(Recipe).validate_json(text)
    except FileNotFoundError:
        raise DataError(f"There is no recipe {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not valid TOML: {error}.") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a valid recipe: {first_problem(error)}.") from None
