"""Arrays to payloads: the only encoder. Nothing that leaves here holds NaN or Infinity as JSON numbers."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dense(values: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """A vector tile: little-endian float32 in base64, NaN kept inside as gaps.

    float32 always: HiGlass's float16 has three digits and flushes small values, which differences cannot bear.
    """
    raw = np.ascontiguousarray(values, dtype="<f4")
    finite = raw[np.isfinite(raw)]
    return {
        "dense": base64.b64encode(raw.tobytes()).decode("ascii"),
        "dtype": "float32",
        "shape": list(raw.shape),
        "size": 1,
        "min_value": float(finite.min()) if finite.size else None,
        "max_value": float(finite.max()) if finite.size else None,
    }


def decode_dense(payload: dict[str, Any]) -> NDArray[np.float32]:
    """The array back from a payload; what the client does, for tests and scripts."""
    dtype = "<f2" if payload["dtype"] == "float16" else "<f4"
    return np.frombuffer(base64.b64decode(payload["dense"]), dtype=dtype).astype(np.float32)
