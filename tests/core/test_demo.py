"""``motet demo`` on the in-memory broker: what it plays, shows, measures and leaves behind."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest
import soundfile

from pipeline.cli import main
from pipeline.cli.demo_words import ejected_name
from pipeline.connectors.file_media import duration_us
from pipeline.connectors.files import expand
from pipeline.connectors.memory import MemoryConnector, MemoryPublisher
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.demo import show, view
from pipeline.demo.assets import (
    CHUNK_US,
    MEDIA,
    OWN_CLASS,
    PARTITIONS,
    PASS_US,
    STREAMS,
    pipeline_spec,
    timelines,
)
from pipeline.demo.eject import eject, pipeline_name
from pipeline.demo.measure import Measured, Seen, percentile_us
from pipeline.demo.show import Show
from pipeline.errors import InvalidInput, MotetError, Transient
from pipeline.local import run_local
from pipeline.spec import load
from pipeline.tasks.totals import Totals

MOTET = [sys.executable, "-m", "actors"]
SECOND_US = 1_000_000
DEMO_BYTES_MAX = 1_500_000


def seen(stream="hall", second=0, missing=(), attribution=None, read_us=260_000) -> Seen:
    result = {
        "stream": stream,
        "window": {"start_us": second * SECOND_US, "end_us": (second + 1) * SECOND_US},
        "present": sorted({"camera", "chat", "mic"} - {*missing}),
        "missing": sorted(missing),
        "weights": {"colour": 0.375, "sound": 0.625},
        "attribution": attribution or {"colour": 0.25, "sound": 0.75},
        "text": {},
        "data": {},
    }
    return Seen(result, 250_000, read_us)


# -- media ----------------------------------------------------------------------------------


def test_the_media_are_small_and_the_notice_names_every_folder_of_them():
    files = [path for path in MEDIA.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < DEMO_BYTES_MAX
    notice = (MEDIA / "NOTICE").read_text()
    assert {f"{path.name}/" for path in MEDIA.iterdir() if path.is_dir()} <= {*notice.split()}
    for licence in (
        "public domain",
        "Creative Commons Attribution 3.0",
        "Blender Foundation",
        "CC0",
    ):
        assert licence in notice


@pytest.mark.parametrize("models", [False, True])
def test_every_stream_fills_a_pass_with_sound_pictures_and_text(models):
    spec = pipeline_spec("demo-x", "127.0.0.1:9092", models)
    lines = timelines(spec)
    topics = {given.topic for given in spec.inputs.values()}
    assert {(line.stream, line.target.topic) for line in lines} == {
        (stream, topic) for stream in STREAMS for topic in topics
    }
    for line in lines:
        # A window that no record of an input overlaps would lack it.
        assert PASS_US - SECOND_US < line.duration_us() <= PASS_US
        assert line.chunk_us == CHUNK_US[line.files[0].kind]
    for path in (MEDIA / "speech").iterdir():
        info = soundfile.info(path)
        assert (info.samplerate, info.channels) == (16000, 1)


# -- figures and rows -------------------------------------------------------------------------


def test_repeats_and_gaps_of_a_stream_are_counted():
    measured = Measured()
    for stream, second in [("a", 5), ("b", 5), ("a", 6), ("a", 6), ("a", 9), ("b", 6)]:
        measured.add(seen(stream, second))
    assert (measured.windows, measured.repeated, measured.skipped) == (6, 1, 2)
    assert (measured.streams, measured.live_seconds()) == (["a", "b"], 5.0)


def test_a_visitor_of_the_page_may_pause():
    measured = Measured()
    for second in (5, 9, 9):
        measured.add(seen("page-abcd2345", second))
    assert (measured.windows, measured.repeated, measured.skipped) == (3, 1, 0)


def test_windows_of_before_the_live_streams_tell_no_latency():
    measured = Measured(live_us=7 * SECOND_US)
    for second in (5, 6, 7):
        measured.add(seen("a", second, read_us=second))
    assert measured.windows == 3
    assert list(measured.read_us) == [6, 7]  # the one that ends at 7 s, and the next


def test_percentiles_are_by_nearest_rank():
    assert [percentile_us([30, 10, 20, 40], p) for p in (0.01, 0.5, 0.75, 0.76, 1.0)] == [
        10, 20, 30, 40, 40,
    ]  # fmt: skip
    assert percentile_us(range(1, 201), 0.99) == 198


@pytest.mark.parametrize("columns", [80, 120])
def test_rows_fit_the_terminal_and_stand_below_their_heading(columns):
    stages = ["sound", "timbre", "colour", "words"]
    rows = view.Rows(stages, columns, lambda text, _colour: text)
    row = rows.row(seen(read_us=1_234_567))
    assert len(row) <= columns
    assert len(rows.heading()) <= columns
    assert row.index(".62") == rows.heading().index("sound")
    assert row.index(".38") == rows.heading().index("colour")
    assert re.search(r"^hall +00:00:00 +all 3 +\.62 [█▏▎▍▌▋▊▉]+ *75% +- +\.38 ", row)
    assert row.endswith(" 1.23s")
    assert "no chat" in rows.row(seen(missing=["chat"]))


def test_below_a_row_stands_what_the_stages_found():
    rows = view.Rows(["sound", "colour"], 100, lambda text, _colour: text)
    assert rows.found(seen()) is None
    one = seen()
    face = {"time_us": 7}
    one.result["text"].update(speech="he had", topic="", note='a "b"')
    one.result["data"].update(
        speech={"words": []},
        labels={"labels": [{"label": "espresso", "score": 0.94}, {"label": "cup", "score": 0.03}]},
        none={"labels": []},
        topic={"labels": []},
        faces={"faces": [face, face, {"time_us": 8}], "frames": 2},
    )
    assert rows.found(one).lstrip() == (
        'speech: he had · topic: - · note: a "b" · labels: espresso 0.94 · none: - · faces: 2'
    )
    assert 'speech="he had" topic="-" note="a \\"b\\"" labels="espresso 0.94" ' in view.plain(one)
    assert len(view.Rows(["sound"], 40, lambda text, _colour: text).found(one)) == 40


def test_a_bar_is_exact_to_an_eighth_and_never_longer_than_its_place():
    bars = [view.bar_of(share, 2) for share in (-0.1, 0.0, 1 / 16, 0.5, 0.75, 1.0, 3.0)]
    assert bars == ["", "", "▏", "█", "█▌", "██", "██"]


def test_no_more_rows_are_shown_than_can_be_read(monkeypatch):
    now_us, lines = 7 * SECOND_US, []
    monkeypatch.setattr(view.clock, "monotonic_us", lambda: now_us)
    shown = view.View(lines.append, None)
    for _ in range(10):
        shown.show(seen())
    assert len(lines) == view.ROWS_A_SECOND
    now_us += SECOND_US
    shown.show(seen("late"))
    assert lines[-1].startswith("late 1970-01-01T00:00:00Z +1s present=camera,chat,mic missing=- ")


# -- the show --------------------------------------------------------------------------------


def in_memory() -> tuple[MemoryConnector, object]:
    spec = pipeline_spec("demo-x", "127.0.0.1:9092", models=False)
    connector = MemoryConnector(MemoryBroker(), pending_wait_s=5.0)
    for topic in [*(given.topic for given in spec.inputs.values()), *spec.topics_out()]:
        connector.control().create_topic(topic, PARTITIONS, None, {})
    return connector, spec


def a_show(connector, spec, host=run_local) -> Show:
    return Show(spec, connector, host, 0.1, threading.Event(), lambda _: None, lambda _: None)


def demo_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("demo-")]


def test_a_pipeline_that_fails_ends_the_show_with_its_error():
    def host(_spec, _connector, control):
        control.ready.set()
        raise MotetError("the pipeline broke")

    with pytest.raises(MotetError, match="the pipeline broke"):
        a_show(*in_memory(), host).run()
    assert demo_threads() == []


def test_a_feed_that_fails_drains_the_pipeline_and_ends_the_show_with_its_error(monkeypatch):
    def send(_self, _record):
        raise Transient("the broker lost a record")

    monkeypatch.setattr(MemoryPublisher, "send", send)
    with pytest.raises(Transient, match="the broker lost a record"):
        a_show(*in_memory()).run()
    assert demo_threads() == []


def test_where_no_result_comes_the_show_ends_and_says_so(monkeypatch):
    def host(spec, connector, control):
        """Takes records and never gives a result."""
        control.ready.set()
        control.stop.wait(60)
        return Totals(), 0.0

    monkeypatch.setattr(show, "FIRST_RESULT_US_MAX", 0)
    with pytest.raises(MotetError, match="no fused result for 0 s since the first record"):
        a_show(*in_memory(), host).run()
    assert demo_threads() == []


def test_where_results_stop_the_show_ends_and_says_so(monkeypatch):
    monkeypatch.setattr(show, "SILENCE_US_MAX", 500_000)  # results come every second
    endless = a_show(*in_memory())
    endless.seconds = None
    with pytest.raises(MotetError, match="no fused result for 0 s since the last one"):
        endless.run()
    assert endless.measured.windows > 0
    assert demo_threads() == []


def test_a_show_that_is_stopped_at_once_ends_without_a_result():
    stopped = a_show(*in_memory())
    stopped.stop.set()
    assert stopped.run().measured.windows == 0


# -- the command -----------------------------------------------------------------------------


def test_on_the_in_memory_broker_it_ends_by_itself_and_names_commands_that_work(tmp_path):
    command = [*MOTET, "demo", "--broker", "memory", "--seconds", "3", "--no-browser"]
    command += ["--no-models"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    results, _, summary = done.stdout.partition("\n\n")
    for line in results.splitlines():
        assert re.fullmatch(
            r"(hall|foyer|gallery) \S+Z \+1s present=camera,chat,mic missing=- "
            r"weights=colour:0\.30,sound:0\.30,timbre:0\.20,words:0\.20 "
            r"attribution=colour:\S+,sound:\S+,timbre:\S+,words:\S+ after=\d+\.\d\ds",
            line,
        )
    windows = len(results.splitlines())
    assert {line.split()[0] for line in results.splitlines()} == {*STREAMS}
    figures, _, following = summary.partition("next:\n")
    fused = r"^fused +(\d+) windows of 3 streams, each exactly once; \1 with all inputs$"
    [count] = re.findall(fused, figures, re.MULTILINE)
    assert windows <= int(count)  # of those that come at once not each is shown
    for said in (
        r"^rate +\d\.\d windows/s over \d+ s of live media$",
        r"^latency +p50 \d+\.\d\d s, p99 \d+\.\d\d s$",
        r"wait of 200 ms for records out of order",
        r"^records +\d+ read, \d+ late records, 0 dead letters$",
        r"^lag +\d+ records? at the end$",
        r"^start +\d+\.\d s to the first fused result$",
    ):
        assert re.search(said, figures, re.MULTILINE), said
    memory, time, *_steps = done.stderr.splitlines()[1:]
    assert re.search(r"memory +about [\d.]+ GB", memory)
    assert re.search(r"time +about 5 s to the first fused result, then 3 s", time)
    assert re.search(r"\n +\d+\.\d s  topics demo-\w{6}\.\* are made in memory", done.stderr)
    commands = [line for line in following.splitlines() if not line.startswith("  #")]
    assert len(commands) == 3
    for command in commands:
        again = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True)
        assert again.returncode == 0, (command, again.stderr)
    assert ejected_name(tmp_path) == "my-demo-2"


def test_ctrl_c_ends_it_with_its_figures():
    command = [*MOTET, "demo", "--broker", "memory", "--no-models"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as demo:
        first = demo.stdout.readline()
        demo.send_signal(signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    assert first.split()[0] in STREAMS
    assert (demo.returncode, "Traceback" in err) == (0, False)
    assert "each exactly once" in out
    assert out.count("\nnext:\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--broker", "rabbit"], "--broker = rabbit: there is one other broker than Kafka; write "),
        (["--broker", "memory", "--kafka", "h:1"], "--broker = memory: it goes without Kafka, and"),
        (["--seconds", "0"], "--seconds = 0: it must be 1 or more"),
        (["--kafka", "here"], "--kafka = here: it is not HOST:PORT"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_done(capsys, arguments, said):
    assert main(["demo", *arguments], cluster=run_local) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[-1].startswith(f"motet: error: {said}")


# -- eject -----------------------------------------------------------------------------------


def played(folder: Path, chunk_s: int, sources: str) -> Counter[str]:
    """Seconds of each kind in one pass of a player."""
    paths = [str(folder / source.strip(" \\\n")) for source in sources.split("\n")]
    seconds: Counter[str] = Counter()
    for file in expand(paths)[0]:
        seconds[file.kind] += duration_us(file, chunk_s * SECOND_US) / SECOND_US
    return seconds


@pytest.mark.parametrize("models", [False, True])
def test_what_is_ejected_is_a_sound_pipeline_and_the_commands_that_feed_it(tmp_path, models):
    folder = tmp_path / "My Demo"
    assert eject(folder, "/opt/motet env/bin/motet", models=models) == "my-demo"
    assert all((folder / path.name).exists() == models for path in OWN_CLASS)
    assert (OWN_CLASS[0].name in (folder / "README.md").read_text()) == models
    spec = load(folder / "demo.yaml")
    assert spec.name == "my-demo"
    topics = [*(given.topic for given in spec.inputs.values()), *spec.topics_out()]
    assert all(topic.startswith("my-demo.") for topic in topics)
    feed = (folder / "feed.sh").read_text()
    subprocess.run(["sh", "-n", folder / "feed.sh"], check=True)
    assert "motet=${MOTET:-'/opt/motet env/bin/motet'}" in feed
    plays = re.findall(r"^play (\w+) (\d+)s \\\n((?:.*\\\n)*.*)$", feed, re.MULTILINE)
    seconds = {(s, k): n for s, c, p in plays for k, n in played(folder, int(c), p).items()}
    assert {*seconds} == {(s, kind) for s in STREAMS for kind in ("audio", "image", "text")}
    # They are played again and again: what is shorter than the rest would be missing for a while.
    assert all(48 <= each <= 50 for each in seconds.values()), seconds
    assert (folder / "media" / "NOTICE").exists()
    assert "sh feed.sh" in (folder / "README.md").read_text()


def test_a_folder_that_holds_something_is_never_written_to(tmp_path, capsys):
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["demo", "--eject", str(tmp_path)]) == 2
    assert "it is there already and not an empty folder; name a new folder" in (
        capsys.readouterr().err
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(InvalidInput, match="not an empty folder"):
        eject(tmp_path / "mine.txt", "motet", models=False)
    with pytest.raises(InvalidInput, match="it cannot be written"):
        eject(tmp_path / "mine.txt" / "below", "motet", models=False)


@pytest.mark.parametrize(
    ("folder", "name"),
    [("my-demo", "my-demo"), ("A  b_c", "a-b-c"), ("___", "demo"), ("x" * 80, "x" * 50)],
)
def test_the_ejected_pipeline_is_named_after_its_folder(tmp_path, folder, name):
    assert pipeline_name(tmp_path / folder) == name
