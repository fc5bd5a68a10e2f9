"""Training sets of recorded media: published, replayed through a pipeline's lanes and encoders.

It is what ``motet export`` does, on the in-memory broker. Sets are kept on disk, since encoders
with weights take minutes: by the pipeline's model hash and by what was published.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from pipelines import broker_for, connector_for

from pipeline.connectors.memory_broker import MemoryBroker
from pipeline.encoders.checking import check_pipeline
from pipeline.spec import PipelineSpec
from pipeline.tasks.host import RunControl
from pipeline.tasks.starting import check_topics
from pipeline.training.export import export, manifest
from pipeline.training.feature_set import FORMAT, FeatureSet, read_set, writing
from pipeline.training.labels import Label, LabelIndex

LANES = 2
# Appends the records to topics of LANES partitions, in the order in which they are sent; gives
# their labels.
Publish = Callable[[MemoryBroker], list[Label]]


def exported_set(spec: PipelineSpec, publish: Publish, folder: Path) -> FeatureSet:
    """The set of what ``publish`` sends, written to ``folder``.

    Fails where a label has no row, or a stage failed in a window.
    """
    broker = broker_for(spec, LANES)
    labels = publish(broker)
    index = LabelIndex(labels)
    connector, lengths = connector_for(broker), check_pipeline(spec)
    with closing(connector.control()) as control:
        layout = check_topics(spec, control)
    shown = -1

    def progress(share: float) -> None:
        nonlocal shown
        if int(10 * share) > shown:
            shown = int(10 * share)
            print(f"{spec.name}: {10 * shown} % of the records read", file=sys.stderr, flush=True)

    with writing(folder, {stage: lengths[stage] for stage in spec.fusion.of}) as writer:
        seen = export(spec, connector, layout, lengths, index, writer.add, RunControl(),
                      progress=progress)  # fmt: skip
        writer.close(manifest(spec, lengths, seen))
    told = seen.as_json()
    if told["failed"] or told["rows"] != len(labels):
        raise AssertionError(f"not every one of {len(labels)} labels has its row: {told}")
    return read_set(folder)


def kept_set(spec: PipelineSpec, publish: Publish, told: str, root: Path) -> FeatureSet:
    """The same, made once: ``told`` names what ``publish`` sends, options and data alike."""
    name = f"{told}\n{spec.model_hash()}\n{FORMAT}"
    folder = root / f"{spec.name}-{hashlib.sha256(name.encode()).hexdigest()[:16]}"
    if not folder.is_dir():
        root.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root) as place:
            exported_set(spec, publish, Path(place) / "set")
            (Path(place) / "set").rename(folder)
    return read_set(folder)
