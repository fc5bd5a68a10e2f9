"""What an encoder computes with: the networks that it holds, and how large they are."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch

_OBJECTS_MAX = 20_000  # that are looked into: more than any encoder has, and an end to any walk
_VALUES = (str, bytes, int, float, complex, type(None), type, ModuleType, np.ndarray, torch.Tensor)
# The class of what runs a network, by its library; torch's modules are told by themselves.
_OTHERS = {
    ("onnxruntime", "InferenceSession"): "onnxruntime",
    ("ctranslate2", "Whisper"): "CTranslate2",
    ("ctranslate2", "Translator"): "CTranslate2",
    ("ctranslate2", "Generator"): "CTranslate2",
    ("ctranslate2", "Encoder"): "CTranslate2",
    ("cv2", "CascadeClassifier"): "OpenCV",
    ("pipeline", "Espeak"): "eSpeak NG",
}


@dataclass(frozen=True, slots=True)
class Engine:
    """One network, by the library that runs it; None where that library does not tell.

    size_bytes: of torch parameters and buffers as they lie in memory; of an ONNX model its file.
    """

    library: str
    parameters: int | None
    size_bytes: int | None


def engines(holder: object) -> list[Engine]:
    """The networks that ``holder`` holds, however deep: by its attributes, containers, closures.

    Each once; the parts of a torch module belong to it. A library in C that is not known here
    hides what it holds.
    """
    found: list[Engine] = []
    kept = [holder]  # all that was seen stays alive, so no id is given twice
    seen = {id(holder)}
    for each in kept:
        engine = _engine(each)
        if engine is not None:
            found.append(engine)
            continue
        for part in _parts(each):
            if not isinstance(part, _VALUES) and id(part) not in seen and len(kept) < _OBJECTS_MAX:
                seen.add(id(part))
                kept.append(part)
    return found


def _engine(thing: object) -> Engine | None:
    if isinstance(thing, torch.nn.Module):
        return _module(thing)
    for cls in type(thing).__mro__:
        library = _OTHERS.get((cls.__module__.partition(".")[0], cls.__name__))
        if library is not None:
            return Engine(library, None, _file_bytes(thing))
    return None


def _module(module: torch.nn.Module) -> Engine:
    """Shared parameters count once; buffers (running means) take bytes and are no parameters."""
    parameters, buffers = list(module.parameters()), list(module.buffers())
    size_bytes = sum(each.numel() * each.element_size() for each in parameters + buffers)
    return Engine("torch", sum(each.numel() for each in parameters), size_bytes)


def _file_bytes(thing: object) -> int | None:
    path = getattr(thing, "_model_path", None)  # of an onnxruntime session
    return os.path.getsize(path) if isinstance(path, str) and os.path.isfile(path) else None


def _parts(thing: Any) -> Iterable[object]:
    if isinstance(thing, dict):
        return list(thing.values())
    if isinstance(thing, list | tuple | set | frozenset):
        return list(thing)
    if isinstance(thing, FunctionType):
        return list(inspect.getclosurevars(thing).nonlocals.values())
    if isinstance(thing, MethodType):
        return [thing.__self__, thing.__func__]
    if isinstance(thing, partial):
        return [thing.func, *thing.args, *thing.keywords.values()]
    named = [getattr(cls, "__slots__", ()) for cls in type(thing).__mro__]
    slots = [slot for names in named for slot in ((names,) if isinstance(names, str) else names)]
    inner = [getattr(thing, slot, None) for slot in slots if not slot.startswith("__")]
    return [*inner, *getattr(thing, "__dict__", {}).values()]
