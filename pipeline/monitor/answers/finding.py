"""One answer: a cause by its short name, the words, and the part of the run that it is about."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Kind = Literal["run", "input", "stage", "lane", "slot"]
State = dict[str, Any]


class Finding(NamedTuple):
    """``words``: sentences for a person, times in RFC 3339 (a page shows them in local time).

    ``kind`` and ``name`` say where to look; ``name`` is "" for the run as a whole.
    """

    cause: str
    words: str
    kind: Kind = "run"
    name: str = ""

    def json(self) -> dict[str, Any]:
        return {"cause": self.cause, "words": self.words, "at": self.at}

    @property
    def at(self) -> dict[str, str] | None:
        return None if self.kind == "run" else {"kind": self.kind, "name": self.name}
