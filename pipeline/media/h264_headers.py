"""Parameter sets and slice headers of H.264 (ITU-T H.264 7.3.2.1, 7.3.2.2, 7.3.3), as far as
the dimensions, the frame rate, the bounds of pictures and their order need them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pipeline.errors import UndecodableRecord
from pipeline.media.bits import Bits

IDR = 5
_HIGH_PROFILES = {44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244}
_EXTENDED_SAR = 255
_SLICE_BYTES = 48  # what lies before the picture order count fits into it
_SET_BYTES_MAX = 4096
_MB = 16  # pixels a side of a macroblock
_SIDE_MAX = 1 << 16


class Sps(NamedTuple):
    """``width``, ``height``: after cropping. ``ticks`` of ``ticks_per_second`` make a frame,
    both 0 without timing in the VUI."""

    number: int
    width: int
    height: int
    ticks: int
    ticks_per_second: int
    frame_num_bits: int
    order_type: int
    order_bits: int
    frames_only: bool
    separate_planes: bool


class Pps(NamedTuple):
    number: int
    sps: int
    order_in_frame: bool


class SliceHead(NamedTuple):
    """What tells the slices of one picture from those of the next (7.4.1.2.4)."""

    reference: bool
    idr: bool
    pps: int
    frame_num: int
    field: bool
    bottom: bool
    idr_number: int
    order: int  # pic_order_cnt_lsb
    order_bottom: int
    sps: Sps


def _rbsp(unit: bytes) -> bytes:
    """The unit without its first byte and without emulation prevention (7.4.1)."""
    return unit[1:].replace(b"\0\0\3", b"\0\0")


def read_sps(unit: bytes) -> Sps:
    """A sequence parameter set; raises UndecodableRecord."""
    bits = Bits(_rbsp(unit[:_SET_BYTES_MAX]), "h264: its SPS")
    profile = bits.u(8)
    bits.u(16)  # constraints and level
    number = bits.ue()
    chroma, separate = 1, False
    if profile in _HIGH_PROFILES:
        chroma = bits.ue()
        separate = chroma == 3 and bool(bits.u(1))
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            _skip_scaling_lists(bits, 12 if chroma == 3 else 8)
    frame_num_bits = bits.ue() + 4
    order_type = bits.ue()
    order_bits = bits.ue() + 4 if order_type == 0 else 0
    if order_type not in (0, 2) or frame_num_bits > 16 or order_bits > 16 or chroma > 3:
        raise UndecodableRecord(
            f"h264: its SPS has picture order type {order_type}, chroma {chroma} and counters of "
            f"{frame_num_bits} and {order_bits} bits, which is not read; encode it with x264"
        )
    bits.ue()  # reference frames
    bits.u(1)
    width, height_units = bits.ue() + 1, bits.ue() + 1
    frames_only = bool(bits.u(1))
    if not frames_only:
        bits.u(1)
    bits.u(1)
    fields = 1 if frames_only else 2
    width, height = width * _MB, height_units * _MB * fields
    if bits.u(1):
        left, right, top, bottom = bits.ue(), bits.ue(), bits.ue(), bits.ue()
        # 6.2: chroma samples are half as wide in 4:2:0 and 4:2:2, half as high in 4:2:0
        planes = 0 if separate else chroma
        width -= (left + right) * (2 if planes in (1, 2) else 1)
        height -= (top + bottom) * (2 if planes == 1 else 1) * fields
    if not 1 <= width <= _SIDE_MAX or not 1 <= height <= _SIDE_MAX:
        raise UndecodableRecord(f"h264: its SPS says {width} x {height} pixels")
    ticks, per_second = _timing(bits) if bits.u(1) else (0, 0)
    return Sps(number, width, height, ticks, per_second, frame_num_bits, order_type, order_bits,
               frames_only, separate)  # fmt: skip


def _skip_scaling_lists(bits: Bits, count: int) -> None:
    """7.3.2.1.1.1."""
    for place in range(count):
        if not bits.u(1):
            continue
        last = following = 8
        for _ in range(16 if place < 6 else 64):
            if following:
                following = (last + bits.se()) % 256
            last = following or last


def _timing(bits: Bits) -> tuple[int, int]:
    """Ticks of a frame, and ticks a second (annex E.1.1); a tick of the VUI is that of a field."""
    if bits.u(1) and bits.u(8) == _EXTENDED_SAR:
        bits.u(32)
    if bits.u(1):
        bits.u(1)
    if bits.u(1):
        bits.u(4)
        if bits.u(1):
            bits.u(24)
    if bits.u(1):
        bits.ue()
        bits.ue()
    if not bits.u(1):
        return 0, 0
    ticks, per_second = bits.u(32), bits.u(32)
    return (2 * ticks, per_second) if ticks and per_second else (0, 0)


def read_pps(unit: bytes) -> Pps:
    """The beginning of a picture parameter set; raises UndecodableRecord."""
    bits = Bits(_rbsp(unit[:_SLICE_BYTES]), "h264: its PPS")
    number, sps = bits.ue(), bits.ue()
    bits.u(1)
    return Pps(number, sps, bool(bits.u(1)))


def read_slice(unit: bytes, all_sps: Mapping[int, Sps], all_pps: Mapping[int, Pps]) -> SliceHead:
    """The beginning of a slice; raises UndecodableRecord."""
    bits = Bits(_rbsp(unit[:_SLICE_BYTES]), "h264: a slice header")
    idr = unit[0] & 0x1F == IDR
    bits.ue()  # first macroblock
    bits.ue()  # slice type
    pps = all_pps.get(bits.ue())
    sps = all_sps.get(pps.sps) if pps is not None else None
    if pps is None or sps is None:
        raise UndecodableRecord(
            "h264: a picture comes before its SPS and PPS; begin each record with SPS, PPS and an "
            "IDR picture (x264: repeat-headers=1)"
        )
    if sps.separate_planes:
        bits.u(2)
    frame_num = bits.u(sps.frame_num_bits)
    field = not sps.frames_only and bool(bits.u(1))
    bottom = field and bool(bits.u(1))
    idr_number = bits.ue() if idr else 0
    order = bits.u(sps.order_bits)
    order_bottom = bits.se() if sps.order_bits and pps.order_in_frame and not field else 0
    return SliceHead(unit[0] & 0x60 != 0, idr, pps.number, frame_num, field, bottom, idr_number,
                     order, order_bottom, sps)  # fmt: skip
