"""Raw audio: which bytes make a sample, how many channels, and at what rate they were taken."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.media.probe.sample import Finding, Placed, Sure, most

_SAMPLES_MAX = 8_192  # of a record, from its start: an even number, so that frames stay whole
_SAMPLES_MIN = 64
_BYTES_MEDIAN_MIN = 160  # 10 ms of telephone
_WHOLE = 0.9  # of the records: a few may be cut off
_FLOAT_SMALL, _FLOAT_FULL, _FLOAT_UNSCALED = 1e-7, 1.5, 40_000.0
_SURE, _LIKELY, _ANY = 4.0, 2.0, 1.5
_LEVEL_MAX = 0.25  # of full scale: bytes that are noise in both orders have 0.5

USUAL_RATES = (16000, 48000, 44100, 8000, 22050, 24000, 32000, 11025, 12000, 96000)  # Hz
_USUAL_MS = (1000, 100, 20, 500, 200, 250, 2000, 5000, 10_000, 10, 40, 30, 50, 60, 80, 120)
_NEAR, _FAR = 0.03, 0.15
_INTERVALS_MIN = 8


class RawGuess(NamedTuple):
    """``format``: S16LE, S16BE, F32LE, or F32BE, which no version reads."""

    format: str
    channels: int
    findings: tuple[Finding, ...]


def guess_raw(payloads: Sequence[bytes]) -> RawGuess | None:
    """The byte order and channels of raw audio; None where the bytes do not sound like any.

    A signal is smooth against the same bytes in another order: swapped, the lower byte of each
    sample becomes its upper, which is loud noise. Bytes that are loud noise in both orders are
    compressed, encrypted, or no audio.
    """
    held = [payload for payload in payloads if payload]
    if not held or statistics.median(map(len, held)) < _BYTES_MEDIAN_MIN:
        return None
    even = [payload for payload in held if len(payload) % 2 == 0]
    if sum(map(len, even)) < 2 * _SAMPLES_MIN or len(even) < _WHOLE * len(held):
        return None
    floating = _guess_float(even)
    if floating is not None:
        return floating
    return _guess_int16(even)


def _guess_float(payloads: Sequence[bytes]) -> RawGuess | None:
    """32-bit floats: numbers of audio's size in one order are of no size at all in the other."""
    if any(len(payload) % 4 for payload in payloads):
        return None
    for name, dtype in (("F32LE", "<f4"), ("F32BE", ">f4")):
        parts = [_head(payload, dtype) for payload in payloads]
        values = np.concatenate(parts)
        if not np.isfinite(values).all() or not values.any():
            continue
        sizes = np.abs(values)
        within = (sizes == 0) | (sizes >= _FLOAT_SMALL)
        if within.mean() < 0.99 or sizes.max() > _FLOAT_UNSCALED:
            continue
        text, sure = f"32-bit floats, {'little' if dtype[0] == '<' else 'big'}-endian", _sure(9)
        if sizes.max() > _FLOAT_FULL:
            text += f", up to {sizes.max():.0f} where full scale is 1: they will be clipped"
            sure = "likely"
        channels, about = _channels(parts)
        return RawGuess(name, channels, (Finding("type", text, sure), about))
    return None


def _guess_int16(payloads: Sequence[bytes]) -> RawGuess | None:
    steps, levels, parts = {}, {}, {}
    for name, dtype in (("S16LE", "<i2"), ("S16BE", ">i2")):
        parts[name] = [_head(payload, dtype) / 32_768 for payload in payloads]
        samples = np.concatenate(parts[name])
        levels[name] = float(np.abs(samples).mean())
        steps[name] = float(np.abs(np.diff(samples)).mean())
    if max(levels.values()) == 0:
        text = "16-bit samples that are all zero: silence has no byte order"
        one = Finding("channels", "one", "guess")
        return RawGuess("S16LE", 1, (Finding("type", text, "guess"), one))
    name, other = sorted(steps, key=lambda each: steps[each])
    name, ratio, why = _one_byte(payloads) or (
        name,
        ratio := steps[other] / max(steps[name], 1e-9),
        f"{ratio:.3g} times smoother than in the other byte order",
    )
    if ratio < _ANY and levels[name] > _LEVEL_MAX:
        return None
    order = "little-endian" if name == "S16LE" else "big-endian"
    text = f"16-bit samples, {order}: {why}"
    channels, about = _channels(parts[name])
    return RawGuess(name, channels, (Finding("type", text, _sure(ratio)), about))


def _one_byte(payloads: Sequence[bytes]) -> tuple[str, float, str] | None:
    """Samples of which one byte is always zero: order, certainty and why; None for all others.

    Either 8-bit sound in the upper byte, which has both signs, or samples that are hardly above
    silence and never below it.
    """
    octets = [np.frombuffer(payload, np.uint8) for payload in payloads]
    first = not any(each[::2].any() for each in octets)
    if not first and any(each[1::2].any() for each in octets):
        return None
    signed = any((each[int(first) :: 2] >= 128).any() for each in octets)
    # The lower byte comes first in little-endian samples.
    name = "S16LE" if first == signed else "S16BE"
    if signed:
        return name, _LIKELY, "one byte of each sample is always zero, so it is the lower one"
    return name, _ANY, "all samples are within 127 of silence"


def _head(payload: bytes, dtype: str) -> NDArray[Any]:
    values: NDArray[Any] = np.frombuffer(payload, dtype)[:_SAMPLES_MAX]
    with np.errstate(invalid="ignore"):  # bytes that are no float of any kind
        return values.astype(np.float64)


def _sure(ratio: float) -> Sure:
    return "sure" if ratio >= _SURE else "likely" if ratio >= _LIKELY else "guess"


def _channels(parts: Sequence[NDArray[Any]]) -> tuple[int, Finding]:
    """One or two: interleaved channels are smoother from frame to frame than sample to sample."""
    even = [part for part in parts if len(part) >= 8 and len(part) % 2 == 0]
    if not even or len(even) < len(parts):
        sure: Sure = "guess" if not even else "likely"
        return 1, Finding("channels", "one", sure)
    if all((part[::2] == part[1::2]).all() for part in even) and any(p.any() for p in even):
        return 2, Finding("channels", "two that are equal", "sure")
    near = sum(float(np.abs(np.diff(part)).sum()) for part in even)
    far = sum(float(np.abs(part[2:] - part[:-2]).sum()) for part in even)
    if far < 0.5 * near:
        return 2, Finding("channels", "two, interleaved: each is smooth by itself", "likely")
    return 1, Finding("channels", "one", "likely" if far > near else "guess")


def guess_rate(placed: Sequence[Placed], frame_bytes: int, live: bool) -> tuple[int, Finding]:
    """The rate in Hz: what a record holds against the time to the next one of its stream.

    ``live``: whether the times are when the samples were taken, not when they arrived. Where
    the times say nothing, the rate of which the records are a usual length.
    """
    rates = []
    for one, following in pairs(placed):
        gap_us = following.event_us - one.event_us
        if gap_us > 0 and len(one.payload) >= frame_bytes:
            rates.append(len(one.payload) // frame_bytes * 1_000_000 / gap_us)
    if rates:
        measured = statistics.median(rates)
        usual = min(USUAL_RATES, key=lambda rate: abs(measured / rate - 1))
        off = abs(measured / usual - 1)
        if off <= _FAR:
            many = len(rates) >= _INTERVALS_MIN and off <= _NEAR and live
            text = f"{usual} Hz: records follow each other at {measured:.0f} samples a second"
            return usual, Finding("rate", text, "likely" if many else "guess")
    frames = most(len(each.payload) // frame_bytes for each in placed)[0]
    for length_ms in _USUAL_MS:
        for rate in USUAL_RATES:
            if frames * 1000 == length_ms * rate:
                text = f"{rate} Hz, at which {frames} samples are {length_ms} ms; correct it"
                return rate, Finding("rate", text, "guess")
    return USUAL_RATES[0], Finding("rate", f"{USUAL_RATES[0]} Hz; nothing says it", "guess")


def pairs(placed: Sequence[Placed]) -> list[tuple[Placed, Placed]]:
    """Records of one stream that follow each other in the log."""
    found: list[tuple[Placed, Placed]] = []
    last: dict[tuple[int, str], Placed] = {}
    for each in placed:
        before = last.get((each.run, each.stream))
        if before is not None:
            found.append((before, each))
        last[each.run, each.stream] = each
    return found
