"""What committed results say in words, found by meaning or by the words themselves."""

from __future__ import annotations

from pipeline.search.index import Hit, SearchIndex
from pipeline.search.meaning import Meaning
from pipeline.search.passages import Passage, passages_of

__all__ = ["Hit", "Meaning", "Passage", "SearchIndex", "passages_of"]
