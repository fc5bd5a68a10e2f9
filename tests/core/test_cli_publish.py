"""``motet publish``: its flags, the choice of inputs, pace, and what arrives in the log."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path

import pytest
from films import film, tone

from pipeline import clock
from pipeline.cli import main, publish_play
from pipeline.cli.publish_play import Play, play_to
from pipeline.cli.publish_target import To, check_inputs, choose_input, pictures, targeted
from pipeline.connectors.files import (
    Pictures,
    SourceFile,
    Target,
    Timeline,
    parts,
    stream_id,
    timelines,
)
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.connectors.partitioner import partition_for
from pipeline.errors import InvalidInput, MotetError
from pipeline.slot.ports import TopicPartition
from pipeline.spec import load
from pipeline.spec.media_type import parse_media_type

LOBBY = Path(__file__).parent / "spec" / "lobby.yaml"  # the contract's example
S = 1_000_000
WAV = SourceFile(Path("a.wav"), "audio", "audio/wav")
PNG = SourceFile(Path("a.png"), "image", "image/png")
JPEG = SourceFile(Path("a.jpg"), "image", "image/jpeg")
TXT = SourceFile(Path("a.txt"), "text", "text/plain")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "--topic, --to: give one of the two"),
        (["--topic", "t", "--to", "f", "--stream", "s"], "--topic, --to: only one of the two"),
        (["--topic", "t"], "--stream: --topic needs the stream id of the records"),
        (["--topic", "t", "--stream", "s", "--input", "mic"], "--input = mic: it belongs to --to"),
        (["--topic", "t", "--stream", "s", "--loop", "0"], "--loop = 0: an endless loop at full"),
        (["--topic", "t", "--stream", "s", "--chunk", "5"], "--chunk = 5: is a number without"),
        (["--topic", "t", "--stream", "s", "--chunk", "0s"], "--chunk = 0s: must be above 0ms"),
        (["--topic", "t", "--stream", "s", "--start", "noon"], "--start = noon: is not an RFC"),
        (["--to", "f", "--type", "image/png"], "--type = image/png: with --to the inputs say"),
        (["--topic", "t", "--stream", "s", "--type", "image/gif"], "--type = image/gif: is not a"),
        (["--topic", "t", "--stream", "s", "--reconnect", "5"], "--reconnect = 5: is a number"),
        (["--topic", "t", "--stream", "s", "--buffer", "0B"], "--buffer = 0B: must be above"),
        (["--topic", "t", "--stream", "s", "--source-option", "x"], "--source-option = x: it is"),
        (["--topic", "t", "--stream", "s", "--source-option", "a=b"], "--source-option = a: files"),
        (["--topic", "t", "--stream", "s"], "SOURCE = a.txt: there is no such file"),
        (["--to", str(LOBBY), "--input", "mike"], "SOURCE = a.txt: there is no such file"),
    ],
)
def test_flags_that_do_not_go_together_say_so(capsys, tmp_path, monkeypatch, flags, said):
    monkeypatch.chdir(tmp_path)
    assert main(["publish", *flags, "a.txt"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"motet: error: {said}")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (["--start", "2026-01-01T00:00:00Z"], "--start = 2026-01-01T00:00:00Z: "),
        (["--loop", "2"], "--loop = 2: "),
        (["--resume"], "--resume = yes: "),
    ],
)
def test_a_live_source_has_no_beginning_that_could_be_chosen(capsys, flag, said):
    assert main(["publish", "--topic", "t", "--stream", "s", *flag, "rtsp://me:pass@camera/1"]) == 2
    err = capsys.readouterr().err
    assert err == (
        f"motet: error: {said}rtsp://camera/1 is live: it plays once, at its own times; "
        "leave it out\n"
    )


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (None, "cam-7"),
        ("hall", "hall"),
        ("{stem}", "cam-7"),
        ("{name}", "cam-7.mp4"),
        ("{folder}/{stem}", "north/cam-7"),
        ("{other}", "{other}"),
    ],
)
def test_the_stream_is_named_by_the_file_where_it_is_asked(template, expected):
    assert stream_id(template, Path("site/north/cam-7.mp4")) == expected


@pytest.fixture
def pipeline_file(tmp_path):
    """Makes a pipeline file with other inputs than the contract's example."""

    def make(inputs: str, stages: str) -> Path:
        path = tmp_path / "pipeline.yaml"
        names = [line.split(":")[0].strip() for line in stages.splitlines() if line.strip()]
        path.write_text(
            f"version: 1\nname: p\ninputs:\n{inputs}\nwindows: {{size: 1s}}\nstages:\n{stages}\n"
            f"fusion: {{rule: concat, of: {{{', '.join(f'{name}: 1' for name in names)}}}}}\n"
            "outputs: {results: r, late: l, dead_letter: d}\n"
        )
        return path

    return make


def test_each_kind_goes_to_the_input_that_takes_it_in_its_type():
    spec = load(LOBBY)
    assert [choose_input(spec, file, ()) for file in (WAV, PNG, TXT)] == [
        Target("lobby.audio", "audio/L16;rate=16000;channels=1"),
        Target("lobby.video", "image/jpeg"),
        Target("lobby.text", "text/plain"),
    ]


def test_of_two_inputs_of_a_kind_the_one_of_the_files_type_takes_it(pipeline_file):
    spec = load(
        pipeline_file(
            "  front: {topic: f, type: image/jpeg}\n  back: {topic: b, type: image/png}",
            "  x: {encoder: color_histogram, of: front}\n  y: {encoder: color_histogram, of: back}",
        )
    )
    assert choose_input(spec, JPEG, ()).topic == "f"
    assert choose_input(spec, PNG, ()).topic == "b"
    assert choose_input(spec, PNG, ["front"]) == Target("f", "image/jpeg")
    with pytest.raises(InvalidInput, match="no input of pipeline 'p' takes audio"):
        choose_input(spec, WAV, ())
    with pytest.raises(InvalidInput, match="--input = side: pipeline 'p' has no such input"):
        check_inputs(spec, ["front", "side"])


def test_two_inputs_of_one_type_have_to_be_named(pipeline_file):
    spec = load(
        pipeline_file(
            "  here: {topic: h, type: text/plain}\n  there: {topic: t, type: text/plain}",
            "  x: {encoder: hash_text, of: [here, there]}",
        )
    )
    with pytest.raises(InvalidInput, match="here, there all take text; choose with --input here"):
        choose_input(spec, TXT, ())
    assert choose_input(spec, TXT, ["there"]).topic == "t"


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("payload: {json: text}", "inputs.chat.payload: publish sends plain media"),
        ("time: {json: ts, unit: ms}", "inputs.chat.time: publish sends plain media"),
        ("stream: partition", "inputs.chat.stream = partition: publish sends by stream id"),
    ],
)
def test_inputs_that_are_no_plain_records_by_key_are_refused(pipeline_file, extra, said):
    inputs = f"  chat: {{topic: t, type: text/plain, {extra}}}"
    spec = load(pipeline_file(inputs, "  x: {encoder: hash_text, of: chat}"))
    with pytest.raises(InvalidInput) as error:
        choose_input(spec, TXT, ())
    assert str(error.value).startswith(said)


def test_a_stream_that_a_header_names_is_sent_in_that_header(pipeline_file):
    inputs = "  chat: {topic: t, type: text/plain, stream: 'header:camera'}"
    spec = load(pipeline_file(inputs, "  x: {encoder: hash_text, of: chat}"))
    assert choose_input(spec, TXT, ()).stream_header == "camera"


@pytest.fixture
def broker():
    broker = MemoryBroker(clock.wall_us)
    for topic in ("a", "b"):
        create(broker, topic, 4)
    return broker


def create(broker: MemoryBroker, topic: str, partitions: int, **config: str) -> None:
    named = {key.replace("_", "."): value for key, value in config.items()}
    MemoryConnector(broker).control().create_topic(topic, partitions, None, named)


def lines_of(folder: Path, topic: str, stream: str, text: str) -> Timeline:
    path = folder / f"{topic}-{stream}.txt"
    path.write_text(text)
    return Timeline(Target(topic), stream, (SourceFile(path, "text", "text/plain"),), S)


def play(connector: MemoryConnector, lines: list[Timeline], **how):
    stop = how.pop("stop", threading.Event())
    given = {"period_us": S, "loops": 1, "start_us": 100 * S, "realtime": False, **how}
    return play_to(connector, Play(lines, **given), "make it", stop)


def published(broker: MemoryBroker, topic: str):
    """The records of a topic by partition, as a reader gets them."""
    source = MemoryConnector(broker).source()
    source.assign({TopicPartition(topic, number): 0 for number in range(4)})
    return {fetch.partition: fetch.records for fetch in source.poll(0) if fetch.records}


def test_a_stream_has_one_partition_in_all_topics(broker, tmp_path):
    lines = [lines_of(tmp_path, topic, s, "x\ny") for topic in "ab" for s in ("s", "t", "u")]
    done = play(MemoryConnector(broker), lines)
    assert done.as_json() == {
        "records": 12,
        "bytes": 12,
        "streams": 3,
        "topics": ["a", "b"],
        "first": "1970-01-01T00:01:40.000000Z",
        "last": "1970-01-01T00:01:42.000000Z",
    }
    for topic in "ab":
        for partition, records in published(broker, topic).items():
            assert {partition_for(record.key, 4) for record in records} == {partition}
            times = [dict(record.headers)["ce_time"] for record in records]
            assert times == sorted(times)


def test_a_topic_that_is_missing_is_an_error_and_is_not_made(broker, tmp_path):
    with pytest.raises(InvalidInput, match="topic = c: it is not there; make it"):
        play(MemoryConnector(broker), [lines_of(tmp_path, "c", "s", "x")])
    assert broker.info("c") is None


def test_topics_of_unequal_partition_counts_would_tear_a_stream_apart(broker, tmp_path):
    create(broker, "c", 3)
    with pytest.raises(InvalidInput, match="a has 4, c has 3: the topics differ"):
        play(MemoryConnector(broker), [lines_of(tmp_path, t, "s", "x") for t in "ac"])
    assert published(broker, "a") == {}


def test_a_record_that_the_topic_does_not_take_ends_it_after_those_before_it(broker, tmp_path):
    create(broker, "small", 1, max_message_bytes="1000")
    line = lines_of(tmp_path, "small", "s", f"x\n{'y' * 2000}\nz")
    with pytest.raises(MotetError) as error:
        play(MemoryConnector(broker), [line])
    assert "max.message.bytes" in str(error.value)
    assert "(records sent before it: 1)" in str(error.value)
    assert error.value.exit_code == 1
    assert len(published(broker, "small")[0]) == 1


def test_a_file_that_breaks_on_the_way_has_failed_while_running(broker, tmp_path):
    line = lines_of(tmp_path, "a", "s", "x")
    gone = SourceFile(tmp_path / "gone.txt", "text", "text/plain")
    with pytest.raises(MotetError, match=r"gone.txt: .*\(records sent before it: 1") as error:
        play(MemoryConnector(broker), [Timeline(line.target, "s", (*line.files, gone), S)])
    assert error.value.exit_code == 1


def test_by_default_it_ends_now_and_reaches_into_no_future(broker, tmp_path):
    before_us = clock.wall_us() // S * S
    line = lines_of(tmp_path, "a", "s", "x")
    short = play(MemoryConnector(broker), [line], start_us=None)
    assert before_us - 2 * S <= short.first_us <= clock.wall_us()
    long = play(MemoryConnector(broker), [line], start_us=None, period_us=100 * S, loops=10)
    assert before_us - 1001 * S <= long.first_us <= clock.wall_us() - 1000 * S
    assert long.last_us <= clock.wall_us()


def test_in_real_time_a_record_waits_until_it_is_due(broker, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("x\ny\nz")
    files = (SourceFile(path, "text", "text/plain"),)
    began_us = clock.monotonic_us()
    play(MemoryConnector(broker), [Timeline(Target("a"), "s", files, 100_000)], realtime=True)
    assert clock.monotonic_us() - began_us >= 200_000


def test_a_stop_ends_an_endless_loop_cleanly(broker, tmp_path):
    stop = threading.Event()
    sent = []

    class Told(MemoryConnector):
        def publisher(self):
            inner = super().publisher()
            send = inner.send

            def count(record):
                sent.append(record)
                if len(sent) == 3:
                    stop.set()
                send(record)

            inner.send = count
            return inner

    line = Timeline(Target("a"), "s", lines_of(tmp_path, "a", "s", "x").files, 1000)
    done = play(Told(broker), [line], period_us=1000, loops=None, realtime=True, stop=stop)
    assert done.records == len(sent) == 3


def test_many_streams_at_once_raise_the_limit_of_open_files_or_say_so(monkeypatch):
    limits = [(256, 1024)]
    monkeypatch.setattr(publish_play.resource, "getrlimit", lambda _which: limits[-1])
    monkeypatch.setattr(publish_play.resource, "setrlimit", lambda _w, to: limits.append(to))
    publish_play.allow_open_files(500)
    assert limits[-1] == (756, 1024)
    with pytest.raises(InvalidInput, match="2000 streams: that many streams need 2256 open files"):
        publish_play.allow_open_files(2000)


# -- films ------------------------------------------------------------------------------------


def test_a_films_sound_and_pictures_go_each_to_the_input_that_takes_it(tmp_path):
    file = film(tmp_path / "a.mp4", sound=tone(3))
    found = targeted([file], To(spec=load(LOBBY)))
    assert [(part.kind, target.topic) for part, target in found] == [
        ("audio", "lobby.audio"),
        ("image", "lobby.video"),
    ]
    [(part, target)] = targeted([file], To(spec=load(LOBBY), kind="image"))
    assert (part.kind, target.content_type) == ("image", "image/jpeg")
    [(part, target)] = targeted([file], To(spec=load(LOBBY), only=("mic",)))
    assert (part.kind, target.content_type) == ("audio", "audio/L16;rate=16000;channels=1")


def test_what_of_a_film_no_input_takes_is_left_out_and_said(tmp_path, capsys, pipeline_file):
    file = film(tmp_path / "a.mp4", sound=tone(3))
    cam = pipeline_file(
        "  cam: {topic: c, type: image/png}", "  x: {encoder: color_histogram, of: cam}"
    )
    [(part, target)] = targeted([file], To(spec=load(cam)))
    assert (part.kind, target) == ("image", Target("c", "image/png"))
    assert "a.mp4: its audio is left out, since no input takes it" in capsys.readouterr().err
    chat = pipeline_file(
        "  chat: {topic: t, type: text/plain}", "  x: {encoder: hash_text, of: chat}"
    )
    with pytest.raises(InvalidInput, match="no input takes the sound or the pictures of a film"):
        targeted([file], To(spec=load(chat)))


def test_a_topic_takes_one_kind_of_a_film(tmp_path):
    file = film(tmp_path / "a.mp4", sound=tone(3))
    with pytest.raises(InvalidInput, match="add --kind audio or --kind image"):
        targeted([file], To("t"))
    [(part, target)] = targeted([file], To("t", kind="audio"))
    assert (part.kind, target) == ("audio", Target("t"))
    mute = film(tmp_path / "mute.mp4")
    assert [part.kind for part, _ in targeted([mute], To("t"))] == ["image"]
    with pytest.raises(InvalidInput, match=r"--kind = audio: .*mute.mp4 holds none"):
        targeted([mute], To("t", kind="audio"))


@pytest.mark.parametrize(
    ("media", "kind"),
    [
        ("video/mp4", "image"),
        ("video/H264", "image"),
        ("image/png", "image"),
        ("audio/L16;rate=16000;channels=1", "audio"),
    ],
)
def test_a_type_says_which_part_of_a_film_goes_to_a_topic(tmp_path, media, kind):
    file = film(tmp_path / "a.mp4", sound=tone(3))
    [(part, target)] = targeted([file], To("t", parse_media_type(media)))
    assert (part.kind, target) == (kind, Target("t", media))


@pytest.mark.parametrize(
    ("name", "media", "said"),
    [
        ("a.txt", "image/png", "--type = image/png: a.txt holds text; leave it out, or give"),
        ("a.png", "video/mp4", "--type = video/mp4: a.png holds image; leave it out, or give"),
        ("a.wav", "audio/aac", "type = audio/aac: publish cannot write this type: AAC in ADTS"),
    ],
)
def test_a_type_that_a_file_cannot_go_as_is_refused_before_anything_is_sent(name, media, said):
    file = {"a.txt": TXT, "a.png": PNG, "a.wav": WAV}[name]
    with pytest.raises(InvalidInput) as error:
        targeted([file], To("t", parse_media_type(media)))
    assert str(error.value).startswith(said)


@pytest.mark.parametrize(
    ("fps", "hop", "expected"),
    [
        (None, "1s", 2),
        (None, "250ms", 4),
        ("1/2", "250ms", Fraction(1, 2)),
        ("0.1", "1s", Fraction(1, 10)),
    ],
)
def test_pictures_are_two_a_second_and_one_a_window_at_least_unless_told(fps, hop, expected):
    spec = load(LOBBY, overrides={"windows.hop": hop})
    assert pictures(fps, 320, spec) == Pictures(Fraction(expected), 320)
    assert pictures(None, None, None).fps == 2


@pytest.mark.parametrize("fps", ["many", "0", "-1", "1/0", "1e9", "nan"])
def test_a_rate_that_cannot_be_says_so(fps):
    with pytest.raises(InvalidInput, match=f"--fps = {fps}: "):
        pictures(fps, None, None)


def test_a_film_is_sent_in_the_order_of_its_times(broker, tmp_path):
    file = film(tmp_path / "a.mp4", sound=tone(3))
    chosen = [(part, Target("a" if part.kind == "audio" else "b")) for part in parts(file)]
    lines = timelines(chosen, S, "cam-7", Pictures(Fraction(5)))
    done = play(MemoryConnector(broker), lines, period_us=3 * S)
    assert done.records == 3 + 15 or done.records == 4 + 15  # AAC may end with a part of a chunk
    [sound] = published(broker, "a").values()
    [shown] = published(broker, "b").values()
    times = [dict(record.headers)["ce_time"] for record in shown]
    assert [time[17:22] for time in times] == [b"%05.2f" % (40 + n / 5) for n in range(15)]
    assert dict(sound[0].headers)["content-type"] == b"audio/L16;rate=48000;channels=1"
    assert {record.key for record in [*sound, *shown]} == {b"cam-7"}
