"""The ``motet`` command: one module for each command, nothing heavy imported before it is used."""

from __future__ import annotations

from pipeline.cli.app import main

__all__ = ["main"]
