"""A program of a user's in a process of its own, with limits: what reads it, judges it and runs it.

The two processes exchange bytes alone: a header in JSON, then numbers. Nothing that the program's process says is
unpickled. Its memory, the time of a batch, its open files and what it may write (nothing) are bounded; what it prints
is thrown away. It ends with the process that began it.
"""

from __future__ import annotations

import json
import math
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trackserver import processes
from trackserver.errors import DataError
from trackserver.models.card import ModelCard
from trackserver.models.program import read_program

MAX_MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
MAX_LOAD_S = 300.0
MAX_BATCH_S = 600.0
MAX_FILES = 256  # that are open at a time; CUDA alone opens dozens
MAX_HEADER_BYTES = 1 << 16


class Program(nn.Module):
    """A program as a module (B, 4, L) -> (B, T, bins), which computes in a process of its own.

    Parameters
    ----------
    path, card
        The file, and what is known of it.
    tracks
        The tracks to take from what it gives, in this order; it computes them all.

    Raises
    ------
    DataError
        The file cannot be read, names an operator that is not carried out, or asks for more than the limits.
    """

    def __init__(
        self,
        path: Path,
        card: ModelCard,
        tracks: Sequence[int] | None = None,
        *,
        max_memory: int = MAX_MEMORY_BYTES,
        max_batch_s: float = MAX_BATCH_S,
    ):
        super().__init__()
        self.path, self.tracks, self.max_batch_s = path, None if tracks is None else list(tracks), max_batch_s
        self._one_asks = threading.Lock()
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                processes.python_command(__name__, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self._connection = Connection(ours.detach())
        self._ask(
            MAX_LOAD_S,
            {
                "path": str(path),
                "architecture": card.architecture,
                "memory": max_memory,
                "threads": torch.get_num_threads(),
            },
        )

    @property
    def pid(self) -> int:
        """The process that computes."""
        return self._process.pid

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()

    def forward(self, one_hot: Tensor) -> Tensor:
        values: Tensor = _Apart.apply(one_hot, self)
        return values if self.tracks is None else values[:, self.tracks]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: torch compiles what runs in this process alone."""

    def outputs(self, one_hot: Tensor) -> Tensor:
        """What the program gives for a one-hot: float32 (B, T, bins)."""
        return self._computed(one_hot)

    def slope(self, one_hot: Tensor, rise: Tensor) -> Tensor:
        """The derivative of the outputs' sum, weighted by `rise`, by the one-hot: float32 (B, 4, L)."""
        return self._computed(one_hot, rise)

    def _computed(self, *given: Tensor) -> Tensor:
        device = given[0].device
        header = {
            "shapes": [list(tensor.shape) for tensor in given],
            "device": str(device),
            "bfloat16": torch.is_autocast_enabled(device.type),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
        blocks = [tensor.detach().float().cpu().contiguous().numpy() for tensor in given]
        answer, values = self._ask(self.max_batch_s, header, *blocks)
        if answer["kind"] != "floating":
            raise DataError(f"{self.path} gives {answer['kind']}, not a tensor of floating-point numbers.")
        return torch.from_numpy(values).to(device)

    def _ask(self, limit: float, header: dict[str, Any], *blocks: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        with self._one_asks:
            try:
                self._connection.send_bytes(json.dumps(header).encode())
                for block in blocks:
                    self._connection.send_bytes(block.data.cast("B"))
                if not self._connection.poll(limit):
                    raise DataError(f"{self.path} is stopped: it computes for more than {limit:g} seconds.")
                answer = dict(json.loads(self._connection.recv_bytes(MAX_HEADER_BYTES)))
                values = self._received(answer) if answer.get("kind") == "floating" else np.empty(0, np.float32)
            except DataError:
                self._process.kill()
                raise
            except (OSError, EOFError, ValueError):
                raise DataError(
                    f"{self.path} is stopped: its process has ended ({self._ending()}); it may use "
                    "more memory than a program may."
                ) from None
        if "memory" in answer:
            raise torch.OutOfMemoryError(answer["memory"])
        if "error" in answer:
            raise DataError(answer["error"])
        return answer, values

    def _received(self, answer: dict[str, Any]) -> np.ndarray:
        size = 4 * math.prod(answer["shape"])
        if size > MAX_MEMORY_BYTES:
            raise DataError(f"{self.path} gives values of shape {tuple(answer['shape'])}, more than fit into memory.")
        return np.frombuffer(bytearray(self._connection.recv_bytes(size)), np.float32).reshape(answer["shape"])

    def _ending(self) -> str:
        self._process.kill()
        return f"status {self._process.wait()}"


class _Apart(torch.autograd.Function):
    """A program's outputs, and their slopes where somebody asks for them."""

    @staticmethod
    def forward(context: Any, one_hot: Tensor, program: Program) -> Tensor:
        context.save_for_backward(one_hot)
        context.program = program
        return program.outputs(one_hot)

    @staticmethod
    def backward(context: Any, *rise: Tensor) -> tuple[Tensor, None]:
        (one_hot,) = context.saved_tensors
        return context.program.slope(one_hot, rise[0]), None


def main() -> None:
    """Read the program named by the first message, then answer one batch after the other."""
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    connection = Connection(int(sys.argv[1]))
    first = json.loads(connection.recv_bytes(MAX_HEADER_BYTES))
    torch.set_num_threads(first["threads"])
    path = Path(first["path"])
    try:
        module = _read(path, first)
    except DataError as error:
        _send(connection, {"error": str(error)})
        return
    _send(connection, {"kind": "ready"})
    while True:
        try:
            header = json.loads(connection.recv_bytes(MAX_HEADER_BYTES))
            given = [_received(connection, shape) for shape in header["shapes"]]
        except EOFError:
            return
        answer, values = _answer(path, module, header, given)
        _send(connection, answer)
        if values is not None:
            connection.send_bytes(values.data.cast("B"))


def _end_with_parent(parent: int) -> None:
    """A program may compute for ever; nobody waits for it once the process that began it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _read(path: Path, first: Mapping[str, Any]) -> nn.Module:
    """The program; the limits hold from here on, and once it is read nothing more is written."""
    _limit(first["memory"])
    try:
        module = read_program(path, first["architecture"])
    except MemoryError:
        raise DataError(f"{path} is refused: it needs more memory than a program may.") from None
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return module


def _limit(memory: int) -> None:
    """Bound what this process may take, for good. Address space itself is not bounded: CUDA reserves far more than it
    uses.
    """
    for kind, most in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, ceiling = resource.getrlimit(kind)
        most = most if ceiling == resource.RLIM_INFINITY else min(most, ceiling)
        resource.setrlimit(kind, (most, most))


def _received(connection: Connection, shape: list[int]) -> Tensor:
    return torch.frombuffer(bytearray(connection.recv_bytes()), dtype=torch.float32).reshape(shape)


def _answer(
    path: Path, module: nn.Module, header: Mapping[str, Any], given: Sequence[Tensor]
) -> tuple[dict[str, Any], np.ndarray | None]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = header["tf32"]
    device = torch.device(header["device"])
    try:
        module.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=header["bfloat16"]):
            output = _run(module, [tensor.to(device) for tensor in given])
    except DataError as error:
        return {"error": str(error)}, None
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"memory": _last(error)}, None
    except Exception as error:  # whatever a program does wrong is said of the program
        if "can't allocate memory" in str(error):
            return {"memory": _last(error)}, None
        return {"error": f"{path} fails on {len(given[0])} windows (B, 4, L): {_last(error)}."}, None
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return {"kind": str(output.dtype) if isinstance(output, Tensor) else type(output).__name__}, None
    return {"kind": "floating", "shape": list(output.shape)}, output.detach().float().cpu().contiguous().numpy()


def _run(module: nn.Module, given: Sequence[Tensor]) -> Any:
    """The outputs for a one-hot; where weights of the outputs are given too, the slope by the one-hot."""
    if len(given) == 1:
        with torch.inference_mode():
            return module(given[0])
    one_hot, rise = given
    with torch.enable_grad():
        one_hot.requires_grad_()
        return torch.autograd.grad(module(one_hot), one_hot, rise)[0]


def _last(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].rstrip(".") if str(error).strip() else type(error).__name__


def _send(connection: Connection, answer: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(answer).encode())


if __name__ == "__main__":
    main()
