"""The result record of a fused window (contract section 4)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, Protocol

from pipeline.encoders.base import Said
from pipeline.fusion.linear import Fused
from pipeline.fusion.result import output_json, result_json, shares_json
from pipeline.slot.ports import OutRecord
from pipeline.spec import PipelineSpec, format_rfc3339
from pipeline.tasks.messages import Opened

RESULT_TYPE = b"motet.result.v1"


def model_name(spec: PipelineSpec, head: str | None) -> str:
    """What results name as their ``model``; ``head``: the hash of the head, None for none."""
    return f"{spec.name}@sha256:{spec.model_hash(head or '')}"


@lru_cache(maxsize=4096)
def rfc3339(time_us: int) -> bytes:
    """As ``format_rfc3339``, with as many digits as the time has, milliseconds at least."""
    digits: Literal["milliseconds", "microseconds"] = (
        "milliseconds" if time_us % 1000 == 0 else "microseconds"
    )
    return format_rfc3339(time_us, digits).encode()


class Told(Protocol):
    """A window as its result tells it: by stage what it gave, and why one gave nothing.

    Strings become ``text``, dicts ``data`` and ``Said`` both.
    """

    @property
    def opened(self) -> Opened: ...
    @property
    def outputs(self) -> Mapping[str, Any]: ...
    @property
    def failed(self) -> Mapping[str, str]: ...


class ResultWriter:
    """Writes results of one pipeline; the same window gives the same bytes."""

    def __init__(self, spec: PipelineSpec, head: str | None = None) -> None:
        """``head``: the hash of the trained head that fuses; None: none does."""
        self._topic = spec.outputs.results
        self._model = model_name(spec, head)
        self._headers = (
            ("content-type", b"application/json"),
            ("ce_specversion", b"1.0"),
            ("ce_type", RESULT_TYPE),
            ("ce_source", f"motet/{spec.name}".encode()),
        )

    def write(self, windows: Sequence[Told], fused: Sequence[Fused]) -> list[OutRecord]:
        """The results of windows that were fused together; each has the bytes that it has alone."""
        records = []
        shown: Mapping[str, float] = {}
        weights = shares_json(shown)
        for window, each in zip(windows, fused, strict=True):
            if each.weights is not shown:  # windows that are alike share one map
                shown, weights = each.weights, shares_json(each.weights)
            records.append(self._record(window, each, weights))
        return records

    def _record(self, window: Told, fused: Fused, weights: str) -> OutRecord:
        opened, failed = window.opened, window.failed
        if fused.failure is not None:
            failed = {**failed, "fusion": fused.failure}
        text: dict[str, str] = {}
        data: dict[str, Any] = {}
        for stage, output in window.outputs.items():  # vectors are fused
            if isinstance(output, str):
                text[stage] = output
                if isinstance(output, Said):
                    data[stage] = output.data
            elif isinstance(output, dict):
                data[stage] = output
        stream, start_us = opened.stream, opened.start_us
        value = result_json(
            stream=stream,
            start_us=start_us,
            end_us=opened.end_us,
            present=opened.present,
            missing=opened.missing,
            coverage=opened.coverage,
            output=output_json(fused),
            weights=weights,
            attribution=shares_json(fused.attribution),
            text=text,
            data=data,
            failed=failed,
            model=self._model,
        )
        headers = (
            *self._headers,
            ("ce_id", f"{stream}/{start_us}".encode()),
            ("ce_time", rfc3339(opened.end_us)),
            *opened.trace,
        )
        return OutRecord(self._topic, opened.lane, stream.encode(), value, headers)
