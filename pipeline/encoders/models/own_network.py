"""A network of the user's own, from a file that holds its computation, not only its weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.encoders.models.weights import model_library
from pipeline.encoders.options import wrong_option
from pipeline.encoders.quiet import QUIET
from pipeline.errors import InvalidInput
from pipeline.spec.user_class import one_line

SUFFIXES = (".onnx", ".pt2", ".ts")
Network = Callable[[torch.Tensor], torch.Tensor]


def own_network(path: Path, device: torch.device) -> Network:
    """By the ending: ``.onnx``, ``.pt2`` (torch.export), ``.ts`` (TorchScript).

    It takes float32 (n, 3, size, size). ONNX Runtime computes on the CPU where its package has no
    CUDA. Raises InvalidInput where the file cannot be loaded.
    """
    load = {".onnx": _onnx, ".pt2": _exported, ".ts": _script}[path.suffix.lower()]
    try:
        return load(path, device)
    except InvalidInput:
        raise  # a library that is not installed
    except Exception as error:  # each library has errors of its own
        why = f"it cannot be loaded ({one_line(error)})"
        remedy = f"give a network that this machine's {_library(path)} can load"
        raise wrong_option("model", str(path), why, remedy) from error


def _library(path: Path) -> str:
    return "ONNX Runtime" if path.suffix.lower() == ".onnx" else f"torch {torch.__version__}"


def _script(path: Path, device: torch.device) -> Network:
    with QUIET:  # torch advises torch.export from 2.13 on; both are taken here
        return torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call, no-any-return]


def _exported(path: Path, device: torch.device) -> Network:
    return torch.export.load(str(path)).module().to(device)


def _onnx(path: Path, device: torch.device) -> Network:
    runtime = model_library("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = torch.get_num_threads()
    known = runtime.get_available_providers()
    wanted: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in known:
        wanted.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    session: Any = runtime.InferenceSession(str(path), options, providers=wanted)
    source = session.get_inputs()[0].name
    target = session.get_outputs()[0].name

    def run(pictures: torch.Tensor) -> torch.Tensor:
        [found] = session.run([target], {source: pictures.contiguous().cpu().numpy()})
        return torch.from_numpy(found)

    return run
