"""Panels of all pipelines and of what flows: is it well, rates, sound, latency and lag."""

from __future__ import annotations

from panels import Panel, Query
from queries import in_an_hour, lines, of, quantile, quantiles, rate, stat

WELL = (
    Panel(
        "Up",
        "1: every scrape of the chosen pipelines works.",
        "none",
        (Query('min(up{job="motet", instance=~"$instance"})'),),
        kind="stat",
        steps=(("red", None), ("green", 1)),
    ),
    stat("Results", "Results committed a second.", "cps", rate("motet_windows_total")),
    stat(
        "End to end p99",
        "From the append of the record that closed a window to the commit of its result.",
        "s",
        quantile(0.99, "motet_end_to_end_seconds"),
        2,
        10,
    ),
    stat(
        "Event time lag",
        "Wall clock less the newest event time read, of the input that is most behind.",
        "s",
        f"max({of('motet_event_time_lag_seconds')})",
        10,
        60,
    ),
    stat(
        "Records waiting",
        "Between the logs' stable ends and what is applied.",
        "short",
        f"sum({of('motet_consumer_lag_records')})",
        1_000,
        100_000,
    ),
    stat(
        "Dead letters, 1 h",
        "Records that could not be used.",
        "short",
        in_an_hour("motet_record_fates_total", 'fate="dead_letter"'),
        1,
        100,
    ),
    stat(
        "Restarts, 1 h",
        "Actors that ended and were started anew.",
        "short",
        in_an_hour("motet_actor_restarts_total"),
        1,
        10,
    ),
    stat(
        "Recovering",
        "Records that have to be read again before the lanes go on; 0 is ready.",
        "short",
        f"sum({of('motet_replay_records')})",
        1,
        100_000,
    ),
)

# By deploy/recording.yml, over five minutes: what is compared here are pipelines, not moments.
PIPELINES = (
    lines(
        "Throughput",
        "Results committed a second, of each pipeline.",
        "cps",
        Query(of("instance:motet_windows:rate5m"), "{{instance}}"),
    ),
    lines(
        "End to end p99",
        "Of each pipeline.",
        "s",
        Query(of("instance:motet_end_to_end_seconds:p99_5m"), "{{instance}}"),
    ),
    lines(
        "Records waiting",
        "Of each pipeline.",
        "short",
        Query(of("instance:motet_consumer_lag_records:sum"), "{{instance}}"),
    ),
    lines(
        "Share of dead letters",
        "Of the pairs of record and window. At limits.dead_letter_rate of an input the run stops.",
        "percentunit",
        Query(of("instance:motet_dead_letter:share5m"), "{{instance}}"),
    ),
    lines(
        "The busiest stage",
        "Share of the time that its replicas had work. Near 100 % it is the bottleneck.",
        "percentunit",
        Query(of("instance:motet_stage_busy:max5m"), "{{instance}}"),
        bounds=(0, 1),
    ),
    lines(
        "Records",
        "Records read and committed a second, of each pipeline.",
        "cps",
        Query(of("instance:motet_records:rate5m"), "{{instance}}"),
    ),
)

FLOW = (
    lines(
        "Records",
        "Records read and committed a second, by input.",
        "cps",
        Query(rate("motet_records_total", "input"), "{{input}}"),
    ),
    lines(
        "Bytes",
        "Bytes of these records a second, by input.",
        "binBps",
        Query(rate("motet_record_bytes_total", "input"), "{{input}}"),
    ),
    lines(
        "Results",
        "Results committed a second, and those that an input is missing in.",
        "cps",
        Query(rate("motet_windows_total"), "all"),
        Query(rate("motet_windows_incomplete_total", "missing"), "without {{missing}}"),
    ),
)
SOUND = (
    lines(
        "Gaps in the sound",
        "Records a second that begin over 5 ms after the one before ended: blocks are dropped.",
        "cps",
        Query(rate("motet_audio_gaps_total", "input"), "{{input}}"),
    ),
    lines(
        "Overlaps in the sound",
        "Records a second that begin over 5 ms before the one before ended: sent twice, or by two.",
        "cps",
        Query(rate("motet_audio_overlaps_total", "input"), "{{input}}"),
    ),
    lines(
        "Drift of the sound card",
        "Farthest that a stream's timestamps and the count of its samples were apart.",
        "s",
        Query(f"max by (input) ({of('motet_audio_drift_seconds')})", "{{input}}"),
    ),
)

BEHIND = (
    lines(
        "End to end",
        "From the append of the record that closed a window to the commit of its result.",
        "s",
        *quantiles("motet_end_to_end_seconds"),
    ),
    lines(
        "Event time lag",
        "Wall clock less the newest event time read. It grows for an input that is silent, too.",
        "s",
        Query(f"max by (input) ({of('motet_event_time_lag_seconds')})", "{{input}}"),
        bounds=(None, None),
    ),
    lines(
        "Records waiting",
        "Between the log's stable end and what is applied, by topic.",
        "short",
        Query(f"sum by (topic) ({of('motet_consumer_lag_records')})", "{{topic}}"),
    ),
)
HELD = (
    lines(
        "Clocks behind the wall clock",
        "How far the slowest slot's event time is behind, by input.",
        "s",
        Query(f"time() - min by (input) ({of('motet_clock_seconds')})", "{{input}}"),
        bounds=(None, None),
    ),
    lines(
        "Paused partitions",
        "Partitions that are not fetched just now: they are ahead of others, or memory is full.",
        "short",
        Query(f"sum({of('motet_paused_partitions')})", "paused"),
    ),
    lines(
        "To be read again",
        "Records of open windows that a start reads once more before the lanes go on.",
        "short",
        Query(f"sum({of('motet_replay_records')})", "records"),
    ),
)
