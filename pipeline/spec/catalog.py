"""The built-in encoders: what each takes and gives, and which class it is. Data only.

``validate`` and ``plan`` need this without importing torch or librosa.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from pipeline.spec.problems import nearest
from pipeline.spec.units import Wrong

AUDIO_RATE = 16_000  # Hz, `options.rate` of the audio encoders where it is not given


@dataclass(frozen=True, slots=True)
class Builtin:
    """A built-in encoder; ``implementation`` is its ``module:Class``.

    Kinds are those of the encoder protocol: audio, image, video, text, vector, and data for
    ``gives``. ``models`` names encoders with weights of their own (extra ``motet[models]``);
    ``paths`` the options that may name a file or folder of the user's.
    """

    takes: tuple[str, ...]
    gives: str
    implementation: str
    models: bool = False
    paths: tuple[str, ...] = ()


_FRAMES = ("image", "video")

BUILTIN: dict[str, Builtin] = {
    "log_mel": Builtin(("audio",), "vector", "pipeline.encoders.audio:LogMel"),
    "mfcc": Builtin(("audio",), "vector", "pipeline.encoders.audio:Mfcc"),
    "chroma": Builtin(("audio",), "vector", "pipeline.encoders.spectral:Chroma"),
    "spectral": Builtin(("audio",), "vector", "pipeline.encoders.spectral:Spectral"),
    "librosa_feature": Builtin(("audio",), "vector", "pipeline.encoders.audio:LibrosaFeature"),
    "audio_clean": Builtin(("audio",), "audio", "pipeline.encoders.audio_clean:AudioClean"),
    "voice_activity": Builtin(
        ("audio",), "data", "pipeline.encoders.models.voice:VoiceActivity", models=True
    ),
    "audio_embedding": Builtin(
        ("audio",),
        "vector",
        "pipeline.encoders.models.speech_embedding:AudioEmbedding",
        models=True,
        paths=("model",),
    ),
    "speech_to_text": Builtin(
        ("audio",),
        "text",
        "pipeline.encoders.models.speech:SpeechToText",
        models=True,
        paths=("model",),
    ),
    "spectrogram_image": Builtin(
        ("audio",), "image", "pipeline.encoders.spectrogram_image:SpectrogramImage"
    ),
    "color_histogram": Builtin(_FRAMES, "vector", "pipeline.encoders.image:ColorHistogram"),
    "image_embedding": Builtin(
        _FRAMES,
        "vector",
        "pipeline.encoders.models.image:ImageEmbedding",
        models=True,
        paths=("weights", "model"),
    ),
    "image_labels": Builtin(
        _FRAMES,
        "data",
        "pipeline.encoders.models.image:ImageLabels",
        models=True,
        paths=("weights", "model", "labels"),
    ),
    "image_to_text": Builtin(
        _FRAMES,
        "text",
        "pipeline.encoders.models.ocr:ImageToText",
        models=True,
        paths=("detector", "recognizer"),
    ),
    "faces": Builtin(
        _FRAMES, "data", "pipeline.encoders.models.faces:Faces", models=True, paths=("cascade",)
    ),
    "hash_text": Builtin(("text",), "vector", "pipeline.encoders.text:HashText"),
    "text_tokens": Builtin(("text",), "vector", "pipeline.encoders.text:TextTokens"),
    "text_clean": Builtin(("text",), "text", "pipeline.encoders.text_clean:TextClean"),
    "text_embedding": Builtin(
        ("text",),
        "vector",
        "pipeline.encoders.models.text_embedding:TextEmbedding",
        models=True,
        paths=("weights", "model"),
    ),
    "text_image": Builtin(
        ("text",), "image", "pipeline.encoders.text_image:TextImage", paths=("font",)
    ),
    "text_to_text": Builtin(
        ("text",), "text", "pipeline.encoders.models.text_to_text:TextToText", paths=("model",)
    ),
    "text_to_speech": Builtin(
        ("text",), "audio", "pipeline.encoders.models.speech_synthesis:TextToSpeech", models=True
    ),
}
AVAILABLE = tuple(BUILTIN)

RULES_WITH_HEAD = ("gated", "attention", "late")  # that is, with a trained one alone
RULES = ("weighted_sum", "concat", *RULES_WITH_HEAD)

_DOTTED = "[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*"
CLASS_PATTERN = f"{_DOTTED}:{_DOTTED}"


def is_class_path(text: str) -> bool:
    """Whether a text is ``package.module:Class``; nothing is imported."""
    return re.fullmatch(CLASS_PATTERN, text) is not None


def check_encoder(encoder: str) -> None:
    """Raises Wrong unless it is a built-in of this version or ``package.module:Class``."""
    if is_class_path(encoder) or encoder in AVAILABLE:
        return
    listed = f"this version has {', '.join(AVAILABLE)}, or name a class as package.module:Class"
    if ":" in encoder or "." in encoder:
        raise Wrong("is not package.module:Class", "write it as my_encoders:Loudness")
    meant = nearest(encoder, BUILTIN)
    raise Wrong("is no encoder", f"did you mean '{meant}'?" if meant else listed)


def check_rule(rule: str) -> None:
    """Raises Wrong unless it is a fusion rule or ``package.module:Class``."""
    if is_class_path(rule) or rule in RULES:
        return
    listed = f"take one of {', '.join(RULES)}, or name a class as package.module:Class"
    meant = nearest(rule, RULES)
    raise Wrong("is no fusion rule", f"did you mean '{meant}'?" if meant else listed)


def implementation(encoder: str) -> str:
    """``module:Class`` of an encoder that ``check_encoder`` took."""
    builtin = BUILTIN.get(encoder)
    return encoder if builtin is None else builtin.implementation
