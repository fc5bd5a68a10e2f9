"""Teach it: windows labelled on the live page, a head trained on them, and put in force."""

from __future__ import annotations

from pipeline.teaching.teaching import Teaching

__all__ = ["Teaching"]
