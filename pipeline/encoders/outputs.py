"""What an encoder may give back: checked, and brought to one form, before anyone relies on it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.encoders.base import Audio, Output, Said, Vector
from pipeline.spec.media_type import RATE_MAX, RATE_MIN

_SHORT = 256
_FLOAT32 = np.dtype(np.float32)


def checked(gives: str, output: Any, length: int | None = None) -> Output:
    """The output in its one form; TypeError or ValueError, in words, where it is not of ``gives``.

    ``length``: what a vector's length must be, None where it is not known. Arrays may be torch
    tensors on any device; numbers of a vector may be of any real type. NaN and infinity are
    errors, as the contract says.
    """
    if gives == "vector":
        return _vector(output, length)
    return _CHECKS[gives](output)


def all_sound(outputs: Sequence[Any], length: int | None) -> bool:
    """Whether ``checked`` would give back all of these vectors as they are; False: ask it.

    Most encoders give rows of one array, and a look at all of them at once costs less than four
    calls for each.
    """
    if {*map(type, outputs)} != {np.ndarray} or {each.dtype for each in outputs} != {_FLOAT32}:
        return False
    shapes = {each.shape for each in outputs}
    if len(shapes) != 1 or outputs[0].ndim != 1 or length not in (None, len(outputs[0])):
        return False
    if not all(each.flags.c_contiguous for each in outputs):
        return False
    return bool(np.isfinite(np.concatenate(outputs)).all())


def _array(output: Any) -> NDArray[Any]:
    if hasattr(output, "detach"):  # a torch tensor, without importing torch for it
        output = output.detach().cpu().numpy()
    if not isinstance(output, np.ndarray):
        raise TypeError(f"gives {type(output).__name__} where an array is wanted")
    return output


def _vector(output: Any, length: int | None) -> Vector:
    array = _array(output)
    if array.ndim != 1 or array.dtype.kind not in "fiu":
        raise TypeError(f"gives {array.dtype} of shape {array.shape}, not a 1-D float32 vector")
    if length is not None and len(array) != length:
        raise ValueError(f"gives a vector of {len(array)} numbers where its length is {length}")
    if array.dtype == np.float32:
        vector: Vector = np.ascontiguousarray(array)
    else:
        with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite, and told below
            vector = np.ascontiguousarray(array, np.float32)
    if not _all_finite(vector):
        raise ValueError(f"gives {'NaN' if np.isnan(vector).any() else 'infinity'} in its vector")
    return vector


def _all_finite(vector: Vector) -> bool:
    """Of a short vector by its sum, which float64 holds: numpy's calls cost more than its work."""
    if len(vector) <= _SHORT:
        return isfinite(sum(vector.tolist()))
    return bool(np.isfinite(vector).all())


def _text(output: Any) -> str:
    if not isinstance(output, str):
        raise TypeError(f"gives {type(output).__name__}, not str")
    output.encode("utf-8")  # a lone surrogate has no place in a record: UnicodeEncodeError
    return Said(output, _data(output.data)) if isinstance(output, Said) else str(output)


def _audio(output: Any) -> Audio:
    if isinstance(output, tuple) and len(output) == 2:
        samples, rate = output
    elif hasattr(output, "samples") and hasattr(output, "rate"):
        samples, rate = output.samples, output.rate
    else:
        raise TypeError(f"gives {type(output).__name__}, not audio with samples and rate")
    array = _array(samples)
    if array.ndim != 1 or array.dtype.kind != "f":
        raise TypeError(f"gives samples {array.dtype} of shape {array.shape}, not 1-D float32")
    if isinstance(rate, bool) or not isinstance(rate, int | np.integer):
        raise TypeError(f"gives a rate that is {type(rate).__name__}, not a whole number of Hz")
    if not RATE_MIN <= rate <= RATE_MAX:
        raise ValueError(f"gives a rate of {rate} Hz, outside {RATE_MIN} to {RATE_MAX}")
    if not np.isfinite(array).all():
        raise ValueError("gives NaN or infinity in its samples")
    return Audio(np.ascontiguousarray(array, np.float32), int(rate))


def _image(output: Any) -> NDArray[np.uint8]:
    array = _array(output)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or array.size == 0:
        raise TypeError(
            f"gives {array.dtype} of shape {array.shape}, not a uint8 image (height, width, 3)"
        )
    return np.ascontiguousarray(array)


def _data(output: Any) -> dict[str, Any]:
    if not isinstance(output, dict):
        raise TypeError(f"gives {type(output).__name__}, not a dict")
    # what is kept is what JSON holds, so that no later step meets a tuple or a key that is no text
    text = json.dumps(output, allow_nan=False, ensure_ascii=False)
    text.encode("utf-8")
    plain: dict[str, Any] = json.loads(text)
    return plain


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "text": _text,
    "audio": _audio,
    "image": _image,
    "video": _image,
    "data": _data,
}
