"""The headers of AAC in ADTS frames (ISO/IEC 13818-7 6.2, ISO/IEC 14496-3 1.A.2).

Every raw data block is 1,024 samples at the rate that the header states, which is the rate of
AAC's core: a decoder of HE-AAC would give twice as many at twice the rate, as long in time. The
samples that an encoder puts in front (1,024 for FFmpeg's, 2,112 for Apple's) are stated nowhere
in ADTS, so they count: sound in AAC is that much late.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.id3 import skip_id3v2, without_end_tags

BLOCK_SAMPLES = 1_024
BLOCKS_MAX = 65_536  # a minute at 96 kHz has 5,625

HEADER_BYTES = 7
_CRC_BYTES = 2
_RATES = (
    96_000,
    88_200,
    64_000,
    48_000,
    44_100,
    32_000,
    24_000,
    22_050,
    16_000,
    12_000,
    11_025,
    8_000,
    7_350,
)
_CHANNELS = (0, 1, 2, 3, 4, 5, 6, 8)
_SSR = 2


class AdtsForm(NamedTuple):
    """What all frames of a stream have in common; ``profile``: 0 Main, 1 LC, 2 SSR, 3 LTP."""

    profile: int
    rate_index: int
    configuration: int

    @property
    def rate(self) -> int:
        return _RATES[self.rate_index]

    @property
    def channels(self) -> int:
        return _CHANNELS[self.configuration]


class AdtsAudio(NamedTuple):
    """``packets`` are where the raw data blocks lie, as (first byte, size, blocks in it).

    One holds several where they stand side by side without saying where each begins; they then
    have to be decoded one after the other.
    """

    form: AdtsForm
    packets: list[tuple[int, int, int]]
    samples: int


def read_adts(payload: bytes | memoryview) -> AdtsAudio:
    """The frames of a record and its samples; raises UndecodableRecord.

    ID3 tags around the frames are passed over, and a last frame that is cut off does not count.
    A record begins with a whole frame.
    """
    at = skip_id3v2(payload, "aac")
    end = without_end_tags(payload, at)
    form: AdtsForm | None = None
    packets: list[tuple[int, int, int]] = []
    blocks_total = 0
    while at + HEADER_BYTES <= end:
        head = int.from_bytes(payload[at : at + HEADER_BYTES], "big")
        found = _form(head >> 30)
        size_bytes, blocks, protected = head >> 13 & 0x1FFF, (head & 3) + 1, not head >> 40 & 1
        if isinstance(found, str):
            raise UndecodableRecord(f"aac: no ADTS frame begins at byte {at}: {found}")
        if form is not found:
            if form is not None and form != found:
                raise UndecodableRecord(
                    f"aac: the frame at byte {at} has another profile, rate or number of channels "
                    "than those before it; send each stream as a record of its own"
                )
            form = found
        if size_bytes <= _least_bytes(blocks, protected):
            raise UndecodableRecord(f"aac: the frame at byte {at} is of {size_bytes} bytes")
        if at + size_bytes > end:
            break
        blocks_total += blocks
        if blocks_total > BLOCKS_MAX:
            raise UndecodableRecord(f"aac: more than {BLOCKS_MAX} raw data blocks")
        if protected:
            packets += _protected(payload, at, at + size_bytes, blocks)
        else:
            packets.append((at + HEADER_BYTES, size_bytes - HEADER_BYTES, blocks))
        at += size_bytes
    if form is None or not packets:
        raise UndecodableRecord("aac: holds no whole frame")
    return AdtsAudio(form, packets, BLOCK_SAMPLES * blocks_total)


def frame_bytes(head: bytes) -> int:
    """The length of the frame that begins with these HEADER_BYTES; 0 where none does."""
    bits = int.from_bytes(head, "big")
    if len(head) < HEADER_BYTES or isinstance(_form(bits >> 30), str):
        return 0
    size_bytes = bits >> 13 & 0x1FFF
    return size_bytes if size_bytes > HEADER_BYTES else 0


@lru_cache(maxsize=4096)
def _form(fixed: int) -> AdtsForm | str:
    """What the 26 bits say that a header begins with, or why they are none.

    12 bits sync word, 1 id, 2 layer, 1 no checksum, 2 profile, 4 rate, 1 private, 3 channels.
    """
    if fixed >> 14 != 0xFFF or fixed >> 11 & 3 != 0:
        return "no sync word"
    profile, rate_index, configuration = fixed >> 8 & 3, fixed >> 4 & 0xF, fixed & 7
    if rate_index >= len(_RATES):
        return f"its sampling index {rate_index} is reserved"
    if configuration == 0:
        return "its channels are described inside the frame (configuration 0), which is not read"
    if profile == _SSR:
        return "the profile SSR is not read"
    return AdtsForm(profile, rate_index, configuration)


def _least_bytes(blocks: int, protected: bool) -> int:
    """Of a frame without any sound: with a checksum it also says where its blocks begin, and
    each of several has a checksum of its own.
    """
    if not protected:
        return HEADER_BYTES
    return HEADER_BYTES + (_CRC_BYTES if blocks == 1 else 2 * _CRC_BYTES * blocks)


def _protected(
    payload: bytes | memoryview, at: int, end: int, blocks: int
) -> list[tuple[int, int, int]]:
    """The blocks of a frame that has checksums, which are passed over."""
    first = at + HEADER_BYTES + _CRC_BYTES
    if blocks == 1:
        return [(first, end - first, 1)]
    # Where each further block begins, counted from the first one, stands before the checksum.
    table = bytes(payload[at + HEADER_BYTES : at + HEADER_BYTES + 2 * (blocks - 1)])
    first += len(table)
    edges = [first + int.from_bytes(table[i : i + 2], "big") for i in range(0, len(table), 2)]
    packets = []
    for start, stop in pairwise([first, *edges, end]):
        if not start < stop - _CRC_BYTES < end:
            raise UndecodableRecord(f"aac: the blocks of the frame at byte {at} lie outside of it")
        packets.append((start, stop - start - _CRC_BYTES, 1))
    return packets


def specific_config(form: AdtsForm) -> bytes:
    """The AudioSpecificConfig (ISO/IEC 14496-3 1.6.2.1) of these frames, for a decoder.

    It ends with the extension that says that no spectral band replication is there (0x2b7, type
    5, flag 0): without it a decoder doubles the rate at the first frame of HE-AAC that it meets.
    """
    bits = (form.profile + 1) << 11 | form.rate_index << 7 | form.configuration << 3
    return (bits << 24 | 0x2B7 << 13 | 5 << 8).to_bytes(5, "big")
