"""What names a live source, what it is shown as, and what it is opened with."""

from __future__ import annotations

import pytest

from pipeline.connectors.live import is_live, live_source, source_options
from pipeline.errors import InvalidInput


@pytest.mark.parametrize(
    ("source", "form", "address", "name", "stream"),
    [
        ("/dev/video0", "v4l2", "/dev/video0", "/dev/video0", "video0"),
        ("v4l2:/dev/video2", "v4l2", "/dev/video2", "v4l2:/dev/video2", "dev-video2"),
        ("alsa:hw:1,0", "alsa", "hw:1,0", "alsa:hw:1,0", "hw-1-0"),
        ("avfoundation:0", "avfoundation", "0", "avfoundation:0", "0"),
        ("-", None, "pipe:0", "-", "stdin"),
        (
            "rtsp://me:pass@cam.example:8554/hall/1.sdp?token=x",
            None,
            "rtsp://me:pass@cam.example:8554/hall/1.sdp?token=x",
            "rtsp://cam.example:8554/hall/1.sdp",
            "1",
        ),
        ("udp://239.0.0.1:1234", None, "udp://239.0.0.1:1234", "udp://239.0.0.1:1234", "239.0.0.1"),
    ],
)
def test_a_source_is_what_opens_it_and_a_name_without_secrets(source, form, address, name, stream):
    assert is_live(source)
    found = live_source(source, {})
    assert (found.form, found.address, found.name, found.stream) == (form, address, name, stream)


@pytest.mark.parametrize("source", ["a.wav", "talk: part 1.wav", "folder", "alsa", "video0", "C:x"])
def test_files_are_no_live_sources(source):
    assert not is_live(source)


def test_a_file_that_is_called_like_a_device_is_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert is_live("alsa:x.wav")
    (tmp_path / "alsa:x.wav").touch()
    assert not is_live("alsa:x.wav")


def test_options_go_before_what_is_taken_otherwise():
    assert dict(live_source("rtsp://h/a", {}).options) == {"rtsp_transport": "tcp"}
    given = {"rtsp_transport": "udp", "stimeout": "1"}
    assert dict(live_source("rtsp://h/a", given).options) == given
    assert dict(live_source("/dev/video0", {"framerate": "30"}).options) == {
        "ts": "abs",
        "framerate": "30",
    }
    assert source_options(["video_size=1x1", "headers=a=b"]) == {
        "video_size": "1x1",
        "headers": "a=b",
    }


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/dev/null", "SOURCE = /dev/null: it is no camera; give a camera as /dev/video0"),
        ("file:///a.wav", "SOURCE = file:///a.wav: it is a file; give its path"),
        ("rtsp://me:pass@h:port/a", "SOURCE = h:port/a: it is no URL ("),
    ],
)
def test_what_is_no_live_source_says_so(source, said):
    with pytest.raises(InvalidInput) as error:
        live_source(source, {})
    assert str(error.value).startswith(said)
    assert "pass" not in str(error.value)
