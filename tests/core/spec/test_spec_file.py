"""The contract's example, its defaults, and what a spec is as a value."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import ValidationError

from pipeline.spec import BUILTIN, implementation, json_schema, load


def test_the_example_of_the_contract_loads_as_it_stands(example: Path) -> None:
    spec = load(example, environ={})
    assert (spec.version, spec.name, spec.folder) == (1, "lobby", example.parent)
    assert spec.kafka.bootstrap == "127.0.0.1:9092"
    assert list(spec.inputs) == ["mic", "camera", "chat"]
    assert list(spec.stages) == ["sound", "colour", "words"]
    assert [p.name for p in spec.inputs.values()] == list(spec.inputs)
    assert [p.name for p in spec.stages.values()] == list(spec.stages)
    mic, chat = spec.inputs["mic"], spec.inputs["chat"]
    assert (mic.media.format, mic.media.rate, mic.media.channels) == ("S16BE", 16000, 1)
    assert (mic.gating, chat.gating, chat.media.kind) == (True, False, "text")
    colour = spec.stages["colour"]
    assert (colour.encoder, colour.of) == ("color_histogram", ("camera",))
    assert (colour.replicas_min, colour.replicas_max, colour.num_gpus) == (1, 4, "auto")
    assert (colour.batch_max, colour.timeout_us) == (32, 10_000_000)
    assert list(spec.fusion.of.items()) == [("sound", 0.3), ("colour", 0.4), ("words", 0.3)]
    assert (spec.fusion.rule, spec.fusion.normalize, spec.fusion.dim) == ("weighted_sum", "l2", 128)
    assert spec.topics_in() == ("lobby.audio", "lobby.video", "lobby.text")
    assert spec.topics_out() == ("lobby.results", "lobby.late", "lobby.dead-letter")
    assert spec.limits.dead_letter_rate == 0.05
    assert spec.limits.in_flight_bytes == 256 << 20


def test_the_environment_of_the_process_is_the_default(example: Path, monkeypatch) -> None:
    monkeypatch.setenv("KAFKA", "kafka-1:9092,kafka-2:9092")
    assert load(example).kafka.bootstrap == "kafka-1:9092,kafka-2:9092"


def test_the_defaults_are_the_contracts(lobby, drop) -> None:
    tree = dict.fromkeys(
        (
            "version", "kafka", "start", "commit_interval", "slots", "limits", "metrics", "ray",
            "inputs.mic.out_of_orderness", "windows.hop", "windows.idle", "windows.future_max",
            "stages.colour.replicas", "stages.colour.num_gpus", "stages.colour.batch_max",
            "stages.colour.timeout", "fusion.normalize", "fusion.dim",
        ),
        drop,
    )  # fmt: skip
    spec = lobby(tree)
    mic, colour = spec.inputs["mic"], spec.stages["colour"]
    assert (mic.out_of_orderness_us, mic.gating, mic.stream) == (200_000, True, "key")
    assert (mic.payload, mic.time, mic.time_offset_us) == (None, None, 0)
    windows = spec.windows
    assert (windows.size_us, windows.hop_us, windows.idle_us) == (1_000_000, 1_000_000, 5_000_000)
    assert (windows.future_max_us, windows.align_wait_us) == (60_000_000, 30_000_000)
    assert (spec.start, spec.commit_interval_us, spec.slots) == ("earliest", 250_000, 4)
    assert (colour.replicas_min, colour.replicas_max, colour.num_gpus) == (1, 1, "auto")
    assert (colour.batch_max, colour.timeout_us, colour.out) == (64, 30_000_000, None)
    assert (colour.before_us, colour.after_us, colour.options) == (0, 0, {})
    limits = spec.limits
    assert (limits.in_flight_bytes, limits.open_bytes) == (256 << 20, 1 << 30)
    assert (limits.record_bytes, limits.record_span_us) == (32 << 20, 60_000_000)
    assert (limits.pixels, limits.decode_time_us) == (33_000_000, 5_000_000)
    assert limits.dead_letter_rate == 0.05
    metrics = spec.metrics
    assert (metrics.host, metrics.port, metrics.token, metrics.public, metrics.ingest) == (
        "127.0.0.1", 9464, None, False, False,
    )  # fmt: skip
    assert (spec.ray.address, spec.fusion.dim, spec.fusion.normalize) == ("auto", None, "l2")
    assert (spec.kafka.bootstrap, spec.kafka.client) == ("127.0.0.1:9092", {})


def test_normalize_follows_the_rule_unless_it_is_said(lobby, drop) -> None:
    def normalize(**changes: object) -> str:
        return lobby({f"fusion.{key}": value for key, value in changes.items()}).fusion.normalize

    assert normalize(rule="concat", normalize=drop) == "none"
    assert normalize(rule="weighted_sum", normalize=drop) == "l2"
    assert normalize(rule="my_rules:Mean", normalize=drop) == "none"
    assert normalize(rule="concat", normalize="l2") == "l2"
    assert normalize(rule="weighted_sum", normalize="none") == "none"


def test_every_key_of_the_contract_is_taken(lobby) -> None:
    spec = lobby({
        "inputs.mic.stream": "header:device",
        "inputs.mic.payload": {"json": "data.audio", "base64": True},
        "inputs.mic.time": {"json": "data.ts", "unit": "ms"},
        "inputs.mic.time_offset": "-480ms",
        "inputs.mic.out_of_orderness": "0ms",
        "windows.align_wait": "0ms",
        "windows.idle": "0ms",
        "start": "2026-01-31T12:00:00Z",
        "stages.sound.context": {"before": "4s", "after": "500ms"},
        "stages.sound.replicas": 3,
        "stages.sound.num_gpus": 0.333,
        "stages.sound.out": "lobby.sound",
        "stages.mine": {"encoder": "my.encoders:Loudness", "of": ["mic", "camera", "sound"]},
        "fusion.of.mine": 2,
        "fusion.rule": "my_rules:Mean",
        "fusion.options": {"a": 1},
        "metrics": {"host": "0.0.0.0", "public": True, "port": 0},
        "ray.address": "ray://head:10001",
    })  # fmt: skip
    mic, sound = spec.inputs["mic"], spec.stages["sound"]
    assert (mic.payload.json, mic.payload.base64) == ("data.audio", True)
    assert (mic.time.json, mic.time.unit, mic.time_offset_us) == ("data.ts", "ms", -480_000)
    assert spec.start == 1_769_860_800_000_000
    assert (sound.before_us, sound.after_us, sound.num_gpus) == (4_000_000, 500_000, 1 / 3)
    assert (sound.replicas_min, sound.replicas_max) == (3, 3)
    assert spec.topics_out()[-1] == "lobby.sound"
    assert spec.fusion.options == {"a": 1}


@pytest.mark.parametrize(
    ("written", "gpus"),
    [("auto", "auto"), (0, 0.0), (1, 1.0), (4, 4.0), (2.0, 2.0), (0.5, 0.5), (0.25, 0.25),
     (0.333, 1 / 3), ("1/3", 1 / 3), (0.1, 0.1)],
)  # fmt: skip
def test_gpus_are_whole_or_one_nth(written, gpus, lobby) -> None:
    assert lobby({"stages.sound.num_gpus": written}).stages["sound"].num_gpus == gpus


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_needs_no_token(host: str, lobby) -> None:
    assert lobby({"metrics.host": host}).metrics.host == host


def test_a_spec_is_frozen_and_travels(example: Path) -> None:
    spec = load(example, environ={})
    with pytest.raises(ValidationError):
        spec.name = "other"
    with pytest.raises(ValidationError):
        spec.windows.hop_us = 1
    copied = pickle.loads(pickle.dumps(spec))
    assert copied == spec
    assert (copied.folder, copied.stages["sound"].name) == (spec.folder, "sound")
    assert copied.decision_hash() == spec.decision_hash()


def test_the_public_form_is_json_and_has_no_machine_path(example: Path) -> None:
    text = json.dumps(load(example, environ={}).public())
    assert str(example.parent) not in text
    assert '"hop_us": 1000000' in text


def test_importing_the_spec_brings_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "kafka", "ray", "librosa", "av", "pyarrow", "PIL", "soundfile")
    code = f"import sys, pipeline.spec; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


# -- the catalog


def test_the_catalog_has_every_built_in_of_the_contract() -> None:
    assert set(BUILTIN) - {"text_tokens"} == {
        "log_mel", "mfcc", "chroma", "spectral", "librosa_feature", "audio_clean",
        "voice_activity", "audio_embedding", "speech_to_text", "spectrogram_image",
        "image_embedding", "image_labels", "image_to_text", "faces", "text_clean",
        "text_embedding", "text_image", "text_to_text", "text_to_speech", "hash_text",
        "color_histogram",
    }  # fmt: skip
    kinds = {"audio", "image", "video", "text", "vector"}
    for builtin in BUILTIN.values():
        assert set(builtin.takes) <= kinds
        assert builtin.gives in kinds | {"data"}
    assert implementation("log_mel") == "pipeline.encoders.audio:LogMel"
    assert implementation("my.module:Class") == "my.module:Class"


# -- the JSON schema


def validator() -> jsonschema.Draft202012Validator:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_the_schema_takes_the_example_as_it_stands(example: Path) -> None:
    validator().validate(yaml.safe_load(example.read_text()))


def test_the_schema_takes_what_the_loader_takes(example: Path) -> None:
    tree = yaml.safe_load(example.read_text())
    tree["kafka"]["client"] = {"ssl_password": {"file": "pw"}, "linger_ms": "${L}"}
    tree["inputs"]["mic"]["time"] = {"json": "a.b", "unit": "${UNIT}"}
    tree["inputs"]["mic"]["payload"] = {"json": "a.b", "base64": True}
    tree["stages"]["sound"] |= {"of": ["mic"], "replicas": 2, "num_gpus": "1/3", "encoder": "a:B"}
    tree["stages"]["words"]["context"] = {"before": "${BEFORE:-1s}"}
    tree["slots"] = "${SLOTS}"
    tree["metrics"]["token"] = {"file": "token"}
    tree["fusion"]["of"]["sound"] = "${WEIGHT}"
    validator().validate(tree)


@pytest.mark.parametrize(
    ("way", "value"),
    [(("windows", "hop"), 5), (("windows", "hop"), "5"), (("windows", "hopp"), "5s"),
     (("limits", "open_bytes"), "5MB"), (("limits", "dead_letter_rate"), 5), (("slots",), 0),
     (("slots",), "x"), (("name",), "Lobby"), (("version",), 2), (("fusion", "of", "sound"), 0),
     (("fusion", "rule"), "wsum"), (("stages", "sound", "encoder"), "log_mell"),
     (("kafka", "client", "grup"), 1), (("inputs", "mic", "stream"), "k"), (("fusion", "dim"), 0),
     (("stages", "sound", "num_gpus"), "all"), (("metrics", "token"), {"fil": "x"}),
     (("inputs", "b c"), {"topic": "x", "type": "text/plain"})],
)  # fmt: skip
def test_the_schema_refuses_what_the_loader_refuses(way, value, example: Path) -> None:
    tree = yaml.safe_load(example.read_text())
    at = tree
    for part in way[:-1]:
        at = at[part]
    at[way[-1]] = value
    assert not validator().is_valid(tree)


def test_the_schema_describes_every_key_and_writes_defaults_as_a_user_does() -> None:
    schema = json_schema()
    models = {"file": schema, **schema["$defs"]}
    for name, model in models.items():
        for key, field in model["properties"].items():
            assert field.get("description") or "$ref" in field, f"{name}.{key}"
    windows = schema["$defs"]["WindowsSpec"]["properties"]
    assert windows["idle"]["default"] == "5s"
    assert "default" not in windows["hop"]
    limits = schema["$defs"]["LimitsSpec"]["properties"]
    assert limits["open_bytes"]["default"] == "1GiB"
    assert limits["dead_letter_rate"]["default"] == "5%"
    assert schema["$defs"]["InputSpec"]["properties"]["time_offset"]["default"] == "0ms"
