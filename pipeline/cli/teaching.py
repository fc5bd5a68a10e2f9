"""What the page's "Teach it" needs of a run: a topic of labels, a place for heads, a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from pipeline.cli.terminal import say, warn
from pipeline.errors import InvalidInput

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.teaching import Teaching


def begin_teaching(
    spec: PipelineSpec,
    connector: Connector,
    lengths: Mapping[str, int],
    command: Sequence[str] | None,
    heads: str | None = None,
    *,
    sequences: bool = False,
) -> tuple[PipelineSpec, Teaching | None]:
    """The pipeline as it is to run, and what its page can teach; None where the file allows none.

    ``lengths``: as ``check_pipeline`` gave them. ``command``: the arguments of ``motet`` that
    train on the same topics; None: none can. ``heads``: where they go (default: beside the file).
    ``sequences``: whether a stage gives one.
    Where the place for heads cannot be written, the run goes on without teaching, and says so.
    """
    if not spec.metrics.ingest:
        return spec, None
    from pipeline.spec.teaching import teachable
    from pipeline.teaching import Teaching
    from pipeline.teaching.heads import Heads

    named = spec.fusion.head is not None
    made = teachable(spec, heads)
    try:
        held = Heads(made, lengths, named=named, kept=heads is None)
    except InvalidInput as error:
        warn(f"nothing can be taught on the page: {'; '.join(str(error).splitlines())}")
        return spec, None
    if held.warning is not None:
        warn(held.warning)
    if not named and heads is None:
        say(f"motet: heads that are deployed on the page go to {made.fusion.head}")
    return made, Teaching(made, connector, held, command, sequences=sequences)


def train_command(file: str, sets: Sequence[str]) -> list[str]:
    """The arguments of ``motet`` that train on what a run of this file reads."""
    return ["train", file, *(word for one in sets for word in ("--set", one))]
