"""What follows from a file: contexts, the lanes' rules, the graph, and the two hashes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.spec import graph
from pipeline.spec.derive import HEADER_READERS_VERSION, RESAMPLING_CONTEXT_US

RAW = "audio/x-raw;format=S16LE;rate=16000"


def test_only_the_exact_rate_in_the_type_spares_the_resampling_context(lobby) -> None:
    def context(changes: dict) -> tuple[int, int]:
        return lobby(changes).stage_context("sound")

    extra = (RESAMPLING_CONTEXT_US, RESAMPLING_CONTEXT_US)
    assert RESAMPLING_CONTEXT_US == 50_000
    assert context({}) == (0, 0)
    assert context({"inputs.mic.type": "audio/L16;rate=44100"}) == extra
    assert context({"inputs.mic.type": "audio/wav"}) == extra
    assert context({"inputs.mic.type": "audio/wav;rate=16000"}) == (0, 0)
    assert context({"stages.sound.options": {"rate": 8000}}) == extra
    both = {"stages.sound.options": {"rate": 8000}, "inputs.mic.type": "audio/L16;rate=8000"}
    assert context(both) == (0, 0)
    declared = {"stages.sound.context": {"before": "4s", "after": "500ms"}}
    assert context(declared) == (4_000_000, 500_000)
    assert context(declared | {"inputs.mic.type": "audio/ogg"}) == (4_050_000, 550_000)
    mine = {"stages.sound.encoder": "my:Class", "inputs.mic.type": "audio/wav"}
    assert context(mine) == (0, 0)
    two = {
        "inputs.second": {"topic": "t", "type": "audio/flac"},
        "stages.sound.of": ["mic", "second"],
    }
    assert context(two) == extra
    assert lobby({"inputs.mic.type": "audio/wav"}).stage_context("colour") == (0, 0)


def test_the_lanes_rules_are_the_largest_contexts_of_all_stages(lobby) -> None:
    lane = lobby({
        "inputs.camera.out_of_orderness": "1s",
        "stages.colour.context": {"before": "3s", "after": "200ms"},
        "stages.words.context": {"after": "700ms"},
        "windows.hop": "250ms",
    }).lane_spec()  # fmt: skip
    assert (lane.before_us, lane.after_us) == (3_000_000, 700_000)
    assert [(rule.name, rule.gating, rule.bound_us) for rule in lane.inputs] == [
        ("mic", True, 900_000), ("camera", True, 1_700_000), ("chat", False, 900_000),
    ]  # fmt: skip
    assert (lane.size_us, lane.hop_us, lane.idle_us) == (1_000_000, 250_000, 5_000_000)
    assert lane.hold_us == 6_700_000
    assert (lane.align_wait_us, lane.open_bytes) == (30_000_000, 1 << 30)


def test_readers_and_inputs_of_a_stage(lobby) -> None:
    mine = "my:Class"
    spec = lobby({
        "stages.late": {"encoder": mine, "of": ["early", "chat"], "out": "x"},
        "stages.early": {"encoder": mine, "of": ["mic", "camera"]},
    })  # fmt: skip
    assert spec.readers_of("mic") == ("sound", "early")
    assert spec.readers_of("chat") == ("words", "late")
    assert spec.readers_of("early") == ("late",)
    assert spec.inputs_of("late") == {"mic", "camera", "chat"}
    assert spec.inputs_of("sound") == {"mic"}
    assert spec.stage_order() == ("sound", "colour", "words", "early", "late")
    assert list(spec.stages) == ["sound", "colour", "words", "late", "early"]


GRAPHS = st.integers(1, 8).flatmap(
    lambda n: st.lists(
        st.lists(st.sampled_from([f"s{i}" for i in range(n)] + ["a", "b"]), unique=True,
                 max_size=4),
        min_size=n, max_size=n,
    )
).map(lambda reads: {f"s{i}": tuple(names) for i, names in enumerate(reads)})  # fmt: skip


@given(GRAPHS)
def test_a_graph_has_an_order_or_a_cycle_and_never_both(reads) -> None:
    cycles = graph.cycles(reads)
    if cycles:
        for cycle in cycles:
            assert cycle[0] == cycle[-1]
            assert all(b in reads[a] for a, b in itertools.pairwise(cycle))
        with pytest.raises(ValueError, match="cycle"):
            graph.order(reads)
        return
    order = graph.order(reads)
    assert sorted(order) == sorted(reads)
    for number, stage in enumerate(order):
        assert all(name in order[:number] for name in reads[stage] if name in reads)
    for stage in reads:
        through = {n for name in reads[stage] if name in reads for n in graph.sources(reads, name)}
        assert graph.sources(reads, stage) == through | {n for n in reads[stage] if n not in reads}


DECIDES = [
    {"inputs.mic.topic": "other"},
    {"inputs.mic.type": "audio/L16;rate=16000;channels=2"},
    {"inputs.mic.type": RAW},
    {"inputs.mic.out_of_orderness": "201ms"},
    {"inputs.chat.gating": True},
    {"inputs.mic.stream": "partition"},
    {"inputs.mic.payload": {"json": "a", "base64": True}},
    {"inputs.chat.payload": {"json": "a"}},
    {"inputs.chat.time": {"json": "a", "unit": "ms"}},
    {"inputs.mic.time_offset": "1ms"},
    {"windows.size": "2s"},
    {"windows.hop": "500ms"},
    {"windows.idle": "6s"},
    {"windows.future_max": "61s"},
    {"stages.sound.context": {"before": "1s"}},
    {"stages.sound.context": {"after": "1s"}},
    {"stages.sound.options": {"rate": 8000}},  # by the context that resampling adds
    {"limits.record_bytes": "31MiB"},
    {"limits.record_span": "59s"},
    {"limits.pixels": 5},
    {"inputs.more": {"topic": "more", "type": "text/plain", "gating": False},
     "stages.words.of": ["chat", "more"]},
]  # fmt: skip
DECIDES_NOT = [
    {"kafka.bootstrap": "other:9092"},
    {"kafka.client": {"linger_ms": 5}},
    {"name": "other"},
    {"inputs.chat.out_of_orderness": "9s"},  # it does not gate
    {"inputs.mic.type": "AUDIO/l16; Channels=1; rate=16000"},  # the same, written otherwise
    {"windows.align_wait": "1s"},
    {"start": "latest"},
    {"stages.sound.options": {"n_mels": 32}},
    {"stages.sound.encoder": "mfcc"},
    {"stages.sound.replicas": 2, "stages.sound.batch_max": 8, "stages.sound.timeout": "1s"},
    {"stages.sound.num_gpus": 0, "stages.sound.out": "x"},
    {"stages.words.context": {"before": "0ms"}},
    {"fusion.of.sound": 0.9},
    {"fusion.rule": "concat"},
    {"fusion.dim": 64},
    {"outputs.results": "other"},
    {"commit_interval": "1s", "slots": 2},
    {"limits.decode_time": "1s", "limits.dead_letter_rate": "50%"},
    {"limits.in_flight_bytes": "1MiB", "limits.open_bytes": "1MiB"},
    {"metrics.port": 1, "ray.address": "x"},
]


@pytest.mark.parametrize("changes", DECIDES, ids=str)
def test_what_decides_about_records_changes_the_decision_hash(changes, lobby) -> None:
    assert lobby(changes).decision_hash() != lobby().decision_hash()


@pytest.mark.parametrize("changes", DECIDES_NOT, ids=str)
def test_what_decides_nothing_keeps_the_decision_hash(changes, lobby) -> None:
    assert lobby(changes).decision_hash() == lobby().decision_hash()


def test_every_decision_has_its_own_hash(lobby) -> None:
    hashes = [lobby(changes).decision_hash() for changes in [{}, *DECIDES]]
    assert len(set(hashes)) == len(hashes)
    assert all(len(h) == 16 and int(h, 16) >= 0 for h in hashes)


def test_a_context_below_the_largest_decides_nothing(lobby) -> None:
    base = {"stages.colour.context": {"before": "4s", "after": "1s"}}
    small = base | {"stages.words.context": {"before": "3s", "after": "900ms"}}
    assert lobby(base).decision_hash() == lobby(small).decision_hash()


def test_the_order_of_inputs_decides_nothing(example) -> None:
    from pipeline.spec import loads

    lines = example.read_text().splitlines()
    mic = next(i for i, line in enumerate(lines) if line.startswith("  mic:"))
    swapped = lines.copy()
    swapped[mic], swapped[mic + 1] = swapped[mic + 1], swapped[mic]
    first, second = (
        loads("\n".join(text), folder=example.parent, environ={}) for text in (lines, swapped)
    )
    assert list(first.inputs) != list(second.inputs)
    assert first.decision_hash() == second.decision_hash()
    assert first.model_hash() == second.model_hash()


def test_the_hashes_are_the_same_in_every_version_until_they_are_meant_to_change(lobby) -> None:
    """A run that was stopped goes on only where this is unchanged: change it on purpose."""
    assert HEADER_READERS_VERSION == 2
    assert lobby().decision_hash() == "7e06136425fe5879"


MODEL = [
    {"stages.sound.encoder": "mfcc"},
    {"stages.sound.options": {"n_mels": 32}},
    {"stages.sound.options": {}},
    {"stages.sound.context": {"before": "1s"}},
    {"stages.more": {"encoder": "my:Class", "of": "mic", "out": "x"}},
    {"stages.words.of": ["chat", "second"], "inputs.second": {"topic": "t", "type": "text/plain"}},
    {"stages.words.of": ["second", "chat"], "inputs.second": {"topic": "t", "type": "text/plain"}},
    {"fusion.rule": "concat", "fusion.normalize": "l2"},
    {"fusion.of.sound": 0.31},
    {"fusion.of": {"words": 0.3, "colour": 0.4, "sound": 0.3}},
    {"fusion.normalize": "none"},
    {"fusion.dim": 64},
]
MODEL_NOT = [
    {"name": "other"},
    {"inputs.camera.out_of_orderness": "1s"},
    {"windows.idle": "6s"},
    {"stages.sound.replicas": 2, "stages.sound.batch_max": 8, "stages.sound.num_gpus": 0},
    {"stages.sound.timeout": "1s", "stages.sound.out": "x"},
    {"limits.pixels": 5, "slots": 2},
]


def test_the_model_hash_is_over_stages_and_fusion(lobby) -> None:
    base = lobby().model_hash()
    assert len(base) == 64
    hashes = [lobby(changes).model_hash() for changes in MODEL]
    assert len({base, *hashes}) == len(MODEL) + 1
    assert {lobby(changes).model_hash() for changes in MODEL_NOT} == {base}


def test_a_secret_among_the_options_is_no_part_of_the_model(lobby) -> None:
    changes = {"stages.sound.options": {"api_token": "${T}"}}
    first, second = (lobby(changes, environ={"T": token}) for token in ("a", "b"))
    assert first.stages["sound"].options != second.stages["sound"].options
    assert first.model_hash() == second.model_hash()
