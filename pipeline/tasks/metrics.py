"""The metrics of a pipeline (contract section 6), each declared once.

docs/METRICS.md is written from here (``make metrics``), and a test fails where it is stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["counter", "gauge", "histogram"]
SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
SIZES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """``help`` is what it means, ``act`` what to do about it, both one line.

    ``together``: how the gauges of several owners with the same labels make one; ``any``: shares
    of time in which something was so for each of them, and it is so for all where it is for one.
    """

    kind: Kind
    unit: str
    labels: tuple[str, ...]
    help: str
    act: str
    buckets: tuple[float, ...] = ()
    together: Literal["sum", "max", "mean", "any"] = "sum"


GROUPS: dict[str, dict[str, Metric]] = {
    "Records and windows": {
        "motet_records_total": Metric(
            "counter",
            "records",
            ("input",),
            "Records read and committed.",
            "A rate of 0 while the source sends: see motet_consumer_lag_records and /readyz.",
        ),
        "motet_record_bytes_total": Metric(
            "counter",
            "bytes",
            ("input",),
            "Bytes of these records.",
            "Bytes a record that grow suddenly mean another source or codec.",
        ),
        "motet_record_fates_total": Metric(
            "counter",
            "pairs",
            ("input", "fate"),
            "Pairs of record and window by fate: fused, late, dead_letter (a dead letter once).",
            "late over some percent: raise out_of_orderness, or repair the source's clock.",
        ),
        "motet_dead_letters_total": Metric(
            "counter",
            "entries",
            ("reason",),
            "Entries written to the dead-letter topic, by the reason in their header.",
            "motet dlq list FILE shows each with its error; the reasons are in docs/PIPELINE.md.",
        ),
        "motet_windows_total": Metric(
            "counter",
            "windows",
            (),
            "Results committed.",
            "A rate of 0 while records come: the page says which input holds the clock.",
        ),
        "motet_windows_incomplete_total": Metric(
            "counter",
            "windows",
            ("missing",),
            "Results that an input is missing in, by input.",
            "Close to motet_windows_total: that input sends nothing, or under other stream ids.",
        ),
        "motet_windows_forced_total": Metric(
            "counter",
            "rises",
            (),
            "Rises of a lane's floor that limits.open_bytes has forced.",
            "Any: raise limits.open_bytes, or shorten windows.idle.",
        ),
        "motet_copartition_violations_total": Metric(
            "counter",
            "records",
            (),
            "Records of streams that were seen on two partition numbers.",
            "Any: give all topics the same partition count, keys and partitioner.",
        ),
        "motet_audio_gaps_total": Metric(
            "counter",
            "records",
            ("input",),
            "Audio records that begin over 5 ms after the one before ended.",
            "Many: the sender drops blocks, or stamps them by its wall clock.",
        ),
        "motet_audio_overlaps_total": Metric(
            "counter",
            "records",
            ("input",),
            "Audio records that begin over 5 ms before the one before ended.",
            "Many: two senders share a stream id, or blocks are sent twice.",
        ),
        "motet_audio_drift_seconds": Metric(
            "gauge",
            "seconds",
            ("input",),
            "Farthest that a stream's timestamps and the count of its samples lately were apart.",
            "Over out_of_orderness: the sound card's clock drifts; stamp by the count of samples.",
            together="max",
        ),
    },
    "How far behind": {
        "motet_consumer_lag_records": Metric(
            "gauge",
            "records",
            ("topic", "partition"),
            "Offsets between the log's stable end and what is applied.",
            "Growing: the page names the bottleneck; give that stage replicas or a GPU.",
        ),
        "motet_event_time_lag_seconds": Metric(
            "gauge",
            "seconds",
            ("input",),
            "Wall clock less the newest event time read.",
            "Large while records come: a backlog is read, or the source's clock is wrong.",
            together="max",
        ),
        "motet_clock_seconds": Metric(
            "gauge",
            "seconds since the epoch",
            ("input", "slot"),
            "Event time that a slot's lanes have reached, since the epoch.",
            "The input whose clock stands still holds the windows of that slot.",
            together="max",
        ),
        "motet_end_to_end_seconds": Metric(
            "histogram",
            "seconds",
            (),
            "From the append of the record that closed a window to the commit of its result.",
            "p99 that grows: compare queue, compute and commit below.",
            SECONDS,
        ),
        "motet_align_waits_total": Metric(
            "counter",
            "records",
            (),
            "Records applied without an input that does not gate, after align_wait.",
            "Any: that input's partition could not be read for so long; see the broker.",
        ),
        "motet_replay_records": Metric(
            "gauge",
            "records",
            (),
            "Records that have to be read again before the lanes go on.",
            "Above 0 for minutes: large windows or contexts, or a slow broker.",
        ),
    },
    "Stages": {
        "motet_stage_batch_size": Metric(
            "histogram",
            "windows",
            ("stage",),
            "Windows in a batch.",
            "Small while busy: windows come one by one, which is no fault; see the page.",
            SIZES,
        ),
        "motet_stage_queue_windows": Metric(
            "gauge",
            "windows",
            ("stage",),
            "Windows that are queued for a stage or with its replicas now.",
            "Growing: the stage is the bottleneck; replicas, a GPU, or a larger batch_max.",
        ),
        "motet_stage_queue_seconds": Metric(
            "histogram",
            "seconds",
            ("stage",),
            "From a window's readiness to its batch.",
            "Longer than compute: the stage has more to do than its replicas can.",
            SECONDS,
        ),
        "motet_stage_compute_seconds": Metric(
            "histogram",
            "seconds",
            ("stage",),
            "From a batch's hand-over to its results.",
            "Longer than a window's length over the number of streams: it cannot keep up.",
            SECONDS,
        ),
        "motet_stage_prepare_seconds_total": Metric(
            "counter",
            "seconds",
            ("stage",),
            "Of compute, the time spent on decoding records and laying out clips.",
            "Over a third of compute: smaller pictures or a cheaper codec help more than a GPU.",
        ),
        "motet_stage_transfer_seconds_total": Metric(
            "counter",
            "seconds",
            ("stage",),
            "Time that batches were on their way to replicas and their results back.",
            "Near compute: payloads are large for so little work, or the ingest process is busy.",
        ),
        "motet_stage_busy_ratio": Metric(
            "gauge",
            "ratio",
            ("stage",),
            "Share of the last seconds that the replicas had work, 0 to 1.",
            "Near 1 with a queue that grows: the bottleneck.",
            together="any",
        ),
        "motet_stage_replicas": Metric(
            "gauge",
            "replicas",
            ("stage", "state"),
            "Replicas of a stage that are wanted (replicas.min to max), and that are ready.",
            "ready below wanted for minutes: the log says what keeps them from starting.",
            together="max",
        ),
        "motet_stage_failures_total": Metric(
            "counter",
            "windows",
            ("stage",),
            "Windows that the stage gave nothing for, though it ran.",
            "motet dlq list FILE shows the error of each.",
        ),
        "motet_decode_timeouts_total": Metric(
            "counter",
            "records",
            ("stage",),
            "Records of windows that limits.decode_time kept from being decoded, wholly or in "
            "part.",
            "Raise limits.decode_time for large media; else somebody sends what is made slow.",
        ),
        "motet_feature_drift": Metric(
            "gauge",
            "score",
            ("stage",),
            "How unlike a stage's vectors are those of training; 1 is where it is worth a look.",
            "1 or more: look at the source; label what comes now and train again.",
            together="max",
        ),
    },
    "Commits and memory": {
        "motet_commit_seconds": Metric(
            "histogram",
            "seconds",
            (),
            "Length of a transaction.",
            "Longer than commit_interval: the broker is slow; fewer slots cost fewer transactions.",
            SECONDS,
        ),
        "motet_commits_total": Metric(
            "counter",
            "transactions",
            ("outcome",),
            "Transactions: committed, or tried again after an error.",
            "retried that grows: brokers restart or are overloaded; results stay exactly once.",
        ),
        "motet_in_flight_bytes": Metric(
            "gauge",
            "bytes",
            ("slot",),
            "Bytes read and not yet committed.",
            "At limits.in_flight_bytes nothing is read: the bottleneck is behind it.",
        ),
        "motet_open_bytes": Metric(
            "gauge",
            "bytes",
            ("slot",),
            "Bytes of records that open windows keep.",
            "Near limits.open_bytes windows are closed early: raise it, or shorten windows.idle.",
        ),
        "motet_paused_partitions": Metric(
            "gauge",
            "partitions",
            (),
            "Partitions that are not fetched just now.",
            "Some for long: these inputs are ahead of another, or a slot's budget is full.",
        ),
    },
    "The run": {
        "motet_actor_restarts_total": Metric(
            "counter",
            "restarts",
            ("role", "cause"),
            "Actors that ended and were started anew.",
            "Again and again: the cause, then the actor's log; out of memory is the usual one.",
        ),
        "motet_actor_moves_total": Metric(
            "counter",
            "moves",
            ("role",),
            "Actors that were started elsewhere since their node will go (role: owner, encoder).",
            "Where spot nodes are taken back often, keep owners on others: docs/SCALING.md.",
        ),
        "motet_draining_nodes": Metric(
            "gauge",
            "nodes",
            (),
            "Nodes of the cluster that Ray drains: a spot notice, an operator, its autoscaler.",
            "For minutes: /api/state (draining) has what stands there still, the log says why.",
            together="max",
        ),
        "motet_slot_moves_total": Metric(
            "counter",
            "moves",
            ("outcome",),
            "Slots that went to another owner: moved; recovered from Kafka, as an owner ended amid "
            "it; cancelled: it stays where it was.",
            "Several a minute for long: the load is lopsided in another way every time; say it.",
        ),
        "motet_slot_move_pause_seconds": Metric(
            "histogram",
            "seconds",
            (),
            "Of a slot that moved: from its old owner's last window to when its new one reads.",
            "Over 2 s: the broker answers slowly; motet_commit_seconds says how slowly.",
            SECONDS,
        ),
        "motet_transients_total": Metric(
            "counter",
            "times",
            ("role",),
            "Times that the broker did not answer and was asked again.",
            "Growing: the network or the brokers; nothing is lost meanwhile.",
        ),
        "motet_head_swaps_total": Metric(
            "counter",
            "swaps",
            ("slot",),
            "Times that another trained head took over without a stop.",
            "Differs between slots for more than seconds: see fusion.head in /api/state.",
        ),
        "motet_build_info": Metric(
            "gauge",
            "1",
            ("version", "python", "model"),
            "Always 1.",
            "Two versions at once: a rollout is under way.",
            together="max",
        ),
    },
    "How good the answers are": {
        "motet_live_windows": Metric(
            "gauge",
            "windows",
            ("answer",),
            "Answers of evaluation.span: right, wrong, none (abstained), or unlabelled so far.",
            "right, wrong and none at 0: no label has met a window; compare streams and times.",
        ),
        "motet_live_accuracy": Metric(
            "gauge",
            "ratio",
            (),
            "Share that is right of the answers that have met a label.",
            "Fell: docs/OPERATIONS.md, Is it still right?",
        ),
        "motet_live_balanced_accuracy": Metric(
            "gauge",
            "ratio",
            (),
            "The same for each true label, and the mean of these.",
            "Below accuracy: rare labels are missed; the page shows which.",
        ),
        "motet_live_label_delay_seconds": Metric(
            "gauge",
            "seconds",
            (),
            "From an answer to its label, the median; below 0 where labels come first.",
            "Over evaluation.span: labels come too late to count.",
        ),
        "motet_live_labels_total": Metric(
            "counter",
            "labels",
            ("outcome",),
            "Labels read since the start: met, unmet in evaluation.span; or unreadable, results "
            "too.",
            "unmet: other streams or times than the windows'; unreadable: not the label format.",
        ),
        "motet_live_texts": Metric(
            "gauge",
            "texts",
            ("stage",),
            "Texts of labels that have met a stage's.",
            "0: no label with a text has met a window.",
        ),
        "motet_live_word_error_rate": Metric(
            "gauge",
            "ratio",
            ("stage",),
            "Word errors over the words of these labels.",
            "Rose: noise, another language, or a microphone that is farther away.",
        ),
        "motet_live_bleu": Metric(
            "gauge",
            "0 to 100",
            ("stage",),
            "BLEU over these labels, 0 to 100.",
            "Fell: as motet_live_word_error_rate.",
        ),
    },
}
METRICS: dict[str, Metric] = {name: one for group in GROUPS.values() for name, one in group.items()}
