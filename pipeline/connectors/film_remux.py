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
AS_JPEG = "give the input type image/jpeg, or encode it first: ffmpeg -i FILM -c:v libx264 out.mp4"


def film_pieces(path: Path, content_type: str, chunk_us: int) -> Iterator[Piece]:
    """Records of ``video/mp4`` (whole small files) or ``video/H264`` (byte streams).

    Each begins with a key frame that nothing after it looks behind (a closed GOP), and lasts at
    least ``chunk_us``, the last one less. Its time is that of its first frame in the film's own
    timestamps, the same as those of ``film_media.Sound``. Raises InvalidInput where the film
    holds no such pictures, or some that a pipeline would not read.
    """
    form = parse_media_type(content_type).format
    with film_media.opened(path) as container:
        stream = film_media.picture_stream(container)
        if stream is None:
            raise unreadable(path, "it holds no pictures")
        codec = stream.codec_context.name
        if stream.codec_context.codec.canonical_name not in CODECS[form]:
            raise unreadable(path, f"its pictures are {codec}, not {content_type}; {AS_JPEG}")
        origin_us = film_media.origin_us(container)
        with film_media.reading(path):
            for packets, following in _records(path, container, stream, chunk_us):
                at_us = max(0, _us(_first(packets), stream.time_base) - origin_us)
                end = following if following is not None else _end(packets)
                end_us = max(at_us + 1, _us(end, stream.time_base) - origin_us)
                payload = _mp4(packets, stream) if form == "mp4" else _byte_stream(packets, stream)
                _check(path, form, payload)
                yield Piece(at_us, end_us, end_us, content_type, payload, end_us - at_us)


def _records(
    path: Path, container: Any, stream: Any, chunk_us: int
) -> Iterator[tuple[list[Any], int | None]]:
    """The packets of each record, and when the next one's first frame is shown.

    Where the frame after a key frame is shown before it, the GOP is open: that frame looks
    behind the key frame, and no cut is made there.
    """
    current: list[Any] = []
    fresh: Any = None  # a key frame that may begin the next record
    for packet in container.demux(stream):
        if packet.dts is None and packet.size == 0:
            continue  # the end
        if packet.pts is None:
            raise unreadable(path, f"its pictures have no times; {AS_JPEG}")
        if fresh is not None:
            if packet.pts > fresh.pts:
                yield current, fresh.pts
                current = []
            current.append(fresh)
            fresh = None
        if not current and not packet.is_keyframe:
            continue  # nothing can be decoded before the first key frame
        long = current and (packet.pts - _first(current)) * stream.time_base * 1_000_000 >= chunk_us
        if packet.is_keyframe and long:
            fresh = packet
        else:
            current.append(packet)
    if fresh is not None:
        yield current, fresh.pts
        current = [fresh]
    if current:
        yield current, None


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
    return b"".join(bytes(piece) for piece in found)


def _check(path: Path, form: str, payload: bytes) -> None:
    try:
        read_film(form, payload)
    except UndecodableRecord as error:
        raise unreadable(path, f"a pipeline would not read its pictures ({error})") from None
