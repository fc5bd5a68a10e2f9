"""Derivatives over time of a clip's rows."""

from __future__ import annotations

import torch

from pipeline.features.one_call import one_call

_HALF = 4  # frames on each side: librosa's width of 9


def _weights(order: int) -> list[float]:
    """The derivative at the middle of the polynomial of degree ``order`` through 9 points, by
    least squares (Savitzky and Golay, 1964): k / 60 and (3 k² - 20) / 462 for k from -4 to 4.
    """
    places = range(-_HALF, _HALF + 1)
    return [k / 60 for k in places] if order == 1 else [(3 * k * k - 20) / 462 for k in places]


_WEIGHTS = {order: _weights(order) for order in (1, 2)}


def delta(rows: list[torch.Tensor], order: int) -> list[torch.Tensor]:
    """The first or second derivative over time of each clip's (frames, d), per frame.

    Equal to ``librosa.feature.delta(data, order=order)`` (width 9, ``mode="interp"``: the outer
    four frames have the derivative of the polynomial through the outermost nine, and a
    derivative of a polynomial's own degree is constant). A clip of fewer than 9 frames, which
    librosa refuses, has that of ``mode="nearest"``: its outer rows are repeated.
    """
    return _delta_each(rows, _WEIGHTS[order], _HALF)


@one_call
def _delta_each(rows: list[torch.Tensor], weights: list[float], half: int) -> list[torch.Tensor]:
    """Products and sums in one order, each rounded by itself: no bit depends on a shape."""
    out: list[torch.Tensor] = []
    for data in rows:
        frames = data.size(0)
        if frames == 0:
            out.append(data.clone())
            continue
        exact = data.double()
        short = frames <= 2 * half
        if short:
            before, after = exact[:1].expand(half, -1), exact[-1:].expand(half, -1)
            exact = torch.cat([before, exact, after])
        inner = exact.size(0) - 2 * half
        change = exact[:inner] * weights[0]
        for k in range(1, 2 * half + 1):
            change += exact[k : k + inner] * weights[k]
        if not short:
            first, last = change[:1].expand(half, -1), change[-1:].expand(half, -1)
            change = torch.cat([first, change, last])
        out.append(change.to(data.dtype))
    return out
