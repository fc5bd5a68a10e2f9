"""Pictures that several clips hold: each clip gets one of its own."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray


class Lender:
    """The first clip that asks gets the picture itself, all others copies.

    Encoders may write into what they get. So while clips are to come that are built only after
    this one's encoder has run (``more``), all get copies.
    """

    def __init__(self) -> None:
        self.more = False
        self._lent: set[Hashable] = set()

    def own(self, name: Hashable, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """``name`` is the picture's, one and the same for all clips."""
        if self.more or name in self._lent:
            return picture.copy()
        self._lent.add(name)
        return picture
