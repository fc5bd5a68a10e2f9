"""Panels of what works: stages, commits, memory, the heads and how good the answers are."""

from __future__ import annotations

from panels import Panel, Query
from queries import lines, of, quantile, quantiles, rate

_BATCH = "motet_stage_batch_size"

STAGES = (
    lines(
        "Busy",
        "Share of the time that the replicas had work. A stage near 100 % is the bottleneck.",
        "percentunit",
        Query(f"avg by (stage) ({of('motet_stage_busy_ratio')})", "{{stage}}"),
        bounds=(0, 1),
    ),
    lines(
        "Queue",
        "Windows queued for a stage or with its replicas. Where it grows is the bottleneck.",
        "short",
        Query(f"sum by (stage) ({of('motet_stage_queue_windows')})", "{{stage}}"),
    ),
    lines(
        "Wait for a batch",
        "From a window's readiness to its batch.",
        "s",
        *quantiles("motet_stage_queue_seconds", "stage"),
    ),
    lines(
        "Batch",
        "From a batch's hand-over to its results.",
        "s",
        *quantiles("motet_stage_compute_seconds", "stage"),
    ),
)
BATCHES = (
    lines(
        "Batch size",
        "Windows in a batch. It grows by itself when a stage is behind.",
        "short",
        Query(
            f"{rate(_BATCH + '_sum', 'stage')} / {rate(_BATCH + '_count', 'stage')}",
            "{{stage}} mean",
        ),
        Query(quantile(0.99, _BATCH, "stage"), "{{stage}} p99"),
    ),
    lines(
        "Replicas",
        "Wanted (replicas.min to max), and ready. A gap that stays: the log says what is missing.",
        "short",
        Query(f"max by (stage, state) ({of('motet_stage_replicas')})", "{{stage}} {{state}}"),
        stairs=True,
    ),
    lines(
        "Decoding and transfer",
        "Seconds a second that decoding takes, and that batches are on their way.",
        "s",
        Query(rate("motet_stage_prepare_seconds_total", "stage"), "{{stage}} decodes"),
        Query(rate("motet_stage_transfer_seconds_total", "stage"), "{{stage}} is sent to"),
    ),
    lines(
        "Failures",
        "Windows a second without an output, and records that limits.decode_time cut off.",
        "cps",
        Query(rate("motet_stage_failures_total", "stage"), "{{stage}} failed"),
        Query(rate("motet_decode_timeouts_total", "stage"), "{{stage}} decoded for too long"),
    ),
)

COMMITS = (
    lines(
        "Commits",
        "Transactions a second. Retried ones, and calls made again: the broker was away or slow.",
        "cps",
        Query(rate("motet_commits_total", "outcome"), "{{outcome}}"),
        Query(rate("motet_transients_total", "role"), "{{role}}: broker asked again"),
    ),
    lines(
        "Length of a commit",
        "Length of a transaction.",
        "s",
        *quantiles("motet_commit_seconds"),
    ),
    lines(
        "Fates",
        "Pairs of record and window a second, by what became of them.",
        "cps",
        Query(rate("motet_record_fates_total", "input, fate"), "{{input}} {{fate}}"),
    ),
    lines(
        "Dead letters",
        "Entries of the dead-letter topic since the run began, by reason: motet dlq list FILE.",
        "short",
        Query(f"sum by (reason) ({of('motet_dead_letters_total')})", "{{reason}}"),
        stairs=True,
    ),
)

MEMORY = (
    lines(
        "In flight",
        "Read and not yet committed. At limits.in_flight_bytes inputs pause.",
        "bytes",
        Query(f"sum by (slot) ({of('motet_in_flight_bytes')})", "slot {{slot}}"),
    ),
    lines(
        "Open",
        "Kept by open windows. Bounded by limits.open_bytes a lane.",
        "bytes",
        Query(f"sum by (slot) ({of('motet_open_bytes')})", "slot {{slot}}"),
    ),
    lines(
        "Restarts so far",
        "Actors that ended and were started anew since the run began, by role and cause.",
        "short",
        Query(f"sum by (role, cause) ({of('motet_actor_restarts_total')})", "{{role}}: {{cause}}"),
        stairs=True,
    ),
    lines(
        "Forced and misplaced",
        "Since the run began; all should be 0.",
        "short",
        Query(f"sum({of('motet_windows_forced_total')})", "floors forced by limits.open_bytes"),
        Query(
            f"sum({of('motet_copartition_violations_total')})", "streams on two partition numbers"
        ),
        Query(
            f"sum({of('motet_align_waits_total')})",
            "records that did not wait for an input any longer",
        ),
    ),
)

MOVES = (
    lines(
        "Slots that moved",
        "To another owner since the run began, by how it ended.",
        "short",
        Query(f"sum by (outcome) ({of('motet_slot_moves_total')})", "{{outcome}}"),
        stairs=True,
    ),
    lines(
        "Pause of a slot that moves",
        "From its old owner's last window to when its new one reads.",
        "s",
        *quantiles("motet_slot_move_pause_seconds"),
    ),
    lines(
        "Nodes that drain, actors that move",
        "Nodes that Ray takes away just now, and actors that were started elsewhere for it.",
        "short",
        Query(f"max({of('motet_draining_nodes')})", "nodes that drain"),
        Query(f"sum by (role) ({of('motet_actor_moves_total')})", "{{role}} moved"),
        stairs=True,
    ),
)

ANSWERS = (
    lines(
        "Accuracy",
        "Of the answers of evaluation.span that have met a label.",
        "percentunit",
        Query(f"avg({of('motet_live_accuracy')})", "accuracy"),
        Query(f"avg({of('motet_live_balanced_accuracy')})", "balanced"),
        bounds=(0, 1),
    ),
    lines(
        "Word error rate",
        "Of the texts of evaluation.span that have met a label's.",
        "percentunit",
        Query(f"avg by (stage) ({of('motet_live_word_error_rate')})", "{{stage}}"),
    ),
    lines(
        "BLEU",
        "Of the texts of evaluation.span that have met a label's, 0 to 100.",
        "none",
        Query(f"avg by (stage) ({of('motet_live_bleu')})", "{{stage}}"),
        bounds=(0, 100),
    ),
    lines(
        "Drift",
        "How unlike training a stage's vectors are; from 1 on it is worth a look.",
        "none",
        Query(f"max by (stage) ({of('motet_feature_drift')})", "{{stage}}"),
    ),
)
LABELS = (
    lines(
        "Answers and their labels",
        "Answers of evaluation.span: right, wrong, none (abstained), or without a label so far.",
        "short",
        Query(f"sum by (answer) ({of('motet_live_windows')})", "{{answer}}"),
        Query(f"sum by (stage) ({of('motet_live_texts')})", "texts of {{stage}}"),
    ),
    lines(
        "Labels read",
        "Since the run began. unmet: of other streams or times than the windows'.",
        "short",
        Query(f"sum by (outcome) ({of('motet_live_labels_total')})", "{{outcome}}"),
    ),
    lines(
        "Delay of labels",
        "From an answer to its label, the median; below 0 where labels come first.",
        "s",
        Query(f"avg({of('motet_live_label_delay_seconds')})", "delay"),
        bounds=(None, None),
    ),
    lines(
        "Heads deployed",
        "Times that another trained head took over without a stop, since the run began.",
        "short",
        Query(f"sum by (slot) ({of('motet_head_swaps_total')})", "slot {{slot}}"),
        stairs=True,
    ),
)

RUNS = (
    Panel(
        "What runs",
        "Version of motet and Python, and the model in every result.",
        "none",
        (Query(of("motet_build_info")),),
        kind="table",
        extra={
            "transformations": [
                {
                    "id": "organize",
                    "options": {"excludeByName": {"Time": True, "Value": True, "__name__": True}},
                }
            ]
        },
    ),
)
