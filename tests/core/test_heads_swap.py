"""A head that takes over in a running pipeline: between two windows of each lane, losing none."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from made_heads import made_head
from pipelines import CHAT, SECOND_US, broker_for, connector_for, load, sent, values

from pipeline.clock import wall_us
from pipeline.encoders.checking import check_pipeline
from pipeline.errors import InvalidInput
from pipeline.fusion.head_files import load_head
from pipeline.fusion.rules import Fuser
from pipeline.lane import LaneCut
from pipeline.local import run_local
from pipeline.spec.head_store import HeadStore
from pipeline.tasks import folder_watch
from pipeline.tasks.deploying import deploy, roll_back
from pipeline.tasks.fusion import FusionTask
from pipeline.tasks.head_watch import HeadWatch
from pipeline.tasks.host import RunControl
from pipeline.tasks.messages import Counts, Cut, Opened, Settled
from pipeline.tasks.results import model_name

LENGTHS = {"words": 8}
LANES, STREAMS = 4, 8
PATIENCE_S = 30.0


@pytest.fixture
def spec(tmp_path):
    changes = {"fusion.head": "heads/mood", "slots": 2, "windows.idle": "0ms"}
    return load(CHAT, changes, tmp_path)


@pytest.fixture
def made(spec, tmp_path):
    """Folders of two heads, and their hashes; the first is in force."""
    folders = [tmp_path / "one", tmp_path / "two"]
    hashes = [made_head(folder, spec, seed) for seed, folder in enumerate(folders)]
    assert check_pipeline(spec) == LENGTHS
    deploy(spec, folders[0], LENGTHS, "me")
    return folders, hashes


# -- the task -------------------------------------------------------------------------------


def opened(window: int, lane: int = 0) -> Opened:
    start_us = window * SECOND_US
    end_us = start_us + SECOND_US
    return Opened(lane, window, "s", start_us, end_us, ("chat",), (), {}, ("words",))


def gave(window: int, lane: int = 0) -> Settled:
    return Settled(lane, window, "words", np.full(8, window, np.float32), None, (), ())


def cut(number: int, lane: int = 0) -> Cut:
    counts = Counts({}, {}, 0, 0, {}, {})
    return Cut(lane, LaneCut(number, {"chat": number}, {"chat": number}), counts, False)


def test_a_window_gets_the_head_that_was_in_force_when_it_was_opened(spec, made):
    folders, [one, two] = made
    task = FusionTask(spec, LENGTHS, [0])
    task.on_messages(0, [opened(1), opened(2), gave(2)])
    task.swap(Fuser.under(spec, LENGTHS, load_head(folders[1])))
    assert task.head_hash == two
    # settled in any order, and together with one that was opened after the swap
    task.on_messages(0, [opened(3), opened(4), gave(4), gave(3), gave(1), cut(1)])
    [batch] = task.due(SECOND_US).values()
    expected = [one, one, two, two]
    found = [json.loads(record.value) for record in batch.records]
    assert [value["model"] for value in found] == [model_name(spec, sha256) for sha256 in expected]
    for value, folder in zip(found, [folders[0]] * 2 + [folders[1]] * 2, strict=True):
        window = value["window"]["start_us"] // SECOND_US
        fuser = Fuser.under(spec, LENGTHS, load_head(folder))
        alone = fuser.fuse({"words": np.full(8, window, np.float32)})
        assert value["output"] == {"label": alone.label, "scores": alone.scores}
    assert task.figures.value("motet_head_swaps_total", "0") == 1


# -- what a run sees ------------------------------------------------------------------------


def test_a_head_that_does_not_fit_or_is_not_whole_leaves_the_one_before(spec, made, tmp_path):
    folders, [one, two] = made
    watch = HeadWatch(spec, LENGTHS)
    watch.look()
    assert not watch.changed()
    store = HeadStore.of(spec)
    good = store.path.read_bytes()
    deploy(spec, folders[1], LENGTHS, "me")
    store.path.write_bytes(good[: len(good) // 2])
    with pytest.raises(InvalidInput, match="is no list of deployments"):
        watch.look()
    store.path.unlink()
    with pytest.raises(InvalidInput, match=r"deployed\.json is gone"):
        watch.look()
    other = load(CHAT, {"fusion.head": "heads/mood", "fusion.normalize": "l2"}, tmp_path)
    made_head(tmp_path / "other", other, 7)
    deploy(other, tmp_path / "other", LENGTHS, "me")  # another file that names the same folder
    with pytest.raises(InvalidInput, match=r"fusion\.normalize is none, and was l2"):
        watch.look()
    assert not watch.changed()
    assert watch.sha256 == one
    assert watch.view([one]).everywhere
    deploy(spec, folders[1], LENGTHS, "me")
    watch.look()
    assert watch.changed()
    assert not watch.changed()
    assert (watch.sha256, watch.model) == (two, model_name(spec, two))
    assert not watch.view([one, two]).everywhere
    assert watch.view([two, two]).everywhere
    watch.look()
    assert not watch.changed()


def test_a_run_does_not_begin_with_a_list_that_cannot_be_read(spec, made):
    HeadStore.of(spec).path.write_text("{")
    broker = broker_for(spec)
    with pytest.raises(InvalidInput, match=r"deployed\.json is no list of deployments"):
        run_local(spec, connector_for(broker), RunControl(until_end=True))


def test_a_file_without_a_head_shows_none():
    assert HeadWatch(load(CHAT), LENGTHS).view([None]) is None


# -- a run in one process -------------------------------------------------------------------


def append_second(broker, second: int) -> None:
    """A record of every stream."""
    for number in range(STREAMS):
        text = f"good {second} day {number}".encode()
        place = {"stream": f"s{number}", "lane": number % LANES, "length_us": SECOND_US}
        broker.append(sent("in.chat", text, second * SECOND_US, **place))


def models(broker) -> dict[int, list[str]]:
    """By lane, what its results name, in the order of the log."""
    found = defaultdict(list)
    for value in values(broker, "out.results"):
        found[int(value["stream"][1:]) % LANES].append(value["model"])
    return found


def changes(named: list[str]) -> list[str]:
    return [model for n, model in enumerate(named) if n == 0 or model != named[n - 1]]


def each_once(broker, seconds: int) -> None:
    windows = [(v["stream"], v["window"]["start_us"]) for v in values(broker, "out.results")]
    assert len(windows) == len(set(windows)) == STREAMS * seconds


class Live:
    """A run in a thread; records of every stream are appended second by second."""

    def __init__(self, spec, **changes) -> None:
        self.spec = spec
        self.broker = broker_for(spec, lanes=LANES)
        self.said: list[str] = []
        self.views = []
        self.second = 0
        self.control = RunControl(say=self.said.append, show=self.views.append, **changes)
        self.pool = ThreadPoolExecutor(1)
        self.run = self.pool.submit(run_local, spec, connector_for(self.broker), self.control)
        self.until(self.control.ready.is_set)

    def until(self, holds) -> None:
        pause, deadline_us = threading.Event(), wall_us() + PATIENCE_S * 1e6
        while not holds():
            if self.run.done():
                self.run.result()
            assert wall_us() < deadline_us
            pause.wait(0.005)

    def play(self, seconds: int) -> None:
        for _ in range(seconds):
            append_second(self.broker, self.second)
            self.second += 1

    def head(self):
        return self.views[0].snapshot().head

    def swaps(self) -> list[float]:
        """Of each slot."""
        figures = self.views[0].snapshot().figures
        return [figures.value("motet_head_swaps_total", slot) for slot in "01"]

    def play_until(self, holds) -> None:
        def played() -> bool:
            self.play(1)
            return holds()

        self.until(played)

    def models(self) -> dict[int, list[str]]:
        return models(self.broker)

    def stop(self) -> None:
        self.control.stop.set()
        try:
            self.run.result(PATIENCE_S)
        finally:
            self.pool.shutdown()


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(folder_watch, "POLL_S", 0.01)


def test_a_head_takes_over_in_a_run_between_two_windows_of_each_lane(spec, made):
    folders, [one, two] = made
    first, second = (model_name(spec, sha256) for sha256 in (one, two))
    live = Live(spec)
    try:
        assert (live.head().sha256, live.head().everywhere) == (one, True)
        live.play_until(lambda: len(live.models()) == LANES)
        deploy(spec, folders[1], LENGTHS, "me")
        live.play_until(lambda: all(second in found for found in live.models().values()))
        assert (live.head().sha256, live.head().everywhere) == (two, True)
        # figures are copied after a commit is over, which is later than its results can be read
        live.until(lambda: live.swaps() == [1, 1])
        figures = live.views[0].snapshot().figures
        assert ("motet_build_info", second) in {(n, ls[-1]) for n, ls in figures.gauges if ls}
        roll_back(spec, None, LENGTHS, "me")
        live.play_until(lambda: all(found[-1] == first for found in live.models().values()))
    finally:
        live.stop()
    assert [line for line in live.said if "takes over" in line] == [
        f"motet: head {sha256[:12]} takes over, for windows that close from now on"
        for sha256 in (two, one)
    ]
    run_local(spec, connector_for(live.broker), RunControl(until_end=True))
    assert [changes(named) for named in live.models().values()] == [[first, second, first]] * LANES
    each_once(live.broker, live.second)


def test_a_run_from_no_head_to_labels_and_trouble_that_is_said_once(spec, made):
    folders, [one, _] = made
    deploy(spec, None, LENGTHS, "me")
    live = Live(spec)
    try:
        assert (live.head().sha256, live.head().everywhere) == (None, True)
        store = HeadStore.of(spec)
        good = store.path.read_bytes()
        store.path.write_text("{")
        live.until(lambda: live.head().trouble)
        live.play_until(lambda: len(live.models()) == LANES)
        store.path.write_bytes(good)
        live.until(lambda: live.head().trouble is None)
        deploy(spec, folders[0], LENGTHS, "me")
        labelled = model_name(spec, one)
        live.play_until(lambda: all(labelled in found for found in live.models().values()))
    finally:
        live.stop()
    found = values(live.broker, "out.results")
    assert {("vector" in v["output"], v["model"] == labelled) for v in found} == {
        (True, False),
        (False, True),
    }
    [warning] = [line for line in live.said if "warning" in line]
    assert warning.endswith("deploy a head again (the head before stays)")


STEPS = ("begin", "produce-reply", "flush", "send_offsets-reply", "commit", "commit-reply")


@pytest.mark.parametrize("step", STEPS)
def test_after_a_crash_what_was_not_committed_gets_the_head_that_is_in_force_then(spec, made, step):
    """A start goes on with what was deployed meanwhile; no window comes twice, or not at all."""
    folders, [one, two] = made
    # a window at a time: most are to come when it is killed
    one_by_one = {"limits.in_flight_bytes": "1B", "commit_interval": "1ms"}
    spec = load(CHAT, {"fusion.head": "heads/mood", "slots": 2, **one_by_one}, spec.folder)
    broker = broker_for(spec, lanes=LANES)
    for second in range(12):
        append_second(broker, second)
    left = [4]

    class Killed(BaseException):
        pass

    def hook(at: str, _port: object) -> None:
        left[0] -= at == step
        if at == step and left[0] <= 0:
            raise Killed

    broker.hook = hook
    with pytest.raises(Killed):
        run_local(spec, connector_for(broker, fetch_records=8), RunControl(until_end=True))
    broker.hook = None
    deploy(spec, folders[1], LENGTHS, "me")
    run_local(spec, connector_for(broker), RunControl(until_end=True))
    first, second = (model_name(spec, sha256) for sha256 in (one, two))
    found = models(broker)
    assert all(changes(named) in ([second], [first, second]) for named in found.values())
    assert sum(named.count(second) for named in found.values()) >= 12 * STREAMS - 20
    each_once(broker, 12)


def test_a_replay_keeps_the_head_that_it_began_with(spec, made):
    folders, [one, _] = made
    live = Live(spec, swap_heads=False)
    try:
        live.play_until(lambda: len(live.models()) == LANES)
        deploy(spec, folders[1], LENGTHS, "me")
        live.play(5)
        seconds = live.second
        live.until(lambda: sum(map(len, live.models().values())) >= STREAMS * (seconds - 1))
        assert live.head().sha256 == one
    finally:
        live.stop()
    assert {m for found in live.models().values() for m in found} == {model_name(spec, one)}
