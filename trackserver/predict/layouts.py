"""How tensors lie in memory."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Layouts:
    """A network's weights in other orders, each made once."""

    def __init__(self, module: nn.Module):
        self._own = {id(tensor) for tensors in (module.parameters(), module.buffers()) for tensor in tensors}
        self._made: dict[tuple[int, object], Tensor] = {}

    def get(self, weight: Tensor, kind: object, make: Callable[[], Tensor]) -> Tensor:
        if id(weight) not in self._own:  # computed anew each time
            return make()
        key = (id(weight), kind)
        if key not in self._made:
            self._made[key] = make()
        return self._made[key]

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self._made.values())
