"""What a running pipeline shows over HTTP: metrics, health, state, results and the live page."""

from __future__ import annotations

from pipeline.monitor.monitor import Monitor, serve

__all__ = ["Monitor", "serve"]
