"""Servers of live media for tests: real HTTP and RTSP, and connections that break off."""

from __future__ import annotations

import io
import multiprocessing
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import av
import numpy as np
from films import FPS, grey

RATE = 16_000
SIZE = (64, 48)
Serve = Callable[[int, Callable[[bytes], None], threading.Event], None]


def encode(out: Any, seconds: float, first: int = 0, gop: int = 5) -> Iterator[int]:
    """Grey pictures from number ``first`` on, and a tone; yields after each picture was muxed."""
    options = {"g": str(gop), "tune": "zerolatency", "sc_threshold": "0"}
    video = out.add_stream("libx264", rate=FPS, options=options)
    video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
    audio = out.add_stream("aac", rate=RATE, layout="mono")
    each = RATE // FPS
    for n in range(round(seconds * FPS)):
        picture = np.full((SIZE[1], SIZE[0], 3), grey(first + n), np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, FPS)
        out.mux(video.encode(frame))
        t = np.arange(n * each, (n + 1) * each) / RATE
        wave = (np.sin(2 * np.pi * 440 * t) * 12_000).astype(np.int16)
        sound = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        sound.rate, sound.pts, sound.time_base = RATE, n * each, Fraction(1, RATE)
        out.mux(audio.encode(sound))
        yield n
    out.mux(audio.encode(None))
    out.mux(video.encode(None))


def transport_stream(seconds: float, first: int = 0) -> list[bytes]:
    """MPEG-TS in one piece for each picture, and one for the rest."""
    sink = io.BytesIO()
    pieces: list[bytes] = []

    def drain() -> None:
        pieces.append(sink.getvalue())
        sink.seek(0)
        sink.truncate()

    with av.open(sink, "w", format="mpegts", options={"flush_packets": "1"}) as out:
        for _ in encode(out, seconds, first):
            drain()
    drain()
    return pieces


def in_real_time(pieces: list[bytes], write: Callable[[bytes], None], end: threading.Event) -> None:
    """Writes a piece each 1/FPS s, as a camera would, until ``end``."""
    began = time.monotonic()
    for number, piece in enumerate(pieces):
        if end.wait(max(0.0, began + number / FPS - time.monotonic())):
            return
        write(piece)


class Server(ThreadingHTTPServer):
    """``begins``: the byte at which each connection asked to begin."""

    daemon_threads = False
    begins: list[int]
    serve: Serve
    content_type: str
    length: int | None
    connections = 0
    ending: threading.Event


class _Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.connections += 1
        begin = int(self.headers.get("Range", "bytes=0-")[len("bytes=") :].split("-")[0])
        self.server.begins.append(begin)
        length = self.server.length
        self.send_response(206 if begin else 200)
        self.send_header("Content-Type", self.server.content_type)
        if length is not None:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(length - begin))
            self.send_header("Content-Range", f"bytes {begin}-{length - 1}/{length}")
        self.end_headers()
        with suppress(BrokenPipeError, ConnectionResetError):  # the reader has had enough
            self.server.serve(self.server.connections, self.wfile.write, self.server.ending)

    def log_message(self, *_args: object) -> None:
        pass


@contextmanager
def http_server(
    serve: Serve, content_type: str = "video/mp2t", length: int | None = None, port: int = 0
) -> Iterator[Server]:
    """Serves every GET by ``serve(number of the connection, write, ending)``."""
    with Server(("127.0.0.1", port), _Handler) as server:
        server.serve, server.content_type, server.length = serve, content_type, length
        server.begins = []
        server.ending = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.ending.set()
            server.shutdown()
            thread.join()


def url_of(server: Server, path: str = "/cam.ts") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}{path}"


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def rtsp_camera(url: str, seconds: float) -> Iterator[None]:
    """A camera that announces itself to a listener at ``url`` and sends ``seconds`` of media.

    A process of its own: FFmpeg's two ends of RTSP in one process wait for each other.
    """
    camera = multiprocessing.get_context("spawn").Process(target=_send_rtsp, args=(url, seconds))
    camera.start()
    try:
        yield
    finally:
        camera.join(20)
        if camera.is_alive():
            camera.kill()
            camera.join()
        camera.close()


def _send_rtsp(url: str, seconds: float) -> None:
    host, _, port = url.split("/")[2].partition(":")
    _await_listener(host, int(port))
    with av.open(url, "w", format="rtsp", options={"rtsp_transport": "tcp"}) as out:
        began = time.monotonic()
        for number in encode(out, seconds):
            time.sleep(max(0.0, began + number / FPS - time.monotonic()))


def _await_listener(host: str, port: int) -> None:
    """Looks for the listener without connecting to it: it takes one connection only."""
    wanted = f"{port:04X}"
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with open("/proc/net/tcp") as table:
            for line in table.readlines()[1:]:
                _, local, _, state = line.split()[:4]
                if state == "0A" and local.endswith(f":{wanted}"):
                    return
        time.sleep(0.02)
    raise TimeoutError(f"nobody listens at {host}:{port}")
