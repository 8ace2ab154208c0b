"""Keep a device busy: read the next batches and copy out the last ones while the current one is computed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from queue import Full, Queue
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from trackserver.errors import Unavailable, needing_torch
from trackserver.predict.engine import Predictor

with needing_torch():
    import torch
    from torch import Tensor

if TYPE_CHECKING:
    from trackserver.genome.sequence import Codes

Item = TypeVar("Item")
Key = TypeVar("Key")
_POLL_S = 0.1  # how often a blocked thread checks whether to stop
_log = logging.getLogger(__name__)


def merge_streams(sources: Sequence[Iterable[Item]], max_items: int) -> Generator[Item]:
    """Yield the items of several sources, each read in its own thread, at most `max_items` in advance.

    The items of one source stay in order. An exception in a thread is raised here. All threads end when the iterator is
    closed.
    """
    results: Queue[_Result[Item]] = Queue(max_items)
    stop = threading.Event()
    threads = [
        threading.Thread(target=_read_source, args=(source, results, stop), name="trackserver-stream", daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            result = results.get()
            if result.error:
                raise result.error
            running -= result.is_last
            yield from result.items
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def prefetch(items: Iterable[Item], max_items: int) -> Generator[Item]:
    """Yield the items in order, read in a thread, at most `max_items` in advance."""
    return merge_streams([items], max_items)


class _Result(NamedTuple, Generic[Item]):
    """One item of a source, or its end, or the error that ended it."""

    items: tuple[Item, ...] = ()
    is_last: bool = False
    error: BaseException | None = None


def _read_source(source: Iterable[Item], results: Queue[_Result[Item]], stop: threading.Event) -> None:
    try:
        for item in source:
            if not _put(_Result((item,)), results, stop):
                return
        _put(_Result(is_last=True), results, stop)
    except BaseException as error:  # raised again where the items are used
        _put(_Result(error=error), results, stop)
    finally:
        if isinstance(source, Generator):
            source.close()  # a generator has to be closed in the thread that runs it


def _put(result: _Result[Item], results: Queue[_Result[Item]], stop: threading.Event) -> bool:
    """Put a result into the queue; False if the reader has stopped."""
    while not stop.is_set():
        try:
            results.put(result, timeout=_POLL_S)
        except Full:
            continue
        return True
    return False


class _HostCopy(NamedTuple):
    """Values being copied from the device, and the event that marks their arrival."""

    values: Tensor
    arrived: torch.cuda.Event | None

    def array(self) -> NDArray[np.float32]:
        if self.arrived:
            self.arrived.synchronize()
        return np.asarray(self.values.numpy(), np.float32)


def stream(predictor: Predictor, batches: Iterable[tuple[Key, Codes]]) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """Predict batches (B, L), B at most the batch size: yield each batch's key with its values (B, T, bins).

    On a GPU the next batch starts before the values of the current one have arrived. If memory runs out, the
    predictor's batch size is halved with a warning, and the batch is computed in parts.

    Raises
    ------
    Unavailable
        The memory is too small for a single window.
    """
    copy_stream = torch.cuda.Stream(predictor.device) if predictor.device.type == "cuda" else None
    current: tuple[Key, list[_HostCopy]] | None = None
    for key, codes in batches:
        previous, current = current, (key, _start_batch(predictor, codes, copy_stream))
        if previous:
            yield _finish_batch(*previous)
    if current:
        yield _finish_batch(*current)


def _finish_batch(key: Key, parts: list[_HostCopy]) -> tuple[Key, NDArray[np.float32]]:
    return key, parts[0].array() if len(parts) == 1 else np.concatenate([part.array() for part in parts])


def _start_batch(predictor: Predictor, codes: Codes, copy_stream: torch.cuda.Stream | None) -> list[_HostCopy]:
    while True:
        size = predictor.batch_size
        try:
            return [
                _to_host(predictor.predict_batch(codes[start : start + size]), copy_stream)
                for start in range(0, len(codes), size)
            ]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            _halve_batch_size(predictor)


def _to_host(values: Tensor, copy_stream: torch.cuda.Stream | None) -> _HostCopy:
    if copy_stream is None:
        return _HostCopy(values, None)
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copy_stream.wait_stream(torch.cuda.current_stream(values.device))
    with torch.cuda.stream(copy_stream):
        host.copy_(values, non_blocking=True)
        values.record_stream(copy_stream)
        return _HostCopy(host, copy_stream.record_event())


def _is_out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halve_batch_size(predictor: Predictor) -> None:
    if predictor.batch_size == 1:
        raise Unavailable(
            f"{predictor.device} has too little memory for one window of {predictor.card.id}; choose fewer "
            "tracks, another device, --separate-windows or --precision bfloat16."
        )
    predictor.batch_size //= 2
    _log.warning("%s is out of memory: continuing with batches of %d.", predictor.device, predictor.batch_size)
    if predictor.device.type == "cuda":
        torch.cuda.empty_cache()
