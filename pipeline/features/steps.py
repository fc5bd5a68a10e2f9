"""The steps of a spectrum on eight frames at once, as vector instructions (lanes.py)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

from numba.core import cgutils

from pipeline.features.lanes import F32, F64, LANES, Code, Complex, written

RADICES = (5, 4, 3, 2)  # in the order in which a length is divided by them


def transform_of(z: Sequence[Complex]) -> list[Complex]:
    """The transform of 2, 4 or an odd number of complex numbers, by its symmetries."""
    n = len(z)
    if n == 2:
        return [z[0] + z[1], z[0] - z[1]]
    if n == 4:
        even, odd, sums, turned = z[0] + z[2], z[0] - z[2], z[1] + z[3], (z[1] - z[3]).turned()
        return [even + sums, odd + turned, even - sums, odd - turned]
    half = range(1, n // 2 + 1)
    sums_of = {k: z[k] + z[n - k] for k in half}
    gaps_of = {k: (z[k] - z[n - k]).turned() for k in half}
    out = list(z)
    for k in half:
        out[0] = out[0] + sums_of[k]
    for j in half:
        angles = {k: 2 * math.pi * j * k / n for k in half}
        even, odd = z[0], gaps_of[1].scaled(math.sin(angles[1]))
        for k in half:
            even = even + sums_of[k].scaled(math.cos(angles[k]))
        for k in half[1:]:
            odd = odd + gaps_of[k].scaled(math.sin(angles[k]))
        out[j], out[n - j] = even + odd, even - odd
    return out


def _butterfly(radix: int) -> Any:
    """A step of a transform: ``radix`` numbers of ``x``, from ``at`` on and ``apart``, are
    transformed, the k-th is turned by the k-th multiple of ``turn``, and they go to ``y``.
    """

    def write(
        code: Code, x: Any, at: Any, apart: Any, y: Any, to: Any, between: Any, turns: Any,
        turn: Any,
    ) -> None:  # fmt: skip
        numbers, angle = [], turn
        for _ in range(radix):
            numbers.append(Complex.loaded(code, x, at))
            at = code.after(at, apart)
        for k, number in enumerate(transform_of(numbers)):
            if k:
                number *= Complex.spread(code, turns, angle)
                angle = code.after(angle, turn)
            number.store(y, to)
            to = code.after(to, between)

    return written(write)


def _write_windowed(
    code: Code, signal: Any, at: Any, hop: Any, window: Any, t: Any, x: Any
) -> None:
    """Samples ``[t, t + 8)`` of eight frames, of which the first has its sample t at ``at``."""
    rows = []
    for _ in range(LANES):
        rows.append(code.load(signal, at, F32))
        at = code.after(at, hop)
    for k, samples in enumerate(code.transposed(rows)):
        place = code.after(t, k)
        exact = code.builder.fpext(samples, F64)
        value = code.multiply(exact, code.spread(window, place))
        code.store(value, x, code.times(place, LANES))


def _write_powers(
    code: Code, z: Any, low: Any, high: Any, halves: Any, turn: Any, powers: Any, k: Any, j: Any
) -> None:
    """Powers of bins k and j = n/2 - k of n real numbers from the transform ``z`` of n/2 pairs.

    With E and O those of the numbers at even and at odd places, bin k is E + w O and bin j the
    conjugate of E - w O, where w is the k-th power of the n-th root of one.
    """
    one, other = Complex.loaded(code, z, low), Complex.loaded(code, z, high).conjugate()
    even, odd = (one + other).scaled(0.5), (one - other).turned().scaled(0.5)
    odd *= Complex.spread(code, halves, turn)
    code.store((even + odd).power(), powers, k)
    code.store((even - odd).power(), powers, j)


def _write_level(
    code: Code, powers: Any, first: Any, last: Any, weights: Any, weight: Any, db: Any, at: Any
) -> None:
    """The level of a band: of bins ``[first, last)`` times the weights from ``weight`` on."""
    build, tools = code.builder, cast(Any, cgutils)
    total = tools.alloca_once_value(build, code.every(0.0))
    with tools.for_range(build, build.sub(last, first)) as loop:
        bin_powers = code.load(powers, code.times(code.after(first, loop.index), LANES))
        part = code.multiply(bin_powers, code.spread(weights, code.after(weight, loop.index)))
        build.store(code.add(build.load(total), part), total)
    code.store(_decibels(code, build.load(total)), db, at)


def _decibels(code: Code, power: Any) -> Any:
    """10 log10 of a power that is at least 1e-10 (librosa.power_to_db: amin).

    A power is m 2^e with m from √½ to √2, and log m is 2 artanh(s) with s = (m - 1) / (m + 1),
    so |s| < 0.172: its series up to s^11 is good to 1e-10. Of NaN and infinity it is NaN.
    """
    exponent, m = code.parted(code.at_least(power, 1e-10))
    one = code.every(1.0)
    s = code.builder.fdiv(code.subtract(m, one), code.add(m, one))
    square = code.multiply(s, s)
    series = code.every(1 / 11)
    for k in (9, 7, 5, 3, 1):
        series = code.add(code.multiply(series, square), code.every(1 / k))
    db = code.multiply(code.multiply(series, s), code.every(20 / math.log(10)))
    db = code.add(code.multiply(exponent, code.every(10 * math.log10(2))), db)
    return code.add(db, code.subtract(power, power))


by_2, by_3, by_4, by_5 = map(_butterfly, sorted(RADICES))
windowed, powers = written(_write_windowed), written(_write_powers)
level = written(_write_level)
