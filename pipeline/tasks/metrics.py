"""The metrics of a pipeline (contract section 6): names, labels, words and buckets, once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """``together``: how the gauges of several owners with the same labels make one."""

    kind: Kind
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    together: Literal["sum", "max", "mean"] = "sum"


METRICS: dict[str, Metric] = {
    "motet_records_total": Metric("counter", ("input",), "Records read and committed."),
    "motet_record_bytes_total": Metric("counter", ("input",), "Bytes of these records."),
    "motet_record_fates_total": Metric(
        "counter",
        ("input", "fate"),
        "Pairs of record and window by fate: fused, late, dead_letter (a dead letter once).",
    ),
    "motet_windows_total": Metric("counter", (), "Results committed."),
    "motet_windows_incomplete_total": Metric(
        "counter", ("missing",), "Results that an input is missing in, by input."
    ),
    "motet_windows_forced_total": Metric(
        "counter", (), "Rises of a lane's floor that limits.open_bytes has forced."
    ),
    "motet_consumer_lag_records": Metric(
        "gauge", ("topic", "partition"), "Offsets between the log's stable end and what is applied."
    ),
    "motet_event_time_lag_seconds": Metric(
        "gauge", ("input",), "Wall clock less the newest event time read.", together="max"
    ),
    "motet_clock_seconds": Metric(
        "gauge",
        ("input", "slot"),
        "Event time that a slot's lanes have reached, since the epoch.",
        together="max",
    ),
    "motet_stage_batch_size": Metric("histogram", ("stage",), "Windows in a batch.", SIZES),
    "motet_stage_queue_seconds": Metric(
        "histogram", ("stage",), "From a window's readiness to its batch.", SECONDS
    ),
    "motet_stage_compute_seconds": Metric(
        "histogram", ("stage",), "From a batch's hand-over to its results.", SECONDS
    ),
    "motet_stage_busy_ratio": Metric(
        "gauge",
        ("stage",),
        "Share of the last seconds that the replicas had work, 0 to 1.",
        together="mean",
    ),
    "motet_stage_failures_total": Metric(
        "counter", ("stage",), "Windows that the stage gave nothing for, though it ran."
    ),
    "motet_decode_timeouts_total": Metric(
        "counter",
        ("stage",),
        "Records of windows that limits.decode_time kept from being decoded, wholly or in part.",
    ),
    "motet_end_to_end_seconds": Metric(
        "histogram",
        (),
        "From the append of the record that closed a window to the commit of its result.",
        SECONDS,
    ),
    "motet_commit_seconds": Metric("histogram", (), "Length of a transaction.", SECONDS),
    "motet_commits_total": Metric(
        "counter", ("outcome",), "Transactions: committed, or tried again after an error."
    ),
    "motet_replay_records": Metric(
        "gauge", (), "Records that have to be read again before the lanes go on."
    ),
    "motet_in_flight_bytes": Metric("gauge", ("slot",), "Bytes read and not yet committed."),
    "motet_open_bytes": Metric("gauge", ("slot",), "Bytes of records that open windows keep."),
    "motet_paused_partitions": Metric("gauge", (), "Partitions that are not fetched just now."),
    "motet_actor_restarts_total": Metric(
        "counter", ("role", "cause"), "Actors that ended and were started anew."
    ),
    "motet_copartition_violations_total": Metric(
        "counter", (), "Records of streams that were seen on two partition numbers."
    ),
    "motet_audio_gaps_total": Metric(
        "counter", ("input",), "Audio records that begin over 5 ms after the one before ended."
    ),
    "motet_audio_overlaps_total": Metric(
        "counter", ("input",), "Audio records that begin over 5 ms before the one before ended."
    ),
    "motet_audio_drift_seconds": Metric(
        "gauge",
        ("input",),
        "Farthest that a stream's timestamps and the count of its samples lately were apart.",
        together="max",
    ),
    "motet_align_waits_total": Metric(
        "counter", (), "Records applied without an input that does not gate, after align_wait."
    ),
    "motet_transients_total": Metric(
        "counter", ("role",), "Times that the broker did not answer and was asked again."
    ),
    "motet_head_swaps_total": Metric(
        "counter", ("slot",), "Times that another trained head took over without a stop."
    ),
    "motet_live_windows": Metric(
        "gauge",
        ("answer",),
        "Answers of evaluation.span: right, wrong, none (abstained), or unlabelled so far.",
    ),
    "motet_live_accuracy": Metric(
        "gauge", (), "Share that is right of the answers that have met a label."
    ),
    "motet_live_balanced_accuracy": Metric(
        "gauge", (), "The same for each true label, and the mean of these."
    ),
    "motet_live_label_delay_seconds": Metric(
        "gauge", (), "From an answer to its label, the median; below 0 where labels come first."
    ),
    "motet_live_labels_total": Metric(
        "counter",
        ("outcome",),
        "Labels read since the start: met, unmet in evaluation.span; or unreadable, results too.",
    ),
    "motet_live_texts": Metric("gauge", ("stage",), "Texts of labels that have met a stage's."),
    "motet_live_word_error_rate": Metric(
        "gauge", ("stage",), "Word errors over the words of these labels."
    ),
    "motet_live_bleu": Metric("gauge", ("stage",), "BLEU over these labels, 0 to 100."),
    "motet_feature_drift": Metric(
        "gauge",
        ("stage",),
        "How unlike a stage's vectors are those of training; 1 is where it is worth a look.",
        together="max",
    ),
    "motet_build_info": Metric(
        "gauge", ("version", "python", "model"), "Always 1.", together="max"
    ),
}
