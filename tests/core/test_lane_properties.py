"""What always holds of a lane (design section 4, properties a to h), on random histories.

``LANE_EXAMPLES=20000`` looks longer, and at other examples each time; the default is a fixed
set, small enough for every run.
"""

from __future__ import annotations

import os
import random

import lane_checks
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("LANE_EXAMPLES", "0"))

randoms = st.randoms(use_true_random=False)


def looks(default: int) -> settings:
    """``default`` fixed examples, or as many new ones as were asked for."""
    return settings(
        max_examples=EXAMPLES or default,
        derandomize=not EXAMPLES,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


@looks(1000)
@given(randoms)
def test_a_lane_equals_the_rules_through_any_crashes(rng: random.Random) -> None:
    lane_checks.equals_the_oracle_through_crashes(lane_checks.Subject(), rng.randint)


@looks(300)
@given(randoms)
def test_b_no_window_is_committed_twice(rng: random.Random) -> None:
    lane_checks.emits_no_window_twice(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_c_interleavings_agree_where_nothing_is_later_than_a(rng: random.Random) -> None:
    lane_checks.interleavings_agree_within_hold(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_d_fetches_do_not_show(rng: random.Random) -> None:
    lane_checks.fetches_do_not_show(lane_checks.Subject(), rng.randint)


@looks(300)
@given(randoms)
def test_e_each_record_has_one_fate_for_each_window(rng: random.Random) -> None:
    lane_checks.gives_one_fate_to_each_record_and_window(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_f_the_floor_and_the_clocks_never_fall(rng: random.Random) -> None:
    lane_checks.floor_and_clocks_never_fall(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_g_two_full_reads_agree(rng: random.Random) -> None:
    lane_checks.two_full_reads_agree(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_h_a_clock_that_runs_ahead_moves_only_itself(rng: random.Random) -> None:
    lane_checks.clock_ahead_moves_only_itself(lane_checks.Subject(), rng.randint)


@looks(250)
@given(randoms)
def test_a_catch_up_gives_what_the_live_run_gave(rng: random.Random) -> None:
    lane_checks.catch_up_gives_what_live_gave(lane_checks.Subject(), rng.randint)
