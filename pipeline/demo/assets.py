"""What the demo plays: its pipeline files, and the media of three streams (media/NOTICE)."""

from __future__ import annotations

from pathlib import Path

from pipeline.connectors.files import SourceFile, SourceKind, Target, Timeline, expand
from pipeline.spec import PipelineSpec, loads

HERE = Path(__file__).parent
MEDIA = HERE / "media"
CLASSICAL = HERE / "lobby.yaml"
MODELS = HERE / "lobby-models.yaml"
# The class that lobby-models.yaml names, and what it reads.
OWN_CLASS = (HERE / "nearest_topic.py", HERE / "topics.npz")
# After every sentence: Whisper takes its time for each utterance, and three streams that never
# paused would leave little of two cores.
PAUSE = MEDIA / "pause.flac"
# The name that stands in the files for the pipeline and before its topics.
PLACEHOLDER = "lobby"

# Each stream, and how many sentences after the others it begins; their keys fall into three
# of four partitions, so three lanes are at work.
STREAMS = {"hall": 0, "foyer": 1, "gallery": 3}
PARTITIONS = 4
# Two streams show a film again and again, one shows photographs, each for a while.
FILM, PHOTOGRAPHS = "frames", "photographs"
PICTURES = {"hall": FILM, "foyer": FILM, "gallery": PHOTOGRAPHS}

# As live producers send: sound in short records, four pictures a second, a line each second.
CHUNK_US: dict[SourceKind, int] = {"audio": 200_000, "image": 250_000, "text": 1_000_000}
PASS_US = 50_000_000  # five sentences, each with its pause: 49.7 s


def pipeline_text(name: str, models: bool) -> str:
    """The pipeline file for a pipeline of that name, its topics named after it."""
    text = (MODELS if models else CLASSICAL).read_text(encoding="utf-8")
    return text.replace(PLACEHOLDER, name)


def pipeline_spec(name: str, bootstrap: str, models: bool) -> PipelineSpec:
    return loads(pipeline_text(name, models), folder=HERE, environ={"KAFKA": bootstrap})


def sources(stream: str) -> list[Path]:
    """The media of a stream, each kind in the order in which it plays."""
    speech = sorted((MEDIA / "speech").iterdir())
    pictures = sorted((MEDIA / PICTURES[stream]).iterdir())
    first = STREAMS[stream]
    spoken = [path for each in [*speech[first:], *speech[:first]] for path in (each, PAUSE)]
    return [*spoken, *pictures, MEDIA / "captions" / f"{stream}.txt"]


def timelines(spec: PipelineSpec) -> list[Timeline]:
    """Every stream on every topic; one pass fills ``PASS_US``."""
    kinds = {given.media.kind: given for given in spec.inputs.values()}
    lines = []
    for stream in STREAMS:
        files: dict[SourceKind, list[SourceFile]] = {"audio": [], "image": [], "text": []}
        for file in expand([str(path) for path in sources(stream)])[0]:
            files[file.kind].append(file)
        files["image"] = _filling(files["image"], still=PICTURES[stream] == PHOTOGRAPHS)
        for kind, found in files.items():
            target = Target(kinds[kind].topic, str(kinds[kind].media))
            lines.append(Timeline(target, stream, tuple(found), CHUNK_US[kind]))
    return lines


def _filling(pictures: list[SourceFile], still: bool) -> list[SourceFile]:
    """A pass of pictures: a film as often as it fits, photographs shown equally long."""
    times = PASS_US // (len(pictures) * CHUNK_US["image"])
    if still:
        return [picture for picture in pictures for _ in range(times)]
    return pictures * times
