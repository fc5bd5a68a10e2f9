"""Measuring encoders one after another: their curves and their cost cards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from pipeline import clock
from pipeline.batching.batch import StageJob
from pipeline.cli.bench_asked import Asked
from pipeline.cli.bench_windows import Windows, bench_windows, demo_files, vector_windows
from pipeline.cli.trying import Trial, open_trial
from pipeline.cli.trying_windows import INPUT
from pipeline.connectors.files import SourceFile, parts
from pipeline.costs.card import CostCard, card_of
from pipeline.costs.curve import Curve, measured_curve
from pipeline.costs.memory import PeakMemory
from pipeline.encoders.base import Clip, Encoder, Output
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.plan import StagePlan
from pipeline.encoders.running import EncodeTask
from pipeline.errors import InvalidInput, MotetError, Problem


class Measured(NamedTuple):
    """One encoder. ``encode_us``: of one window of the chosen batch, what ``encode`` alone takes;
    the rest is decoding its records and checking what came out.
    """

    asked: Asked
    takes: tuple[str, ...]
    gives: str
    windows: Windows
    curve: Curve
    chosen: int
    encode_us: float
    card: CostCard


def device_named(name: str) -> torch.device:
    """``auto``, ``cpu`` or ``cuda``; InvalidInput where there is no CUDA device."""
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        why = "torch finds no CUDA device here"
        remedy = "leave --device out; `motet doctor` says why there is none"
        raise InvalidInput(Problem("--device", name, why, remedy))
    return torch.device("cuda" if there and name != "cpu" else "cpu")


def measured(
    asked: Asked, files: Sequence[SourceFile], device: torch.device, time_us: int
) -> Measured:
    """Builds the encoder and measures it, with the demo's media where no files are given.

    On one thread, as a replica runs. Raises InvalidInput where it cannot be built or no file is
    of its kind, MotetError where a window fails.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        peak = PeakMemory(device)
        trial = open_trial(asked.encoder, asked.options, str(device), asked.folder)
        lengths = _lengths(asked) if trial.takes == ("vector",) else {}
        windows = (
            vector_windows(lengths, asked.span, asked.batch_max)
            if lengths
            else _windows(trial, files, asked)
        )
        plan = StagePlan(
            name=asked.title,
            of=tuple(lengths) or (INPUT,),
            before_us=asked.span.before_us,
            after_us=asked.span.after_us,
            upstream_lengths=lengths,
        )
        run = _Replica(trial.encoder, plan)
        curve = measured_curve(run, windows.jobs, device, time_us)
        memory_bytes = peak.peak_bytes()
        chosen = curve.chosen(asked.target_us)
        some = windows.jobs[:chosen]
        seconds = curve.times_us[chosen] / 1e6
        return Measured(
            asked=asked,
            takes=trial.takes,
            gives=trial.gives,
            windows=windows,
            curve=curve,
            chosen=chosen,
            encode_us=run.encode_share(chosen) * curve.item_us(chosen),
            card=card_of(asked.title, run, some, trial.encoder, device, seconds, memory_bytes),
        )
    finally:
        torch.set_num_threads(threads)


def _lengths(asked: Asked) -> dict[str, int]:
    """Of the vectors that a stage reads, by the stages that give them; InvalidInput without any."""
    if asked.spec is None:
        why = "it takes vectors, which no file of media holds"
        remedy = "measure it as a stage of a pipeline: motet bench encode lobby.yaml"
        raise InvalidInput(Problem("ENCODER", asked.title, why, remedy))
    known = check_pipeline(asked.spec)
    return {name: known[name] for name in asked.of}


def _windows(trial: Trial, files: Sequence[SourceFile], asked: Asked) -> Windows:
    held = [part for file in files for part in parts(file)] if files else demo_files(trial.takes)
    taken = trial.demand(held, ())
    windows = bench_windows(taken, asked.span, asked.batch_max)
    if not windows.jobs:
        why = "there is nothing in them to encode"
        shown = str(taken[0].path) if taken else asked.title
        raise InvalidInput(Problem("SOURCE", shown, why, "give files that hold something"))
    return windows


class _Replica:
    """Runs batches as a replica does, and knows how much of that was in ``encode``.

    A window that fails ends it (MotetError): it would be quick.
    """

    def __init__(self, encoder: Encoder, plan: StagePlan) -> None:
        self._title = plan.name
        self._timed = _Timed(encoder)
        self._task = EncodeTask(self._timed, plan)
        self._passed_us: Counter[int] = Counter()  # by size of the batch
        self._encode_us: Counter[int] = Counter()

    def __call__(self, jobs: Sequence[StageJob]) -> None:
        before_us, began_us = self._timed.spent_us, clock.monotonic_us()
        results = self._task.run(jobs)
        self._passed_us[len(jobs)] += clock.monotonic_us() - began_us
        self._encode_us[len(jobs)] += self._timed.spent_us - before_us
        for job, result in zip(jobs, results, strict=True):
            if result.failure is not None:
                named = [record.log.topic for record in job.records[:1]]
                where = " ".join([*named, f"at {job.start_us / 1e6:g} s"])
                raise MotetError(
                    f"{self._title}: a window fails ({where}): {result.failure}; `motet try` "
                    "shows it alone"
                )

    def encode_share(self, size: int) -> float:
        return self._encode_us[size] / max(1, self._passed_us[size])


class _Timed:
    """An encoder that adds up the time in ``encode``."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.spent_us = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode(self, batch: Sequence[Clip]) -> Sequence[Output]:
        began_us = clock.monotonic_us()
        outputs = self._encoder.encode(batch)
        self.spent_us += clock.monotonic_us() - began_us
        return outputs
