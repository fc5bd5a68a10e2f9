"""Live sources of publish: real servers and devices of FFmpeg, in memory instead of Kafka."""

from __future__ import annotations

import io
import itertools
import threading
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from films import FPS, film, grey, tone
from live_servers import (
    RATE,
    Serve,
    free_port,
    http_server,
    in_real_time,
    rtsp_camera,
    transport_stream,
    url_of,
)
from PIL import Image

from pipeline import clock
from pipeline.cli.publish_live import Aired, Live, play_live
from pipeline.cli.publish_play import Play
from pipeline.cli.publish_target import To
from pipeline.connectors.files import PICTURES, SourceFile, Target, Timeline
from pipeline.connectors.live import live_source
from pipeline.connectors.live_connection import connect, inputs_here
from pipeline.connectors.memory import MemoryConnector
from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.errors import InvalidInput
from pipeline.media.film import read_film, shown_frames
from pipeline.slot.ports import LogRecord, OutRecord, TopicPartition
from pipeline.spec import loads
from pipeline.spec.media_type import parse_media_type
from pipeline.spec.units import parse_rfc3339_us

S = 1_000_000
LIMIT_S = 40


class Air:
    """A broker in memory with one partition a topic, and a publish that stops when it shall."""

    def __init__(self, *topics: str) -> None:
        self.broker = MemoryBroker(clock.wall_us)
        self.connector = Watched(self.broker)
        for topic in topics:
            self.connector.control().create_topic(topic, 1, None, {})

    def play(
        self,
        sources: Sequence[str],
        to: To,
        until: Callable[[], bool] = lambda: False,
        *,
        options: dict[str, str] | None = None,
        retry_us: int = 20 * S,
        buffer_bytes: int = 1 << 24,
        chunk_us: int = 400_000,
        files: Sequence[Timeline] = (),
    ) -> Aired:
        """Publishes until the sources end, or ``until``, asked after each record, is true."""
        stop = threading.Event()
        self.connector.after = lambda: until() and stop.set()
        late = threading.Timer(LIMIT_S, stop.set)
        late.start()
        found = [live_source(source, options or {}) for source in sources]
        pictures = PICTURES._replace(fps=Fraction(5))
        live = Live(found, None, chunk_us, pictures, retry_us, buffer_bytes)
        play = Play(files, S, 1, None, True)
        aired = play_live(self.connector, live, play, to, "make it", stop)
        assert late.is_alive(), "it did not end by itself"
        late.cancel()
        return aired

    def log(self, topic: str) -> list[LogRecord]:
        source = self.connector.source()
        source.assign({TopicPartition(topic, 0): 0})
        return [record for fetch in source.poll(0) for record in fetch.records]

    def count(self, topic: str) -> int:
        return self.connector.control().stable_ends([TopicPartition(topic, 0)])[
            TopicPartition(topic, 0)
        ]


class Watched(MemoryConnector):
    """Tells after each record that it was sent."""

    after: Callable[[], object]

    def publisher(self):
        inner = super().publisher()
        send = inner.send

        def tell(record: OutRecord) -> None:
            send(record)
            self.after()

        inner.send = tell
        return inner

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)


def playing(seconds: float) -> Serve:
    """Serves a transport stream from its beginning, in real time."""
    pieces = transport_stream(seconds)

    def serve(_number, write, ending):
        in_real_time(pieces, write, ending)

    return serve


def header(record: LogRecord, name: str) -> str:
    return dict(record.headers)[name].decode()


def begin_us(record: LogRecord) -> int:
    return parse_rfc3339_us(header(record, "ce_time"))


def end_us(record: LogRecord) -> int:
    if header(record, "content-type").startswith("audio/"):
        return begin_us(record) + len(record.value) // 2 * S // RATE
    return begin_us(record) + int(header(record, "ce_mediadur"))


def demand_sound_order(records: Sequence[LogRecord]) -> None:
    """Event times never run back or overlap, lie in no future, and sequences have no gap."""
    assert [int(header(r, "ce_sequence")) for r in records] == list(range(len(records)))
    for one, other in itertools.pairwise(records):
        assert end_us(one) <= begin_us(other)
    for record in records:
        # a picture stands until its tick ends; the log's timestamps are milliseconds
        taken_us = end_us(record) if "audio" in header(record, "content-type") else begin_us(record)
        assert taken_us <= record.timestamp_us + 1_000


def level(record: LogRecord) -> float:
    with Image.open(io.BytesIO(record.value)) as image:
        return float(np.asarray(image.convert("L")).mean())


def shown(record: LogRecord, numbers: Sequence[int]) -> int:
    """Which of the pictures ``numbers`` a record holds, by its grey."""
    return min(numbers, key=lambda n: abs(grey(n) - level(record)))


BOTH = """
version: 1
name: p
inputs:
  mic: {topic: mic, type: "audio/L16;rate=16000;channels=1"}
  cam: {topic: cam, type: image/jpeg}
windows: {size: 1s}
stages: {x: {encoder: log_mel, of: mic}, y: {encoder: color_histogram, of: cam}}
fusion: {rule: concat, of: {x: 1, y: 1}}
outputs: {results: r, late: l, dead_letter: d}
"""


def test_a_device_is_read_in_real_time_until_it_is_stopped(capsys):
    """FFmpeg's test picture stands for a camera: another name of a format, the same way."""
    air = Air("cam")
    began_us = clock.wall_us()
    aired = air.play(
        ["lavfi:testsrc2=size=64x48:rate=25"], To("cam"), lambda: air.count("cam") >= 6
    )
    records = air.log("cam")
    assert aired.failures == []
    assert aired.published.records == len(records) == 6
    demand_sound_order(records)
    assert began_us <= begin_us(records[0]) <= clock.wall_us()
    assert 790_000 <= begin_us(records[-1]) - begin_us(records[0]) <= 1_010_000
    assert all(record.timestamp_us - begin_us(record) < 2 * S for record in records)
    assert {record.key for record in records} == {b"testsrc2-size-64x48-rate-25"}
    assert "image to cam, as stream testsrc2-size-64x48-rate-25; Ctrl-C ends it" in (
        capsys.readouterr().err
    )


def test_a_url_that_breaks_off_is_connected_again_and_its_times_go_on(capsys):
    """The first connection breaks in the middle of a picture; both kinds share a timebase."""
    first, second = transport_stream(1.6), transport_stream(20, first=10)

    def serve(number, write, ending):
        if number == 1:
            in_real_time([*first[:35], first[35][:100]], write, ending)
        else:
            in_real_time(second, write, ending)

    air = Air("mic", "cam")
    with http_server(serve) as server:
        began_us = clock.wall_us()
        aired = air.play(
            [url_of(server)], To(spec=loads(BOTH, folder=Path())), lambda: air.count("cam") >= 16
        )
        away_us = clock.wall_us()
    assert (aired.published.live.reconnects, aired.failures) == (1, [])
    sound, pictures = air.log("mic"), air.log("cam")
    demand_sound_order(sound)
    demand_sound_order(pictures)
    assert began_us - S <= begin_us(pictures[0])
    assert end_us(sound[-1]) <= away_us
    err = capsys.readouterr().err
    assert "cam.ts: lost (" in err
    assert "; it is tried again for 20 s\n" in err
    assert "cam.ts: back after " in err
    # a gap as long as we were away, and what follows comes from the second connection
    gaps = [begin_us(b) - end_us(a) for a, b in itertools.pairwise(sound)]
    [(gap_us, at)] = [(gap, n) for n, gap in enumerate(gaps, 1) if gap > 50_000]
    assert gap_us >= 400_000
    again_us = begin_us(sound[at])
    after = [p for p in pictures if begin_us(p) >= again_us]
    assert abs(level(after[0]) - grey(10)) < 6
    # the sound's first frame is silence of its encoder, 1024 samples before the first picture
    for kind, other in ((sound[0], pictures[0]), (sound[at], after[0])):
        assert abs(begin_us(other) - begin_us(kind) - 64_000) < 1_000
    # each picture stands where it was taken, on the clock of its own connection
    for picture in after:
        number = shown(picture, range(10, 60))
        assert abs(begin_us(picture) - begin_us(after[0]) - (number - 10) * S // FPS) < 2_000


def test_a_source_that_begins_anew_inside_its_connection_goes_on_in_time(capsys):
    """An encoder that was started again: its times run back by 2.4 s, and are laid anew."""
    first, second = transport_stream(2.4), transport_stream(20, first=20)

    def serve(_number, write, ending):
        in_real_time([*first, *second], write, ending)

    air = Air("cam")
    with http_server(serve) as server:
        aired = air.play([url_of(server)], To("cam", kind="image"), lambda: air.count("cam") >= 18)
    assert (aired.published.live.reconnects, aired.failures) == (0, [])
    assert "its own times have leapt" in capsys.readouterr().err
    records = air.log("cam")
    demand_sound_order(records)
    steps = {begin_us(b) - begin_us(a) for a, b in itertools.pairwise(records)}
    assert max(steps) < 600_000, "nothing but the moment of the leap is missing"
    one, other = records[-3], records[-1]  # of the second half, each at its own time there
    assert begin_us(one) - begin_us(records[0]) >= 2_400_000
    between = shown(other, range(20, 50)) - shown(one, range(20, 50))
    assert abs(begin_us(other) - begin_us(one) - between * S // FPS) < 2_000


@pytest.mark.parametrize(("form", "content_type"), [("mp4", "video/mp4"), ("h264", "video/H264")])
def test_moving_pictures_of_a_url_go_out_as_they_are(form, content_type):
    air = Air("cam")
    with http_server(playing(10)) as server:
        to = To("cam", parse_media_type(content_type))
        aired = air.play([url_of(server)], to, lambda: air.count("cam") >= 3)
    records = air.log("cam")
    assert aired.published.live.damaged == 0
    demand_sound_order(records)
    for record in records[:3]:
        film = read_film(form, record.value)
        assert len(shown_frames(film.samples)) == 10  # two groups of five make 0.4 s
        assert end_us(record) - begin_us(record) == 400_000


# A listener stands where a camera is called: the camera's end of RTSP is FFmpeg's own.
LISTEN = {"rtsp_flags": "listen", "listen_timeout": "20"}


def test_rtsp_and_what_is_not_tried_again():
    url = f"rtsp://127.0.0.1:{free_port()}/hall"
    air = Air("t")
    to = To("t", parse_media_type("audio/L16;rate=16000"))
    with rtsp_camera(url, 3):
        aired = air.play([url], to, options=LISTEN, retry_us=0)
    [failure] = aired.failures
    assert failure.startswith(f"{url}: it broke off (")
    records = air.log("t")
    demand_sound_order(records)
    assert {record.key for record in records} == {b"hall"}
    assert 2_800_000 <= sum(end_us(r) - begin_us(r) for r in records) <= 3_200_000


def test_rtsp_over_two_connections():
    """Its parameter sets stand beside the pictures, and its first picture has no time."""
    url = f"rtsp://127.0.0.1:{free_port()}/hall"
    air = Air("t")

    def cameras() -> None:
        for _ in range(2):
            with rtsp_camera(url, 2):
                pass

    sending = threading.Thread(target=cameras)
    sending.start()
    to = To("t", parse_media_type("video/H264"))
    aired = air.play([url], to, lambda: air.count("t") >= 6, options=LISTEN)
    sending.join()
    assert (aired.published.live.reconnects, aired.failures) == (1, [])
    records = air.log("t")
    demand_sound_order(records)
    for record in records:
        film = read_film("h264", record.value)
        assert (film.width, film.height) == (64, 48)
        assert len(shown_frames(film.samples)) * S // FPS == end_us(record) - begin_us(record)
    gaps = [begin_us(b) - end_us(a) for a, b in itertools.pairwise(records)]
    assert sum(gap > 400_000 for gap in gaps) == 1
    assert all(gap == 0 for gap in gaps if gap <= 400_000)


def test_a_web_camera_of_single_pictures():
    boundary = "--frame\r\nContent-Type: image/jpeg\r\n\r\n"

    def serve(_number, write, ending):
        pictures = []
        for number in range(250):
            sink = io.BytesIO()
            Image.new("L", (64, 48), grey(number)).convert("RGB").save(sink, "JPEG")
            pictures.append(boundary.encode() + sink.getvalue() + b"\r\n")
        in_real_time(pictures, write, ending)

    air = Air("cam")
    with http_server(serve, "multipart/x-mixed-replace;boundary=frame") as server:
        air.play([url_of(server, "/view")], To("cam"), lambda: air.count("cam") >= 5)
    records = air.log("cam")
    demand_sound_order(records)
    assert {record.key for record in records} == {b"view"}


def test_a_recording_behind_a_url_plays_once_and_goes_on_at_the_byte_where_it_broke(tmp_path):
    recording = film(tmp_path / "a.mkv", 2, sound=tone(2)).path.read_bytes()
    broken = len(recording) // 2

    def serve(number, write, _ending):
        write(recording[:broken] if number == 1 else recording[server.begins[-1] :])

    air = Air("t")
    with http_server(serve, "video/x-matroska", len(recording)) as server:
        to = To("t", parse_media_type("audio/L16;rate=16000"))
        aired = air.play([url_of(server, "/a.mkv")], to)
        assert broken in server.begins
    records = air.log("t")
    assert aired.failures == []
    demand_sound_order(records)
    assert sum(len(record.value) for record in records) == 2 * 2 * RATE
    assert records[-1].timestamp_us - begin_us(records[0]) >= 1_990_000, "in real time"


def test_what_is_lost_for_too_long_is_given_up_and_the_others_go_on(capsys):
    air = Air("t")
    with http_server(playing(1)) as server:
        gone = f"http://127.0.0.1:{server.server_address[1]}/gone.ts"
        opened = threading.Event()

        def until() -> bool:
            if air.count("t") >= 3 and not opened.is_set():
                opened.set()
                threading.Thread(target=server.shutdown).start()
                server.socket.close()
            return "it is given up" in capsys.readouterr().err

        live = ["lavfi:sine=sample_rate=16000", gone]
        to = To("t", parse_media_type("audio/L16;rate=16000;channels=1"))
        aired = air.play(live, to, until, retry_us=S)
    [failure] = aired.failures
    assert failure.startswith(f"{gone}: lost for 1 s (")
    keys = [record.key for record in air.log("t")]
    assert keys.count(b"sine-sample_rate-16000") > keys.count(b"gone") > 0


def test_a_broker_that_is_slower_loses_the_oldest_and_it_is_counted_and_said(capsys):
    """The first record is held until some were dropped; then everything that waits goes out."""
    air = Air("t")

    def until() -> bool:
        told = 0.0
        while air.count("t") == 1 and "records dropped so far" not in capsys.readouterr().err:
            told += 0.05
            assert told < LIMIT_S
            threading.Event().wait(0.05)
        return air.count("t") >= 8

    to = To("t", parse_media_type("audio/L16;rate=16000;channels=1"))
    source = ["lavfi:sine=sample_rate=16000"]
    aired = air.play(source, to, until, buffer_bytes=20_000, chunk_us=100_000)
    numbers = [int(header(record, "ce_sequence")) for record in air.log("t")]
    assert aired.published.live.dropped > 0
    assert numbers == sorted(numbers)
    assert numbers[-1] + 1 == len(numbers) + aired.published.live.dropped


def test_files_play_beside_a_live_source_from_now_on(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("one\ntwo\nthree")
    notes = Timeline(Target("text"), "s", (SourceFile(path, "text", "text/plain"),), 300_000)
    air = Air("text", "t")
    live = ["lavfi:sine=sample_rate=16000"]
    to = To("t", parse_media_type("audio/L16;rate=16000;channels=1"))
    air.play(live, to, lambda: air.count("text") == 3 and air.count("t") > 1, files=[notes])
    lines = air.log("text")
    assert [record.value for record in lines] == [b"one", b"two", b"three"]
    assert [begin_us(line) - begin_us(lines[0]) for line in lines] == [0, 300_000, 600_000]
    assert 0 <= lines[2].timestamp_us - begin_us(lines[2]) < S
    assert abs(begin_us(lines[0]) - begin_us(air.log("t")[0])) < 2 * S


# -- what cannot be opened --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "/dev/video97",
            "SOURCE = /dev/video97: there is no such device; `ls /dev/video*` shows the cameras",
        ),
        ("dshow:Camera", "this build of PyAV has no input 'dshow' (it has "),
        ("nosuch://x/y", "SOURCE = nosuch://x/y: it cannot be opened (Protocol not found)"),
        ("http://user:secret@127.0.0.1:1/a?key=secret", "SOURCE = http://127.0.0.1:1/a: it cannot"),
        ("lavfi:nosuch", "SOURCE = lavfi:nosuch: it cannot be opened ("),
    ],
)
def test_a_source_that_cannot_be_opened_says_why_and_nothing_is_sent(source, said):
    with pytest.raises(InvalidInput) as error:
        Air("t").play([source], To("t"))
    assert said in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_of_several_sources_every_one_that_cannot_be_opened_is_told():
    sources = ["lavfi:sine", "/dev/video97", "http://127.0.0.1:1/a"]
    with pytest.raises(InvalidInput) as error:
        Air("t").play(sources, To("t"))
    assert [str(problem).split(": ")[0] for problem in error.value.problems] == [
        "SOURCE = /dev/video97",
        "SOURCE = http://127.0.0.1:1/a",
    ]


def test_a_source_whose_pictures_are_of_another_codec_is_refused_before_anything_is_sent():
    air = Air("t")
    with pytest.raises(InvalidInput, match=r"pictures are .*, not video/H264; give the input type"):
        air.play(["lavfi:testsrc2"], To("t", parse_media_type("video/H264")))
    assert air.count("t") == 0


def test_two_sources_cannot_be_one_stream():
    with pytest.raises(InvalidInput, match="lavfi:sine is stream sine of topic t too"):
        Air("t").play(["lavfi:sine", "lavfi:sine"], To("t"))


# -- a microphone -----------------------------------------------------------------------------

ALSA = """
pcm.nothing {{ type null }}
pcm.mouth {{
    type file
    slave.pcm nothing
    file /dev/null
    infile "{infile}"
    format raw
}}
"""


@pytest.mark.skipif("alsa" not in inputs_here(), reason="PyAV has no ALSA here")
def test_a_microphone_by_alsa(tmp_path, monkeypatch):
    """ALSA's own file plugin speaks: no hardware, and the same library and way."""
    wave = (np.sin(np.arange(48_000 * 30) / 8) * 9_000).astype("<i2")
    (tmp_path / "in.raw").write_bytes(wave.tobytes())
    config = tmp_path / "asound.conf"
    config.write_text(ALSA.format(infile=tmp_path / "in.raw"))
    monkeypatch.setenv("ALSA_CONFIG_PATH", str(config))
    connection = connect(live_source("alsa:mouth", {"sample_rate": "16000", "channels": "1"}))
    assert connection.kinds() == ["audio"]
    stream = connection.stream("audio")
    packets = list(itertools.islice(connection.packets([stream]), 50))
    connection.close()
    heard = np.frombuffer(b"".join(bytes(p.packet) for p in packets), "<i2")
    assert (heard == wave[: len(heard)]).all()
    for arrived in packets:
        assert abs(arrived.packet.pts - arrived.arrival_us) < S, "its times are the wall clock's"


def test_where_alsa_finds_no_configuration_it_says_what_to_do(tmp_path, monkeypatch):
    if "alsa" not in inputs_here():
        pytest.skip("PyAV has no ALSA here")
    monkeypatch.delenv("ALSA_CONFIG_PATH", raising=False)
    missing = tmp_path / "alsa.conf"
    monkeypatch.setattr("pipeline.connectors.live_connection._ALSA_CONFIG_FILE", missing)
    with pytest.raises(InvalidInput) as error:
        connect(live_source("alsa:default", {}))
    assert f"ALSA has no {missing}; install ALSA" in str(error.value)
    assert "motet publish ... -" in str(error.value)
