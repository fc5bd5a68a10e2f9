"""Every mistake that the contract names is found, with its key, its value, why and a remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import InvalidInput, Problem
from pipeline.spec import loads

Find = Callable[..., dict[str, Any]]
VECTOR = "my_encoders:Loudness"

# what is changed in the example -> the key that the error names, and a part of its line
MISTAKES: list[tuple[dict[str, Any], str, str]] = [
    # the form of the file
    ({"version": 2}, "version", "must be 1"),
    ({"version": True}, "version", "must be 1"),
    ({"wndows": {}}, "wndows", "did you mean 'windows'?"),
    ({"windows.hopp": "1s"}, "windows.hopp", "did you mean 'hop'?"),
    ({"stages.sound.encodr": "x"}, "stages.sound.encodr", "did you mean 'encoder'?"),
    ({"inputs.mic.payload": {"jsn": "a", "json": "b", "base64": True}}, "inputs.mic.payload.jsn",
     "did you mean 'json'?"),
    ({"stages.colour.replicas.mx": 1}, "stages.colour.replicas.mx", "did you mean 'max'?"),
    ({"ray": None}, "ray", "is empty"),
    ({"ray": 5}, "ray", "must be a map"),
    ({"inputs": {}}, "inputs", "no entry"),
    ({"inputs.mic": "lobby.audio"}, "inputs.mic", "must be a map"),
    ({"stages.sound": None}, "stages.sound", "is empty"),
    # names
    ({"name": "Lobby"}, "name", "lower-case"),
    ({"name": "-lobby"}, "name", "hyphen"),
    ({"name": "a" * 64}, "name", "63"),
    ({"name": "lobby\n"}, "name", "lower-case"),
    ({"name": 5}, "name", "must be text"),
    ({"inputs.chat.topic": "a b"}, "inputs.chat.topic", "topic name"),
    ({"inputs.chat.topic": ".."}, "inputs.chat.topic", "topic name"),
    ({"inputs.chat.topic": "x" * 250}, "inputs.chat.topic", "249"),
    ({"stages.mic": {"encoder": VECTOR, "of": "chat"}}, "stages.mic", "an input has this name"),
    # kafka
    ({"kafka.bootstrap": "localhost"}, "kafka.bootstrap", "HOST:PORT"),
    ({"kafka.bootstrap": "a:1,b:70000"}, "kafka.bootstrap", "70000"),
    ({"kafka.bootstrap": "::1:9092"}, "kafka.bootstrap", "HOST:PORT"),
    ({"kafka.client.secrity_protocol": "SSL"}, "kafka.client.secrity_protocol",
     "did you mean 'security_protocol'?"),
    ({"kafka.client.group_id": "x"}, "kafka.client.group_id", "is set by motet"),
    ({"kafka.client.acks": 1}, "kafka.client.acks", "exactly-once"),
    ({"kafka.client.isolation_level": "read_uncommitted"}, "kafka.client.isolation_level",
     "read_committed"),
    ({"kafka.client.enable_auto_commit": True}, "kafka.client.enable_auto_commit", "transaction"),
    ({"kafka.client.transactional_id": "x"}, "kafka.client.transactional_id", "fencing"),
    ({"kafka.client.ssl_context": "x"}, "kafka.client.ssl_context", "Python object"),
    ({"kafka.client.security_protocol": "TLS"}, "kafka.client.security_protocol",
     "= TLS: is not one of PLAINTEXT"),
    ({"kafka.client.request_timeout_ms": "30s"}, "kafka.client.request_timeout_ms",
     "= 30s: must be a whole number"),
    ({"kafka.client.ssl_check_hostname": 1}, "kafka.client.ssl_check_hostname", "true or false"),
    ({"kafka.client": ["a"]}, "kafka.client", "must be a map"),
    ({"kafka.client": 5}, "kafka.client", "must be a map"),
    # inputs
    ({"inputs.mic.type": "audio/L24;rate=16000"}, "inputs.mic.type", "not a media type"),
    ({"inputs.mic.type": "audio/mp4"}, "inputs.mic.type", "not a media type"),
    ({"inputs.mic.type": "audio/L16;channels=1"}, "inputs.mic.type", "no 'rate'"),
    ({"inputs.mic.out_of_orderness": 200}, "inputs.mic.out_of_orderness", "such as 200s"),
    ({"inputs.mic.out_of_orderness": "-1ms"}, "inputs.mic.out_of_orderness", "sign"),
    ({"inputs.mic.gating": "maybe"}, "inputs.mic.gating", "true or false"),
    ({"inputs.mic.stream": "keys"}, "inputs.mic.stream", "header:NAME"),
    ({"inputs.mic.stream": "header:"}, "inputs.mic.stream", "header:NAME"),
    ({"inputs.mic.time_offset": 5}, "inputs.mic.time_offset", "without its unit"),
    ({"inputs.mic.payload": {"json": "a..b", "base64": True}}, "inputs.mic.payload.json", "path"),
    ({"inputs.mic.payload": {"json": "a"}}, "inputs.mic.payload.base64", "write base64: true"),
    ({"inputs.chat.payload": {"base64": True}}, "inputs.chat.payload.json", "is missing"),
    ({"inputs.chat.payload": {"json": "a", "base64": 3}}, "inputs.chat.payload.base64", "true or"),
    ({"inputs.chat.time": {"json": "ts", "unit": "h"}}, "inputs.chat.time.unit", "'ms'"),
    ({"inputs.chat.time": {"json": "ts"}}, "inputs.chat.time.unit", "is missing"),
    ({"inputs.mic.time": {"json": "ts", "unit": "ms"}}, "inputs.mic.time", "not JSON"),
    ({"inputs.mic.gating": False, "inputs.camera.gating": False}, "inputs", "no input gates"),
    ({"inputs.spare": {"topic": "spare", "type": "text/plain"}}, "inputs.spare",
     "no stage reads this input"),
    ({"inputs.chat.topic": "lobby.audio"}, "inputs.chat.topic", "topic of inputs.mic.topic too"),
    # windows
    ({"windows.size": 1}, "windows.size", "without its unit"),
    ({"windows.size": "0ms", "windows.hop": "1ms"}, "windows.size", "must be above 0ms"),
    ({"windows.hop": "2s"}, "windows.hop", "samples would be lost"),
    ({"windows.hop": "0ms"}, "windows.hop", "must be above 0ms"),
    ({"windows.size": "1001ms", "windows.hop": "1ms"}, "windows.size", "over 1,000 hops"),
    ({"limits.record_span": "100001s"}, "limits.record_span", "over 100,000 hops"),
    ({"windows.future_max": "0ms"}, "windows.future_max", "must be above 0ms"),
    ({"start": "now"}, "start", "RFC 3339"),
    ({"start": 5}, "start", "RFC 3339"),
    # stages
    ({"stages.sound.encoder": "log_mell"}, "stages.sound.encoder", "did you mean 'log_mel'?"),
    ({"stages.words.encoder": "text_to_txt"}, "stages.words.encoder", "mean 'text_to_text'?"),
    ({"stages.sound.encoder": "a.b.C"}, "stages.sound.encoder", "package.module:Class"),
    ({"stages.sound.encoder": "a:b:C"}, "stages.sound.encoder", "package.module:Class"),
    ({"stages.sound.of": "camera"}, "stages.sound.of", "takes audio, but 'camera' gives image"),
    ({"stages.sound.of": ["mic", "chat"]}, "stages.sound.of", "'chat' gives text"),
    ({"stages.sound.of": "mik"}, "stages.sound.of", "did you mean 'mic'?"),
    ({"stages.sound.of": []}, "stages.sound.of", "nothing to read"),
    ({"stages.sound.of": ["mic", 5]}, "stages.sound.of", "no name"),
    ({"stages.sound.of": ["mic", "mic"]}, "stages.sound.of", "'mic' twice"),
    ({"stages.sound.options": [1]}, "stages.sound.options", "must be a map"),
    ({"stages.sound.options": {"rate": "16k"}}, "stages.sound.options.rate", "Hz"),
    ({"stages.sound.replicas": 0}, "stages.sound.replicas.min", "at least 1"),
    ({"stages.sound.replicas": {"min": 4, "max": 2}}, "stages.sound.replicas", "max below its min"),
    ({"stages.sound.num_gpus": 0.3}, "stages.sound.num_gpus", "one n-th"),
    ({"stages.sound.num_gpus": 1.5}, "stages.sound.num_gpus", "no whole number"),
    ({"stages.sound.num_gpus": -1}, "stages.sound.num_gpus", "negative"),
    ({"stages.sound.num_gpus": "all"}, "stages.sound.num_gpus", "no number"),
    ({"stages.sound.num_gpus": True}, "stages.sound.num_gpus", "no number"),
    ({"stages.sound.num_gpus": 1e-9}, "stages.sound.num_gpus", "one n-th"),
    ({"stages.sound.batch_max": 0}, "stages.sound.batch_max", "at least 1"),
    ({"stages.sound.timeout": "0s"}, "stages.sound.timeout", "must be above 0ms"),
    ({"stages.sound.context": {"before": 4}}, "stages.sound.context.before", "without its unit"),
    ({"stages.sound.out": "lobby.video"}, "stages.sound.out", "read what it writes"),
    ({"stages.sound.out": "lobby.late"}, "stages.sound.out", "topic of outputs.late too"),
    ({"stages.again": {"encoder": VECTOR, "of": "sound"}}, "stages.again", "nobody reads"),
    ({"stages.again": {"encoder": VECTOR, "of": "sound", "out": "x", "context": {"after": "1s"}}},
     "stages.again.context", "reads no input itself"),
    ({"stages.a": {"encoder": VECTOR, "of": ["mic", "b"]},
      "stages.b": {"encoder": VECTOR, "of": "a"}}, "stages.a.of", "a -> b -> a"),
    ({"stages.a": {"encoder": VECTOR, "of": "a"}}, "stages.a.of", "a -> a"),
    ({"stages.more": {"encoder": "hash_text", "of": "sound", "out": "x"}}, "stages.more.of",
     "takes text, but 'sound' gives vector"),
    # fusion
    ({"fusion.of.colours": 1}, "fusion.of.colours", "did you mean 'colour'?"),
    ({"fusion.of.sound": 0}, "fusion.of.sound", "must be above 0"),
    ({"fusion.of.sound": -1.5}, "fusion.of.sound", "must be above 0"),
    ({"fusion.of.sound": "high"}, "fusion.of.sound", "must be a number"),
    ({"fusion.of.sound": float("inf")}, "fusion.of.sound", "finite"),
    ({"fusion.of.sound": float("nan")}, "fusion.of.sound", "finite"),
    ({"fusion.of": ["sound"]}, "fusion.of", "must be a map"),
    ({"fusion.rule": "gated"}, "fusion.head", "gated needs a trained head"),
    ({"fusion.rule": "weigted_sum"}, "fusion.rule", "did you mean 'weighted_sum'?"),
    ({"fusion.normalize": "l1"}, "fusion.normalize", "'l2' or 'none'"),
    ({"fusion.dim": 0}, "fusion.dim", "at least 1"),
    ({"fusion.dim": 1.5}, "fusion.dim", "whole number"),
    ({"fusion.rule": "mine:Rule", "fusion.head": "heads/x"}, "fusion.head", "no head reads it"),
    ({"fusion.abstain_below": 0.6}, "fusion.abstain_below", "needs a trained head"),
    ({"fusion.options": {"a": 1}}, "fusion.options", "has no options"),
    ({"stages.labels": {"encoder": "faces", "of": "camera"}, "fusion.of.labels": 1},
     "fusion.of.labels", "gives data, and only vectors are fused"),
    # outputs and the rest
    ({"outputs.late": "lobby.results"}, "outputs.late", "topic of outputs.results too"),
    ({"outputs.results": "lobby.audio"}, "outputs.results", "read what it writes"),
    ({"commit_interval": 250}, "commit_interval", "such as 250s"),
    ({"slots": 0}, "slots", "at least 1"),
    ({"slots": 1.5}, "slots", "whole number"),
    ({"slots": True}, "slots", "whole number"),
    ({"limits.in_flight_bytes": "256MB"}, "limits.in_flight_bytes", "no unit of size"),
    ({"limits.open_bytes": 1 << 30}, "limits.open_bytes", "without its unit"),
    ({"limits.pixels": "33000000"}, "limits.pixels", "whole number"),
    ({"limits.dead_letter_rate": 5}, "limits.dead_letter_rate", "such as 5%"),
    ({"limits.dead_letter_rate": "0%"}, "limits.dead_letter_rate", "above 0%"),
    ({"metrics.port": 70_000}, "metrics.port", "at most 65535"),
    ({"metrics.host": "0.0.0.0"}, "metrics.host", "set metrics.token"),
    ({"metrics.host": "lobby.example"}, "metrics.host", "metrics.public: true"),
    ({"metrics.token": 5}, "metrics.token", "must be text"),
    ({"metrics.ingest": "maybe"}, "metrics.ingest", "true or false"),
    (
        {"metrics.ingest": True, "metrics.public": True, "metrics.host": "0.0.0.0"},
        "metrics.ingest", "set metrics.token",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "key", "part"), MISTAKES, ids=lambda v: str(v)[:60])
def test_a_mistake_is_named(changes: dict[str, Any], key: str, part: str, problems: Find) -> None:
    found = problems(changes)
    assert key in found, found
    assert part in str(found[key])


@pytest.mark.parametrize(
    "key",
    ["name", "inputs", "windows", "stages", "fusion", "outputs", "inputs.mic.topic",
     "inputs.mic.type", "windows.size", "stages.sound.encoder", "stages.sound.of", "fusion.rule",
     "fusion.of", "outputs.results", "outputs.late", "outputs.dead_letter"],
)  # fmt: skip
def test_what_has_no_default_must_be_there(key: str, problems: Find, drop: object) -> None:
    assert problems({key: drop})[key].why == "is missing"


def test_all_mistakes_of_a_file_come_at_once_in_the_order_of_its_sections(problems: Find) -> None:
    found = problems({
        "slots": 0,
        "kafka.bootstrap": "x",
        "kafka.client.group_id": "x",
        "inputs.mic.type": "audio/mp4",
        "inputs.chat.out_of_orderness": 5,
        "windows.hop": "2s",
        "windows.idle": 5,
        "stages.words.of": "chatt",
        "stages.words.timeout": 10,
        "stages.sound.encoder": "nope",
        "fusion.of.sound": 0,
        "fusion.of.nobody": 1,
        "outputs.late": "lobby.results",
        "limits.record_span": "1000000s",
        "metrics.host": "0.0.0.0",
        "metrics.port": -1,
        "extra": 1,
    })  # fmt: skip
    assert list(found) == [
        "kafka.client.group_id", "kafka.bootstrap", "inputs.chat", "inputs.mic.type",
        "inputs.chat.out_of_orderness", "windows.hop", "windows.idle", "stages.words.of",
        "stages.sound.encoder", "stages.words.timeout", "fusion.of.nobody", "fusion.of.sound",
        "outputs.late", "slots", "limits.record_span", "metrics.host", "metrics.port", "extra",
    ]  # fmt: skip


def test_a_mistake_has_no_echoes(problems: Find) -> None:
    """What follows from a value that cannot be read is not reported as well."""
    assert list(problems({"stages.sound.of": 5})) == ["stages.sound.of"]
    assert list(problems({"windows.hop": "x"})) == ["windows.hop"]
    assert list(problems({"inputs.mic.type": "x"})) == ["inputs.mic.type"]
    assert list(problems({"stages": 5})) == ["stages", "fusion.of.sound", "fusion.of.colour",
                                             "fusion.of.words"]  # fmt: skip
    assert list(problems({"metrics.host": "0.0.0.0", "metrics.token": "${T}"})) == ["metrics.token"]
    assert list(problems({"inputs.mic.topic": "${T}"})) == ["inputs.mic.topic"]
    assert list(problems({"stages.sound.of": ["mic", "${T}"]})) == ["stages.sound.of[1]"]


def test_long_and_many_lined_values_are_shown_on_one_short_line(problems: Find) -> None:
    found = problems({"start": "x" * 500 + "\ny"})
    assert len(str(found["start"])) < 250
    assert str(found["start"]).startswith("start = ")


def test_every_problem_is_one_line_of_the_error(lobby) -> None:
    with pytest.raises(InvalidInput) as caught:
        lobby({"slots": 0, "start": "a\nb"})
    assert len(str(caught.value).splitlines()) == 2
    assert caught.value.exit_code == 2


SETS = [
    ("windows.hop", "500ms", lambda s: s.windows.hop_us == 500_000),
    ("fusion.of.sound", "0.5", lambda s: s.fusion.of["sound"] == 0.5),
    ("stages.sound.options.n_mels", "32", lambda s: s.stages["sound"].options["n_mels"] == 32),
    ("stages.sound.replicas", "{min: 2, max: 3}", lambda s: s.stages["sound"].replicas_max == 3),
    ("stages.words.context.after", "1s", lambda s: s.stages["words"].after_us == 1_000_000),
    ("name", "other", lambda s: s.name == "other"),
    ("kafka.bootstrap", "${B:-b:1}", lambda s: s.kafka.bootstrap == "b:1"),
    ("metrics.token", "", lambda s: s.metrics.token is None),
]


@pytest.mark.parametrize(("key", "value", "holds"), SETS, ids=[s[0] for s in SETS])
def test_a_set_value_stands_in_place_of_the_files(key, value, holds, example: Path) -> None:
    spec = loads(example.read_text(), folder=example.parent, environ={}, overrides={key: value})
    assert holds(spec)


def test_a_set_value_also_mends_what_was_wrong_in_the_file(example: Path) -> None:
    text = example.read_text().replace("slots: 4", "slots: ${SLOTS}")
    spec = loads(text, folder=example.parent, environ={}, overrides={"slots": "2"})
    assert spec.slots == 2


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [("windows.hopp", "1s", "windows.hopp"), ("a..b", "1", "a..b"), ("", "1", "file"),
     ("name.x", "1", "name.x"), ("slots", "[", "slots"), ("slots", "0", "slots")],
)  # fmt: skip
def test_a_wrong_set_value_is_named(key: str, value: str, named: str, example: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        loads(example.read_text(), folder=example.parent, environ={}, overrides={key: value})
    assert [p.key for p in caught.value.problems] == [named]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(), st.text(max_size=8),
    st.sampled_from(["mic", "sound", "1s", "5%", "1MiB", "${X}", "text/plain", "auto", "a:B"]),
)  # fmt: skip
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["mic", "min", "json", "file", "of", "x"]), inner, max_size=3
        ),
    ),
    max_leaves=5,
)


def _keys(tree: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = [path] if path else []
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += _keys(value, (*path, key))
    return found


@pytest.mark.parametrize("name", ["\x1e", "a\nb", "\u2028", "\x1b[2J"])
def test_a_name_that_would_break_a_line_is_escaped(name: str) -> None:
    problem = Problem("stages.sound.of", "", f"'{name}' is no input", "correct it")
    assert len(str(problem).splitlines()) == 1
    assert str(problem).isprintable()


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_whatever_stands_in_a_file_it_is_taken_or_told(data: st.DataObject, example: Path) -> None:
    """No value anywhere makes anything but a spec or an InvalidInput with sound problems."""
    tree = yaml.safe_load(example.read_text())
    tree["kafka"]["client"] = {"ssl_password": "x", "linger_ms": 5}
    tree["inputs"]["chat"] |= {"payload": {"json": "a"}, "time": {"json": "a", "unit": "ms"}}
    tree["stages"]["sound"]["context"] = {"before": "1s"}
    for path in data.draw(st.lists(st.sampled_from(_keys(tree)), min_size=1, max_size=3)):
        at = tree
        for part in path[:-1]:
            at = at.get(part) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at[path[-1]] = data.draw(TREES)
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    spec, error = None, None
    try:
        spec = loads(text, folder=example.parent, environ={})
    except InvalidInput as invalid:
        error = invalid
    if error is not None:
        assert error.problems
        assert len(str(error).splitlines()) == len(error.problems)
    if spec is not None:
        assert len(spec.stage_order()) == len(spec.stages)
        spec.lane_spec()
        spec.decision_hash()
        spec.model_hash()
