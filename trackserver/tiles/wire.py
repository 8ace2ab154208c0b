"""Arrays to payloads: the only encoder. Nothing that leaves here holds NaN or Infinity as JSON numbers."""

from __future__ import annotations

import base64
import json
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dense(values: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """A vector tile: little-endian float32 in base64, NaN kept inside as gaps.

    float32 always: HiGlass's float16 has three digits and flushes small values, which differences cannot bear.
    """
    raw = np.ascontiguousarray(values, dtype="<f4")
    low, high = _extremes(raw)
    return {
        "dense": base64.b64encode(raw.tobytes()).decode("ascii"),
        "dtype": "float32",
        "shape": list(raw.shape),
        "size": 1,
        "min_value": low,
        "max_value": high,
    }


def _extremes(raw: NDArray[np.float32]) -> tuple[float | None, float | None]:
    """Of the finite values; None where there is none."""
    low, high = (float(ufunc.reduce(raw, axis=None, initial=np.nan)) for ufunc in (np.fmin, np.fmax))
    if isfinite(low) and isfinite(high):
        return low, high
    finite = raw[np.isfinite(raw)]
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)


def encode(payload: Any) -> bytes:
    """A payload's JSON; a NaN in it is a ValueError here rather than a page that hangs."""
    if isinstance(payload, dict) and isinstance(payload.get("dense"), str):
        # Base64 needs no escaping, so the long part is put in as it is; most of what else there is are two numbers.
        rest = ",".join([f'"{name}":{_text(value)}' for name, value in payload.items() if name != "dense"])
        return f'{{"dense":"{payload["dense"]}",{rest}}}'.encode()
    return _ENCODER.encode(payload).encode()


def _text(value: Any) -> str:
    return repr(value) if type(value) is float and isfinite(value) else _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def decode_dense(payload: dict[str, Any]) -> NDArray[np.float32]:
    """The array back from a payload; what the client does, for tests and scripts."""
    dtype = "<f2" if payload["dtype"] == "float16" else "<f4"
    return np.frombuffer(base64.b64decode(payload["dense"]), dtype=dtype).astype(np.float32)
