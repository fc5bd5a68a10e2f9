"""The result record of a fused window (contract section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

from pipeline.encoders.base import Said
from pipeline.fusion.linear import Fused
from pipeline.fusion.result import result_json
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

    def write(
        self,
        window: Opened,
        outputs: Mapping[str, Any],
        failed: Mapping[str, str],
        fused: Fused,
    ) -> OutRecord:
        """``outputs`` by stage: strings become ``text``, dicts ``data``; vectors are fused.

        ``Said`` becomes both.
        """
        if fused.failure is not None:
            failed = {**failed, "fusion": fused.failure}
        value = result_json(
            stream=window.stream,
            start_us=window.start_us,
            end_us=window.end_us,
            present=window.present,
            missing=window.missing,
            coverage=window.coverage,
            fused=fused,
            text={name: out for name, out in outputs.items() if isinstance(out, str)},
            data={name: data for name, out in outputs.items() if (data := _data(out)) is not None},
            failed=failed,
            model=self._model,
        )
        headers = (
            *self._headers,
            ("ce_id", f"{window.stream}/{window.start_us}".encode()),
            ("ce_time", rfc3339(window.end_us)),
            *window.trace,
        )
        return OutRecord(self._topic, window.lane, window.stream.encode(), value, headers)


def _data(output: Any) -> dict[str, Any] | None:
    return output.data if isinstance(output, Said) else output if isinstance(output, dict) else None
