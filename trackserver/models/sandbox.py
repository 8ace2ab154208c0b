"""Read, check and run a user's program in a separate process with limits.

The two processes exchange only bytes: a JSON header, then numbers. Nothing from the program's process is unpickled. Its
memory, time per batch and open files are limited, it cannot write, and what it prints is discarded. It ends with the
process that started it.
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
from trackserver.models.program import last_line, read_program

MAX_MEMORY_BYTES = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
MAX_LOAD_S = 300.0
MAX_BATCH_S = 600.0
MAX_FILES = 256  # open at a time; CUDA alone opens dozens
MAX_HEADER_BYTES = 1 << 16


class Program(nn.Module):
    """A program as a module (B, 4, L) -> (B, T, bins) that runs in a separate process.

    Parameters
    ----------
    path, card
        The file and its card.
    tracks
        The tracks to return, in this order; the program computes them all.

    Raises
    ------
    DataError
        The file cannot be read, uses an operator that is not allowed, or exceeds the limits.
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
        self._lock = threading.Lock()
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
        self._request(
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
        """Id of the program's process."""
        return self._process.pid

    def __del__(self) -> None:
        if hasattr(self, "_process"):
            self._process.kill()
            self._process.wait()

    def forward(self, one_hot: Tensor) -> Tensor:
        values: Tensor = _SandboxFunction.apply(one_hot, self)
        return values if self.tracks is None else values[:, self.tracks]

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: torch can only compile what runs in this process."""

    def outputs(self, one_hot: Tensor) -> Tensor:
        """Run the program on a one-hot: float32 (B, T, bins)."""
        return self._compute(one_hot)

    def slope(self, one_hot: Tensor, weights: Tensor) -> Tensor:
        """Differentiate the sum of the outputs, weighted by `weights`, by the one-hot: float32 (B, 4, L)."""
        return self._compute(one_hot, weights)

    def _compute(self, *inputs: Tensor) -> Tensor:
        device = inputs[0].device
        header = {
            "shapes": [list(tensor.shape) for tensor in inputs],
            "device": str(device),
            "bfloat16": torch.is_autocast_enabled(device.type),
            "tf32": torch.backends.cuda.matmul.allow_tf32,
        }
        blocks = [tensor.detach().float().cpu().contiguous().numpy() for tensor in inputs]
        reply, values = self._request(self.max_batch_s, header, *blocks)
        if reply["kind"] != "floating":
            raise DataError(f"{self.path} returns {reply['kind']}, not a tensor of floating-point numbers.")
        return torch.from_numpy(values).to(device)

    def _request(
        self, timeout_s: float, header: dict[str, Any], *blocks: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray]:
        with self._lock:
            try:
                self._connection.send_bytes(json.dumps(header).encode())
                for block in blocks:
                    self._connection.send_bytes(block.data.cast("B"))
                if not self._connection.poll(timeout_s):
                    raise DataError(f"{self.path} was stopped: it ran for more than {timeout_s:g} seconds.")
                reply = dict(json.loads(self._connection.recv_bytes(MAX_HEADER_BYTES)))
                values = self._receive_values(reply) if reply.get("kind") == "floating" else np.empty(0, np.float32)
            except DataError:
                self._process.kill()
                raise
            except (OSError, EOFError, ValueError):
                raise DataError(
                    f"{self.path} was stopped: its process ended ({self._kill()}); it may have used too much memory."
                ) from None
        if "memory" in reply:
            raise torch.OutOfMemoryError(reply["memory"])
        if "error" in reply:
            raise DataError(reply["error"])
        return reply, values

    def _receive_values(self, reply: dict[str, Any]) -> np.ndarray:
        size = 4 * math.prod(reply["shape"])
        if size > MAX_MEMORY_BYTES:
            raise DataError(f"{self.path} returns values of shape {tuple(reply['shape'])}, more than fit into memory.")
        return np.frombuffer(bytearray(self._connection.recv_bytes(size)), np.float32).reshape(reply["shape"])

    def _kill(self) -> str:
        self._process.kill()
        return f"status {self._process.wait()}"


class _SandboxFunction(torch.autograd.Function):
    """Makes a program differentiable: forward for its outputs, backward for their slope."""

    @staticmethod
    def forward(context: Any, one_hot: Tensor, program: Program) -> Tensor:
        context.save_for_backward(one_hot)
        context.program = program
        return program.outputs(one_hot)

    @staticmethod
    def backward(context: Any, *weights: Tensor) -> tuple[Tensor, None]:
        (one_hot,) = context.saved_tensors
        return context.program.slope(one_hot, weights[0]), None


def main() -> None:
    """Read the program that the first message names, then reply to one batch after another."""
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
            inputs = [_receive_tensor(connection, shape) for shape in header["shapes"]]
        except EOFError:
            return
        reply, values = _reply(path, module, header, inputs)
        _send(connection, reply)
        if values is not None:
            connection.send_bytes(values.data.cast("B"))


def _end_with_parent(parent: int) -> None:
    """End this process, even in the middle of an endless computation, once the process that started it is gone."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _read(path: Path, first: Mapping[str, Any]) -> nn.Module:
    """Set the limits, read the program, and then forbid writing files."""
    _limit(first["memory"])
    try:
        module = read_program(path, first["architecture"])
    except MemoryError:
        raise DataError(f"{path} is refused: it needs more memory than a program may use.") from None
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    return module


def _limit(memory: int) -> None:
    """Limit this process' resources permanently.

    Address space is not limited, because CUDA reserves far more than it uses.
    """
    for kind, limit in (
        (resource.RLIMIT_DATA, memory),
        (resource.RLIMIT_NOFILE, MAX_FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, ceiling = resource.getrlimit(kind)
        limit = limit if ceiling == resource.RLIM_INFINITY else min(limit, ceiling)
        resource.setrlimit(kind, (limit, limit))


def _receive_tensor(connection: Connection, shape: list[int]) -> Tensor:
    return torch.frombuffer(bytearray(connection.recv_bytes()), dtype=torch.float32).reshape(shape)


def _reply(
    path: Path, module: nn.Module, header: Mapping[str, Any], inputs: Sequence[Tensor]
) -> tuple[dict[str, Any], np.ndarray | None]:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = header["tf32"]
    device = torch.device(header["device"])
    try:
        module.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=header["bfloat16"]):
            output = _run(module, [tensor.to(device) for tensor in inputs])
    except DataError as error:
        return {"error": str(error)}, None
    except (MemoryError, torch.OutOfMemoryError) as error:
        return {"memory": last_line(error)}, None
    except Exception as error:  # any error here is the program's
        if "can't allocate memory" in str(error):
            return {"memory": last_line(error)}, None
        return {"error": f"{path} fails on {len(inputs[0])} windows (B, 4, L): {last_line(error)}."}, None
    if not isinstance(output, Tensor) or not output.is_floating_point():
        return {"kind": str(output.dtype) if isinstance(output, Tensor) else type(output).__name__}, None
    return {"kind": "floating", "shape": list(output.shape)}, output.detach().float().cpu().contiguous().numpy()


def _run(module: nn.Module, inputs: Sequence[Tensor]) -> Any:
    """Compute the outputs for a one-hot or, given weights of the outputs as well, their slope by the one-hot."""
    if len(inputs) == 1:
        with torch.inference_mode():
            return module(inputs[0])
    one_hot, weights = inputs
    with torch.enable_grad():
        one_hot.requires_grad_()
        return torch.autograd.grad(module(one_hot), one_hot, weights)[0]


def _send(connection: Connection, reply: Mapping[str, Any]) -> None:
    connection.send_bytes(json.dumps(reply).encode())


if __name__ == "__main__":
    main()
