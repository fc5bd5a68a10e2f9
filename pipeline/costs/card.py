"""The cost card: what one step of a pipeline costs on one device."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch

from pipeline.costs.engines import engines
from pipeline.costs.flops import counted_flops
from pipeline.costs.memory import PeakMemory
from pipeline.costs.timing import took_us
from pipeline.costs.words import mebibytes, scaled
from pipeline.spec.user_class import one_line

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class CostCard:
    """Of one item in a batch of ``batch``; None is what nobody counts, ``why`` says so.

    parameters, parameter_bytes: of all networks, each once. flops: as ``counted_flops`` counts.
    seconds: of one item. memory_bytes: as ``PeakMemory``, None where it was not watched.
    """

    name: str
    device: str
    libraries: tuple[str, ...]
    parameters: int | None
    parameter_bytes: int | None
    flops: int | None
    batch: int
    seconds: float
    memory_bytes: int | None
    why: tuple[str, ...] = ()

    @property
    def flops_per_second(self) -> float | None:
        return None if self.flops is None else self.flops / self.seconds

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "libraries": list(self.libraries), "why": list(self.why)}

    def rows(self) -> list[tuple[str, str]]:
        """What a person reads, for a table or a model card: a name and a value with its unit."""
        per_second = self.flops_per_second
        return [
            ("device", self.device),
            ("networks", ", ".join(self.libraries) or "none"),
            ("parameters", scaled(self.parameters)),
            ("parameter bytes", mebibytes(self.parameter_bytes)),
            ("FLOPs an item", scaled(self.flops, "FLOP")),
            ("FLOPs a second", scaled(per_second, "FLOP/s")),
            (f"time an item, in a batch of {self.batch}", f"{self.seconds * 1e3:.3g} ms"),
            ("peak memory", mebibytes(self.memory_bytes)),
        ]


def cost_card(
    name: str,
    run: Callable[[Sequence[Item]], object],
    items: Sequence[Item],
    holder: object,
    device: torch.device | str,
) -> CostCard:
    """The card of ``run``, a function of a batch, on all ``items`` as one batch.

    ``holder`` is what holds its networks: an encoder, a torch module. An encoder's card is
    ``cost_card(name, encoder.encode, clips, encoder, device)``, a head's ``cost_card(name, lambda
    rows: head(torch.stack(rows)), rows, head, device)``. Runs once to warm up, is timed once
    (short ones repeatedly), and runs once more to be counted.
    """
    device = torch.device(device)
    run(items)
    peak = PeakMemory(device)
    seconds = took_us(lambda: run(items), device) / 1e6
    return card_of(name, run, items, holder, device, seconds, peak.peak_bytes())


def card_of(
    name: str,
    run: Callable[[Sequence[Item]], object],
    items: Sequence[Item],
    holder: object,
    device: torch.device,
    seconds: float,
    memory_bytes: int | None,
) -> CostCard:
    """The card where time (of the whole batch) and memory were measured by the caller."""
    found = engines(holder)
    others = tuple(dict.fromkeys(each.library for each in found if each.library != "torch"))
    why = [f"{library} tells neither parameters nor FLOPs" for library in others]
    flops: int | None = None
    if not others:
        flops, refused = _flops(run, items)
        if flops is None:
            why.append(f"FLOPs not counted: {refused}")
    return CostCard(
        name=name,
        device=str(device),
        libraries=tuple(dict.fromkeys(each.library for each in found)),
        parameters=_sum([each.parameters for each in found]),
        parameter_bytes=_sum([each.size_bytes for each in found]),
        flops=flops,
        batch=len(items),
        seconds=seconds / len(items),
        memory_bytes=memory_bytes,
        why=tuple(why),
    )


def _flops(
    run: Callable[[Sequence[Item]], object], items: Sequence[Item]
) -> tuple[int | None, str]:
    """FLOPs of one item, or None and why."""
    try:
        total = counted_flops(lambda: run(items))
    except Exception as error:  # what runs by itself need not run under a dispatch mode
        return None, f"it fails while torch counts ({one_line(error)})"
    none = "no product, convolution or transform of torch in it"
    return (total // len(items), "") if total else (None, none)


def _sum(numbers: Sequence[int | None]) -> int | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None
