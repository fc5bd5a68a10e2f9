"""What the demo's page teaches with: a file of its own for training, and a place for heads."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from pipeline.cli.teaching import begin_teaching, train_command
from pipeline.demo.assets import OWN_CLASS, pipeline_text
from pipeline.demo.eject import FILE

if TYPE_CHECKING:
    from pipeline.slot.ports import Connector
    from pipeline.spec import PipelineSpec
    from pipeline.teaching import Teaching


@contextmanager
def demo_teaching(
    spec: PipelineSpec,
    connector: Connector,
    lengths: Mapping[str, int],
    bootstrap: str | None,
    *,
    models: bool,
) -> Iterator[tuple[PipelineSpec, Teaching | None]]:
    """As ``begin_teaching``; ``bootstrap`` None: the broker is in memory, and nothing trains.

    The files are gone with the demo, as its topics are.
    """
    with TemporaryDirectory(prefix="motet-demo-") as name:
        folder = Path(name)
        command = None
        if bootstrap is not None:
            file = folder / FILE
            file.write_text(pipeline_text(spec.name, models), encoding="utf-8")
            for own in OWN_CLASS if models else ():
                shutil.copyfile(own, folder / own.name)
            command = train_command(str(file), [f"kafka.bootstrap={bootstrap}"])
        yield begin_teaching(spec, connector, lengths, command, str(folder / "heads"))
