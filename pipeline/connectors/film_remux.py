"""A film's pictures as records of moving pictures, cut at key frames and not encoded again."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.connectors import film_media
from pipeline.connectors.files import Piece
from pipeline.connectors.sound_file import unreadable
from pipeline.errors import UndecodableRecord
from pipeline.media.film import read_film
from pipeline.spec.media_type import parse_media_type

# What a pipeline reads, by FFmpeg's names of codecs.
CODECS = {"mp4": ("h264", "hevc", "av1", "vp9", "mpeg4"), "h264": ("h264",)}
KEY_FRAMES = "set its key frame interval to a second or two, or give the input type image/jpeg"
START_CODES = (b"\x00\x00\x01", b"\x00\x00\x00\x01")
AS_JPEG = "give the input type image/jpeg, or encode it first: ffmpeg -i FILM -c:v libx264 out.mp4"


def film_pieces(path: Path, content_type: str, chunk_us: int) -> Iterator[Piece]:
    """Records of ``video/mp4`` (whole small files) or ``video/H264`` (byte streams).

    Each begins with a key frame that nothing after it looks behind (a closed GOP), and lasts at
    least ``chunk_us``, the last one less. Its time is that of its first frame in the film's own
    timestamps, the same as those of ``film_media.Sound``. Raises InvalidInput where the film
    holds no such pictures, or some that a pipeline would not read.
    """
    with film_media.opened(path) as container:
        stream = film_media.picture_stream(container)
        if stream is None:
            raise unreadable(path, "it holds no pictures")
        cutter = FilmCutter(str(path), stream, content_type, chunk_us)
        origin_us = film_media.origin_us(container)
        with film_media.reading(path):
            for packet in container.demux(stream):
                yield from _placed(cutter.feed(packet), origin_us)
            yield from _placed(cutter.end(), origin_us)


def _placed(pieces: Iterator[Piece], origin_us: int) -> Iterator[Piece]:
    for piece in pieces:
        at_us = max(0, piece.at_us - origin_us)
        end_us = max(at_us + 1, piece.end_us - origin_us)
        yield piece._replace(at_us=at_us, end_us=end_us, due_us=end_us, mediadur_us=end_us - at_us)


class FilmCutter:
    """Packets of pictures in, records out that begin with a key frame and are a closed GOP each.

    Invariant: every packet from the first key frame on is in one record. Where the frame after
    a key frame is shown before it, the GOP is open: that frame looks behind the key frame, and
    no cut is made there. Times are the stream's own, in microseconds. ``name`` is what errors
    name; raises InvalidInput for pictures that cannot go as ``content_type``.

    With ``bytes_max`` no more than that is held: where no key frame comes in so many bytes, they
    are left out and ``feed`` raises InvalidInput; the next key frame begins anew.
    """

    def __init__(
        self,
        name: str,
        stream: Any,
        content_type: str,
        chunk_us: int,
        bytes_max: int | None = None,
    ) -> None:
        self._form = parse_media_type(content_type).format
        codec = stream.codec_context.name
        if stream.codec_context.codec.canonical_name not in CODECS[self._form]:
            raise unreadable(name, f"its pictures are {codec}, not {content_type}; {AS_JPEG}")
        self._name, self._stream = name, stream
        self._content_type, self._chunk_us = content_type, chunk_us
        self._bytes_max = bytes_max
        self._current: list[Any] = []
        self._fresh: Any = None  # a key frame that may begin the next record

    def feed(self, packet: Any) -> Iterator[Piece]:
        """The record that ends with the packet before, if one does; InvalidInput as ``_check``."""
        if packet.dts is None and packet.size == 0:
            return  # the end
        if packet.pts is None:
            raise unreadable(self._name, f"its pictures have no times; {AS_JPEG}")
        if self._fresh is not None:
            fresh, self._fresh = self._fresh, None
            if packet.pts > fresh.pts:
                done, self._current = self._current, [fresh]
                self._take(packet)
                yield self._piece(done, fresh.pts)
                return
            self._current.append(fresh)
        self._take(packet)

    def end(self) -> Iterator[Piece]:
        """What is held: the last records."""
        held, fresh = self._current, self._fresh
        self._current, self._fresh = [], None
        if held:
            yield self._piece(held, None if fresh is None else fresh.pts)
        if fresh is not None:
            yield self._piece([fresh], None)

    def _take(self, packet: Any) -> None:
        if not self._current and not packet.is_keyframe:
            return  # nothing can be decoded before the first key frame
        if packet.is_keyframe and self._current:
            held_us = (packet.pts - _first(self._current)) * self._stream.time_base * 1_000_000
            if held_us >= self._chunk_us:
                self._fresh = packet
                return
        self._current.append(packet)
        if self._bytes_max is not None:
            held_bytes = sum(each.size for each in self._current)
            if held_bytes > self._bytes_max:
                self._current = []
                raise unreadable(self._name, f"no key frame in {held_bytes} bytes; {KEY_FRAMES}")

    def _piece(self, packets: list[Any], following: int | None) -> Piece:
        """``following``: when the next record's first frame is shown."""
        at_us = _us(_first(packets), self._stream.time_base)
        end = following if following is not None else _end(packets)
        end_us = max(at_us + 1, _us(end, self._stream.time_base))
        as_mp4 = self._form == "mp4"
        payload = _mp4(packets, self._stream) if as_mp4 else _byte_stream(packets, self._stream)
        _check(self._name, self._form, payload)
        return Piece(at_us, end_us, end_us, self._content_type, payload, end_us - at_us)


def _first(packets: list[Any]) -> int:
    return min(int(packet.pts) for packet in packets)


def _end(packets: list[Any]) -> int:
    return max(int(packet.pts + (packet.duration or 0)) for packet in packets)


def _us(ticks: int, time_base: Any) -> int:
    nearest: int = round(ticks * time_base * 1_000_000)
    return nearest


def _mp4(packets: list[Any], stream: Any) -> bytes:
    """A whole file that begins at 0; a packet is used up by it.

    Decoding times are made anew, since Matroska has none: the times of showing in their order,
    all earlier by as much as the frame needs that is decoded longest before it is shown.
    """
    import av

    shown = sorted(packet.pts for packet in packets)
    early = max(at - packet.pts for at, packet in zip(shown, packets, strict=True))
    sink = io.BytesIO()
    with av.open(sink, "w", format="mp4") as out:
        copied = out.add_stream_from_template(stream)
        for at, packet in zip(shown, packets, strict=True):
            packet.pts -= shown[0]
            packet.dts = at - shown[0] - early
            packet.stream = copied
            out.mux(packet)
    return sink.getvalue()


def _byte_stream(packets: list[Any], stream: Any) -> bytes:
    """Annex B, its parameter sets before the first picture."""
    import av

    to_annex_b = av.bitstream.BitStreamFilterContext("h264_mp4toannexb", stream)
    found = [piece for packet in packets for piece in to_annex_b.filter(packet)]
    found += to_annex_b.filter(None)
    payload = b"".join(bytes(piece) for piece in found)
    parameters = bytes(stream.codec_context.extradata or b"")
    if parameters.startswith(START_CODES) and parameters not in payload:
        return parameters + payload  # as in RTSP, where they come once, beside the pictures
    return payload


def _check(name: str, form: str, payload: bytes) -> None:
    try:
        read_film(form, payload)
    except UndecodableRecord as error:
        raise unreadable(name, f"a pipeline would not read its pictures ({error})") from None
