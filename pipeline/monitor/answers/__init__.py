"""What a person asks of a run, answered in words from ``/api/state``.

Pure functions: a state (without its ``answers``) in, words out. No clock, no network, no memory.
"""

from __future__ import annotations

from pipeline.monitor.answers.asking import answers_to

__all__ = ["answers_to"]
