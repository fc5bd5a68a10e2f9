"""What the demo plays: its pipeline file, and the media of three streams (media/NOTICE)."""

from __future__ import annotations

from pathlib import Path

from pipeline.connectors.files import SourceFile, SourceKind, Target, Timeline, expand
from pipeline.spec import PipelineSpec, loads

HERE = Path(__file__).parent
MEDIA = HERE / "media"
PIPELINE = HERE / "lobby.yaml"
# The name that stands in the file for the pipeline and before its topics.
PLACEHOLDER = "lobby"

# Each stream, and how many sentences after the others it begins; their keys fall into three
# of four partitions, so three lanes are at work.
STREAMS = {"hall": 0, "foyer": 1, "gallery": 3}
PARTITIONS = 4

# As live producers send: sound in short records, four pictures a second, a line each second.
CHUNK_US: dict[SourceKind, int] = {"audio": 200_000, "image": 250_000, "text": 1_000_000}
PASS_US = 25_000_000  # five sentences: 24.7 s


def pipeline_text(name: str) -> str:
    """The pipeline file for a pipeline of that name, its topics named after it."""
    return PIPELINE.read_text(encoding="utf-8").replace(PLACEHOLDER, name)


def pipeline_spec(name: str, bootstrap: str) -> PipelineSpec:
    return loads(pipeline_text(name), folder=HERE, environ={"KAFKA": bootstrap})


def sources(stream: str) -> list[Path]:
    """The media of a stream, each kind in the order in which it plays."""
    speech = sorted((MEDIA / "speech").iterdir())
    frames = sorted((MEDIA / "frames").iterdir())
    first = STREAMS[stream]
    return [*speech[first:], *speech[:first], *frames, MEDIA / "captions" / f"{stream}.txt"]


def timelines(spec: PipelineSpec) -> list[Timeline]:
    """Every stream on every topic: one pass fills ``PASS_US``, the film again and again."""
    kinds = {given.media.kind: given for given in spec.inputs.values()}
    lines = []
    for stream in STREAMS:
        files: dict[SourceKind, list[SourceFile]] = {"audio": [], "image": [], "text": []}
        for file in expand([str(path) for path in sources(stream)])[0]:
            files[file.kind].append(file)
        for kind, found in files.items():
            target = Target(kinds[kind].topic, str(kinds[kind].media))
            times = PASS_US // (len(found) * CHUNK_US[kind]) if kind == "image" else 1
            lines.append(Timeline(target, stream, tuple(found * times), CHUNK_US[kind]))
    return lines
