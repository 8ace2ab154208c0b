"""Memory layouts of a network's weights."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Layouts:
    """A network's weights in other memory layouts, each computed once."""

    def __init__(self, module: nn.Module):
        self._weights = {id(tensor) for tensors in (module.parameters(), module.buffers()) for tensor in tensors}
        self._layouts: dict[tuple[int, object], Tensor] = {}

    def get(self, weight: Tensor, kind: object, make: Callable[[], Tensor]) -> Tensor:
        if id(weight) not in self._weights:  # a temporary tensor, whose id another may reuse
            return make()
        key = (id(weight), kind)
        if key not in self._layouts:
            self._layouts[key] = make()
        return self._layouts[key]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._layouts.values())
