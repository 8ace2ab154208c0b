"""Encode arrays as tile payloads and JSON, without NaN or Infinity as JSON numbers."""

from __future__ import annotations

import base64
import json
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray


def dense(values: NDArray[np.floating[Any]]) -> dict[str, Any]:
    """Encode a vector tile: little-endian float32 in base64, with NaN for gaps.

    It is always float32, because HiGlass' float16 has three digits and rounds small values to 0, which would spoil
    differences.
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
    """Return the minimum and maximum of the finite values; None if there are none."""
    low, high = (float(ufunc.reduce(raw, axis=None, initial=np.nan)) for ufunc in (np.fmin, np.fmax))
    if isfinite(low) and isfinite(high):
        return low, high
    finite = raw[np.isfinite(raw)]
    return (float(finite.min()), float(finite.max())) if finite.size else (None, None)


def encode(payload: Any) -> bytes:
    """Encode a payload as JSON; raises ValueError for NaN, which would make the page hang."""
    if isinstance(payload, dict) and isinstance(payload.get("dense"), str):
        # Base64 needs no escaping, so the long part is inserted directly; the rest is mostly two numbers.
        rest = ",".join([f'"{name}":{_text(value)}' for name, value in payload.items() if name != "dense"])
        return f'{{"dense":"{payload["dense"]}",{rest}}}'.encode()
    return _ENCODER.encode(payload).encode()


def _text(value: Any) -> str:
    return repr(value) if type(value) is float and isfinite(value) else _ENCODER.encode(value)


_ENCODER = json.JSONEncoder(allow_nan=False, ensure_ascii=False, separators=(",", ":"))


def decode_dense(payload: dict[str, Any]) -> NDArray[np.float32]:
    """Decode the array of a payload, as the client does; for tests and scripts."""
    dtype = "<f2" if payload["dtype"] == "float16" else "<f4"
    return np.frombuffer(base64.b64decode(payload["dense"]), dtype=dtype).astype(np.float32)
