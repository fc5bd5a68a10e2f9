"""Fixtures of the tests that need neither a broker nor a cluster."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

pytest.register_assert_rewrite("lane_checks")


@pytest.fixture(scope="module")
def offline_on_one_thread() -> Iterator[None]:
    """For encoders with weights (``OFFLINE_MODELS``)."""
    from model_media import offline_on_one_thread

    with offline_on_one_thread():
        yield
