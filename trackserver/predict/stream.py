"""Batches through a model as fast as its device takes them: while one is computed, others are read, copied and kept."""

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
_WAIT = 0.1  # seconds after which a thread looks whether it is still wanted
_log = logging.getLogger(__name__)


def merged(sources: Sequence[Iterable[Item]], most: int) -> Generator[Item]:
    """Items of several sources, each made in a thread of its own, up to `most` before they are asked for.

    One source's come in order. What goes wrong in a thread is raised here; all end when the iterator is closed.
    """
    made: Queue[_Made[Item]] = Queue(most)
    unwanted = threading.Event()
    threads = [
        threading.Thread(target=_make, args=(source, made, unwanted), name="trackserver-stream", daemon=True)
        for source in sources
    ]
    for thread in threads:
        thread.start()
    try:
        working = len(threads)
        while working:
            one = made.get()
            if one.error:
                raise one.error
            working -= one.ended
            yield from one.items
    finally:
        unwanted.set()
        for thread in threads:
            thread.join()


def ahead(items: Iterable[Item], most: int) -> Generator[Item]:
    """The items in order, made in a thread of their own, up to `most` before they are asked for."""
    return merged([items], most)


class _Made(NamedTuple, Generic[Item]):
    """One item, or the end of a source, and what ended it."""

    items: tuple[Item, ...] = ()
    ended: bool = False
    error: BaseException | None = None


def _make(source: Iterable[Item], made: Queue[_Made[Item]], unwanted: threading.Event) -> None:
    try:
        for item in source:
            if not _put(_Made((item,)), made, unwanted):
                return
        _put(_Made(ended=True), made, unwanted)
    except BaseException as error:  # whatever it is, it is raised where the items are used
        _put(_Made(error=error), made, unwanted)
    finally:
        if isinstance(source, Generator):
            source.close()  # here, in its own thread


def _put(one: _Made[Item], made: Queue[_Made[Item]], unwanted: threading.Event) -> bool:
    """Hand over, unless it is wanted no more."""
    while not unwanted.is_set():
        try:
            made.put(one, timeout=_WAIT)
        except Full:
            continue
        return True
    return False


class _Host(NamedTuple):
    """Values on their way from the device, and how to know that they are there."""

    values: Tensor
    arrived: torch.cuda.Event | None

    def array(self) -> NDArray[np.float32]:
        if self.arrived:
            self.arrived.synchronize()
        return np.asarray(self.values.numpy(), np.float32)


def stream(predictor: Predictor, batches: Iterable[tuple[Key, Codes]]) -> Iterator[tuple[Key, NDArray[np.float32]]]:
    """What the predictor says of each batch (B, L), B at most its batch size: (B, T, bins) with the key it came with.

    On a GPU the next batch is begun before the values of one are waited for. Where memory does not suffice, the
    predictor's batch size is halved, which is said, and the batch computed in parts.

    Raises
    ------
    Unavailable
        There is not memory enough for a single window.
    """
    copying = torch.cuda.Stream(predictor.device) if predictor.device.type == "cuda" else None
    begun: tuple[Key, list[_Host]] | None = None
    for key, codes in batches:
        before, begun = begun, (key, _begin(predictor, codes, copying))
        if before:
            yield _ended(*before)
    if begun:
        yield _ended(*begun)


def _ended(key: Key, parts: list[_Host]) -> tuple[Key, NDArray[np.float32]]:
    return key, parts[0].array() if len(parts) == 1 else np.concatenate([part.array() for part in parts])


def _begin(predictor: Predictor, codes: Codes, copying: torch.cuda.Stream | None) -> list[_Host]:
    while True:
        size = predictor.batch_size
        try:
            return [
                _to_host(predictor.computed(codes[start : start + size]), copying)
                for start in range(0, len(codes), size)
            ]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if not _is_about_memory(error):
                raise
            _halve(predictor)


def _to_host(values: Tensor, copying: torch.cuda.Stream | None) -> _Host:
    if copying is None:
        return _Host(values, None)
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    copying.wait_stream(torch.cuda.current_stream(values.device))
    with torch.cuda.stream(copying):
        host.copy_(values, non_blocking=True)
        values.record_stream(copying)
        return _Host(host, copying.record_event())


def _is_about_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def _halve(predictor: Predictor) -> None:
    if predictor.batch_size == 1:
        raise Unavailable(
            f"{predictor.device} has not memory enough for what {predictor.card.id} reads at a time; choose fewer "
            "tracks, another device, --one-by-one or --precision bfloat16."
        )
    predictor.batch_size //= 2
    _log.warning("%s has no memory for more: going on with batches of %d.", predictor.device, predictor.batch_size)
    if predictor.device.type == "cuda":
        torch.cuda.empty_cache()
