"""When a run stops because too much is dead-lettered (contract section 4)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.slot.dead_letter_rate import (
    LETTERS_MIN,
    PERIOD_US,
    DeadLetterRate,
    TooManyDeadLetters,
)

SECOND_US = 1_000_000


def test_below_twenty_dead_letters_nothing_stops():
    rate = DeadLetterRate("mic", 0.05)
    for _ in range(LETTERS_MIN - 1):
        rate.count(0, records=1, letters=1)
    with pytest.raises(TooManyDeadLetters):
        rate.count(0, records=1, letters=1)


def test_at_the_limit_it_stops_and_just_below_it_does_not():
    at = DeadLetterRate("mic", 0.05)
    at.count(0, records=400 - LETTERS_MIN)
    for _ in range(LETTERS_MIN - 1):
        at.count(0, records=1, letters=1)
    with pytest.raises(TooManyDeadLetters, match="20 of 400 records"):
        at.count(0, records=1, letters=1)
    below = DeadLetterRate("mic", 0.05)
    below.count(0, records=401 - LETTERS_MIN)
    for _ in range(LETTERS_MIN):
        below.count(0, records=1, letters=1)


def test_the_user_is_told_the_newest_reason():
    rate = DeadLetterRate("mic", 0.05)
    for _ in range(LETTERS_MIN - 1):
        rate.count(0, 1, 1, "too long")
    with pytest.raises(TooManyDeadLetters, match=r"= 5% \(the newest: no stream id\); mend the"):
        rate.count(0, 1, 1, "no stream id")


def test_what_is_older_than_a_minute_counts_no_more():
    rate = DeadLetterRate("mic", 0.5)
    for _ in range(LETTERS_MIN - 1):
        rate.count(0, records=1, letters=1)
    for _ in range(LETTERS_MIN - 1):
        rate.count(PERIOD_US, records=1, letters=1)
    with pytest.raises(TooManyDeadLetters):
        rate.count(PERIOD_US, records=1, letters=1)


def test_a_dead_letter_of_a_record_read_earlier_counts_now():
    """An image that cannot be decoded is counted twice: as a record, later as a dead letter."""
    rate = DeadLetterRate("camera", 0.05)
    rate.count(0, records=1000)
    for second in range(LETTERS_MIN - 1):
        rate.count(second * SECOND_US, letters=1)
    rate.count(30 * SECOND_US, letters=1)  # 20 of 1000: below 5 %
    with pytest.raises(TooManyDeadLetters):
        rate.count(PERIOD_US + 5 * SECOND_US, letters=6)  # the thousand records are gone


def test_the_error_names_the_input_the_rate_the_limit_and_the_remedy():
    rate = DeadLetterRate("camera", 0.025)
    with pytest.raises(TooManyDeadLetters) as caught:
        rate.count(0, records=100, letters=40)
    said = str(caught.value)
    assert "inputs.camera: 40 of 100 records" in said
    assert "limits.dead_letter_rate = 2.5%" in said
    assert "raise the limit" in said
    assert "\n" not in said
    assert caught.value.exit_code == 1


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 30 * SECOND_US), st.integers(0, 9), st.integers(0, 9)),
        max_size=40,
    ),
    st.sampled_from([0.01, 0.05, 0.5, 1.0]),
)
def test_it_raises_exactly_where_the_last_minute_is_at_or_above_the_limit(steps, limit):
    rate = DeadLetterRate("mic", limit)
    history: list[tuple[int, int, int]] = []
    now_us = 0
    for elapsed_us, sound, letters in steps:
        now_us += elapsed_us
        history.append((now_us // SECOND_US, sound + letters, letters))
        minute = [h for h in history if h[0] > now_us // SECOND_US - 60]
        counted, dead = sum(h[1] for h in minute), sum(h[2] for h in minute)
        if letters and dead >= LETTERS_MIN and dead >= limit * counted:
            with pytest.raises(TooManyDeadLetters):
                rate.count(now_us, sound + letters, letters)
            return
        rate.count(now_us, sound + letters, letters)
