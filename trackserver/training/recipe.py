"""How a compact model is trained: sizes, augmentation, optimizer and when to stop, as one value and one TOML file."""

from __future__ import annotations

import json
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
    window: int = 65_536  # bp the finished model reads at once: 160 MB of memory
    crop: int = 16_384  # bp of a training example: short, so that a batch mixes many places
    trim: int | None = None  # bp without loss at each end of a crop; None is all that see past the crop's end
    step: int = 32  # bp between possible starts of a crop: bins are made anew at each, which multiplies the data
    shift: int = 3  # bp the sequence may slip against its bins: what a bin says should not hang on single bp
    reverse_complement: bool = True  # both strands read alike; tracks of a strand pair change places
    randomize: float = 0.1  # part of the bases replaced at random: no single k-mer to memorize a place by
    uncovered: Uncovered = "missing"  # bases without a value in a bigWig: unknown, or zero in files that omit zeros
    batch_size: int = 8
    steps: int = 800
    learning_rate: float = 2e-3
    weight_decay: float = 0.3  # strong: parameters are many for the data
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0  # norm of the gradient: single huge peaks do not throw the weights
    warmup: int = 100  # steps
    schedule: Literal["plateau", "cosine"] = "plateau"  # constant to half the run then linear down, or a half cosine
    floor: float = 0.05  # where the schedule ends, as a part of the learning rate
    average: float = 0.98  # weights are a running mean with this memory: a step back from the last batch
    evaluate_every: int = 40  # steps
    patience: int = 12  # evaluations on the valid fold without a better one before it stops; 0 never stops
    tolerance: float = 0.003  # r on the valid fold; within it the later weights are kept, for their rate was lower
    half: bool = False  # store kernels as float16

    def __post_init__(self) -> None:
        width = self.network.bin_width
        for name in ("window", "crop", "loss_margin"):
            if getattr(self, name) % width:
                raise DataError(f"A recipe's {name} must be whole bins of {width} bp.")
        if width % self.step or self.step < 1:
            raise DataError(f"A recipe's step must divide the bin of {width} bp, which {self.step} does not.")
        if self.crop <= 2 * self.loss_margin or self.window <= 2 * margin(self.network):
            raise DataError("A recipe's crop and window must be longer than the margins at both their ends.")
        if min(self.batch_size, self.steps, self.evaluate_every) < 1 or min(self.shift, self.warmup, self.patience) < 0:
            raise DataError("A recipe needs batch_size, steps and evaluate_every of 1 or more, and nothing negative.")

        if not (0 <= self.randomize <= 1 and 0 <= self.average < 1 and 0 <= self.floor <= 1 and self.learning_rate > 0):
            raise DataError("A recipe's randomize, average and floor are parts from 0 to 1, its learning_rate above 0.")

    @property
    def loss_margin(self) -> int:
        """The bp at each end of a crop that carry no loss."""
        return margin(self.network) if self.trim is None else self.trim

    @property
    def core(self) -> int:
        """The bp of a crop that carry loss."""
        return self.crop - 2 * self.loss_margin


def read_recipe(path: Path) -> Recipe:
    """Read a recipe from TOML: the fields of `Recipe`, those of its network under `[network]`.

    Raises
    ------
    DataError
        The file is missing or not TOML, or has a field there is not; the sentence names it.
    """
    try:
        # Through JSON: there a list is how a tuple is written, while a quoted number still is an error.
        text = json.dumps(tomllib.loads(path.read_text(encoding="utf-8")), default=str)
        return TypeAdapter(Recipe).validate_json(text)
    except FileNotFoundError:
        raise DataError(f"There is no recipe {path}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not TOML: {error}.") from None
    except ValidationError as error:
        raise DataError(f"{path} is not a recipe: {first_problem(error)}.") from None
