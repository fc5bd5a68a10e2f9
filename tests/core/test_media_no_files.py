"""Decoding touches neither files nor the network, whatever a payload asks for."""

from __future__ import annotations

import ctypes
import os
import pickle
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import av
import pytest
from decoding import outcome, sound_payloads
from moving_pictures import encoded

_IN_OPEN, _IN_NONBLOCK = 0x20, 0o4000


# -- payloads that name other files and addresses ----------------------------------------------


def dref(url: str, *, embedded: bool) -> bytes:
    """An MP4 whose data reference is ``url``; ``embedded``: it says that the data are in it."""
    whole = encoded(5, movflags="frag_keyframe+empty_moov+default_base_moof")
    at = whole.index(b"dref") - 4
    entry = struct.pack(">I", 0 if not embedded else 1) + url.encode() + b"\0"
    entry = struct.pack(">I4s", 8 + len(entry), b"url ") + entry
    box = struct.pack(">I4sII", 16 + len(entry), b"dref", 0, 1) + entry
    size = int.from_bytes(whole[at : at + 4], "big")
    grown = len(box) - size
    found = bytearray(whole[:at] + box + whole[at + size :])
    for parent in (b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = found.rindex(parent, 0, at) - 4
        held = int.from_bytes(found[place : place + 4], "big")
        found[place : place + 4] = (held + grown).to_bytes(4, "big")
    return bytes(found)


def playlists(path: str, address: str) -> list[bytes]:
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video {} RTP/AVP 96\n"
    texts = [
        f"ffconcat version 1.0\nfile '{path}'\n",
        hls.format(path),
        hls.format(f"file://{path}"),
        hls.format(f"http://{address}/a.ts"),
        sdp.format(address.rpartition(":")[2]),
        f"<MPD><Period><BaseURL>http://{address}/</BaseURL></Period></MPD>",
    ]
    return [text.encode() for text in texts]


FRAMED = ("video/mp4", "video/H264", "audio/mpeg", "audio/aac", "audio/ogg", "audio/flac")


def baits(path: str, address: str) -> list[tuple[str, bytes]]:
    named = [(media, text) for media in FRAMED for text in playlists(path, address)]
    urls = (path, f"file://{path}", f"http://{address}/a.mp4")
    return named + [("video/mp4", dref(url, embedded=e)) for url in urls for e in (False, True)]


@contextmanager
def opens(folder: Path) -> Iterator[list[bytes]]:
    """What the kernel tells of files that were opened in a folder, by whatever library."""
    libc = ctypes.CDLL(None, use_errno=True)
    watching = libc.inotify_init1(_IN_NONBLOCK)
    assert watching >= 0
    told: list[bytes] = []
    try:
        assert libc.inotify_add_watch(watching, os.fsencode(folder), _IN_OPEN) >= 0
        yield told
        with suppress(BlockingIOError):
            told.append(os.read(watching, 1 << 16))
    finally:
        os.close(watching)


def test_no_payload_makes_a_decoder_open_a_file_or_a_connection(tmp_path):
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(encoded(5))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with opens(tmp_path) as told:
            for media, payload in baits(str(secret), address):
                found = outcome(media, payload)
                assert found.startswith("undecodable") or media == "video/mp4", (media, payload)
        assert told == []
        with pytest.raises(BlockingIOError):
            server.accept()


def test_the_baits_are_live_for_who_takes_them(tmp_path):
    """So that the test above cannot pass by baits that nobody would take."""
    secret, bait = tmp_path / "secret.mp4", tmp_path / "list.ffconcat"
    secret.write_bytes(encoded(5))
    bait.write_bytes(playlists(str(secret), "127.0.0.1:9")[0])
    with opens(tmp_path) as told, av.open(str(bait), options={"safe": "0"}) as container:
        assert len(list(container.decode(video=0))) == 5
    assert b"secret.mp4" in b"".join(told)


# -- and nothing that is sound needs one --------------------------------------------------------

BARRED = """
import pickle, resource, sys
sys.path[:0] = pickle.load(sys.stdin.buffer)
from decoding import outcome

payloads = pickle.load(sys.stdin.buffer)
for media, payload in payloads:
    outcome(media, payload)  # what is imported on the way is
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    open("/dev/null")
except OSError:
    print("barred")
print(*(outcome(media, payload) for media, payload in payloads), sep="\\n")
"""


def test_a_process_that_can_open_nothing_decodes_the_same():
    payloads = sound_payloads()
    here = [outcome(media, payload) for media, payload in payloads]
    assert not any(each.startswith("undecodable") for each in here)
    ran = subprocess.run(
        [sys.executable, "-c", BARRED],
        input=pickle.dumps(sys.path) + pickle.dumps(payloads),
        capture_output=True,
        timeout=110,
        check=True,
    )
    assert ran.stdout.decode().splitlines() == ["barred", *here]
