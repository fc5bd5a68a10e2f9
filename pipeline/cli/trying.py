"""One encoder on files: the clips of a pipeline, the encoder's answers, and where it failed."""

from __future__ import annotations

import resource
import sys
import traceback
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import yaml

from pipeline import clock
from pipeline.batching.batch import StageJob
from pipeline.cli.trying_windows import INPUT, Window, windows_of
from pipeline.connectors.files import SourceFile
from pipeline.connectors.sound_file import unreadable
from pipeline.encoders.base import Audio, Encoder, Said
from pipeline.encoders.clips import ClipBuilder, StagePlan
from pipeline.encoders.frames import wish_of
from pipeline.encoders.loading import kinds_taken, load_encoder, vector_length
from pipeline.encoders.outputs import checked
from pipeline.errors import InvalidInput, MotetError, Problem
from pipeline.spec.user_class import one_line

_NUMBERS_SHOWN = 6
_TEXT_SHOWN = 200
_LINES_SHOWN = 24  # of data
_WIDTH = 100
_REFUSED_SHOWN = 10
# A picture is what a film shows, too.
_SEEN = ("image", "video")


class Tried(NamedTuple):
    """One window: what the encoder gave, and how long it took."""

    source: str
    start_us: int
    end_us: int
    media_us: int
    gives: str
    output: Any
    encode_us: int

    def shown(self) -> str:
        """The output in a few words."""
        if self.gives == "vector":
            first = " ".join(f"{number:.4g}" for number in self.output[:_NUMBERS_SHOWN])
            more = " ..." if len(self.output) > _NUMBERS_SHOWN else ""
            norm = float(np.linalg.norm(self.output))
            return f"vector ({len(self.output)},) [{first}{more}] norm {norm:.4g}"
        if isinstance(self.output, Audio):
            return f"audio {len(self.output.samples)} samples at {self.output.rate} Hz"
        if isinstance(self.output, np.ndarray):
            return f"image {self.output.shape[0]} x {self.output.shape[1]} (height, width)"
        if isinstance(self.output, str):
            text = repr(str(self.output))
            cut = text if len(text) <= _TEXT_SHOWN else f"{text[: _TEXT_SHOWN - 3]}..."
            return f"{self.gives} {cut}"
        return self.gives

    def details(self) -> list[str]:
        """Data, or what came with a text, as lines of YAML: a list of values is one of them."""
        data = self._data()
        if not data:
            return []
        text = yaml.safe_dump(
            data, default_flow_style=None, sort_keys=False, allow_unicode=True, width=_WIDTH
        )
        lines = text.splitlines()
        if len(lines) > _LINES_SHOWN:
            more = f"... and {len(lines) - _LINES_SHOWN + 1} lines more; --json gives all of it"
            lines = [*lines[: _LINES_SHOWN - 1], more]
        return lines

    def _data(self) -> dict[str, Any] | None:
        if isinstance(self.output, Said):
            return self.output.data
        return self.output if isinstance(self.output, dict) else None

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "start_us": self.start_us,
            "end_us": self.end_us,
            "seconds": self.encode_us / 1e6,
            "output": self._output(),
            **({"said": self.output.data} if isinstance(self.output, Said) else {}),
        }

    def _output(self) -> dict[str, Any]:
        if self.gives == "vector":
            return {"vector": [float(number) for number in self.output]}
        if isinstance(self.output, Audio):
            return {"audio": {"samples": len(self.output.samples), "rate": self.output.rate}}
        if isinstance(self.output, np.ndarray):
            height, width = self.output.shape[:2]
            return {"image": {"height": height, "width": width}}
        return {self.gives: self.output}


@dataclass(slots=True)
class Trial:
    """An encoder that was built; ``folder`` is where the user's own class is looked for."""

    name: str
    encoder: Encoder
    device: str
    folder: Path
    takes: tuple[str, ...]
    gives: str
    rate: int | None
    length: int | None
    warnings: tuple[str, ...]

    def demand(self, files: Sequence[SourceFile], named: Collection[Path]) -> list[SourceFile]:
        """The files that it takes, of a film that part.

        Others are left out where a folder brought them; those that are ``named`` are an error,
        and so is it where nothing is left (InvalidInput).
        """
        fitting = [file for file in files if self._fits(file.kind)]
        whole = {file.path for file in fitting}
        others = {file.path: file for file in files if file.path not in whole}
        refused = [file for path, file in others.items() if path in named or not fitting]
        if refused:
            raise InvalidInput(*map(self._refused, refused[:_REFUSED_SHOWN]))
        return fitting

    def _refused(self, file: SourceFile) -> Problem:
        holds = "pictures" if file.kind == "image" else file.kind
        why = f"it holds {holds}, and {self.name} takes {' or '.join(self.takes)}"
        return Problem(INPUT, str(file.path), why, self._remedy())

    def _fits(self, kind: str) -> bool:
        return kind in self.takes or (kind in _SEEN and any(each in self.takes for each in _SEEN))

    def _remedy(self) -> str:
        if self.takes == ("vector",):
            return "it reads what another stage gives: try it in a pipeline, `motet run --local`"
        files = {"audio": "wav or flac", "image": "jpg or png", "video": "jpg or png"}
        kinds = [files.get(kind, "txt") for kind in self.takes if kind != "vector"]
        return f"give {' or '.join(dict.fromkeys(kinds))} files, or take another encoder"

    def run(self, files: Sequence[SourceFile], size_us: int, whole: bool) -> Iterator[Tried]:
        """Window by window, each alone in its batch; what the class raises is MotetError."""
        for file in files:
            for window in windows_of(file, size_us, whole):
                tried = self._try(window)
                if tried is not None:
                    yield tried

    def _try(self, window: Window) -> Tried | None:
        plan = StagePlan("try", (INPUT,))
        builder = ClipBuilder(plan, self.takes, self.rate, wish_of(self.encoder))
        job = StageJob(window.stream, window.start_us, window.end_us, window.records)
        [built] = builder.build([job])
        for _, why in built.undecodable:
            raise unreadable(window.source, f"it is damaged ({why})")
        if built.clip is None:
            return None
        began_us = clock.monotonic_us()
        try:
            outputs = list(self.encoder.encode([built.clip]))
            if len(outputs) != 1:
                raise ValueError(f"encode gave {len(outputs)} outputs for 1 clip")
            output = checked(self.gives, outputs[0], self.length)
        except Exception as error:
            where = place(error, self.folder)
            raise MotetError(
                f"{self.name}: {one_line(error)}{f' in {where}' if where else ''} "
                f"({window.source} at {window.start_us / 1e6:g} s); correct encode; "
                "MOTET_DEBUG=1 shows the traceback"
            ) from error
        return Tried(
            source=window.source,
            start_us=window.start_us,
            end_us=window.end_us,
            media_us=window.media_us,
            gives=self.gives,
            output=output,
            encode_us=max(1, clock.monotonic_us() - began_us),
        )

    def peak_memory_bytes(self) -> int:
        """Of this process, libraries included; macOS counts in bytes, Linux in KiB."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak << 10


def open_trial(name: str, options: Mapping[str, Any], device: str, folder: Path) -> Trial:
    """Builds the encoder; raises InvalidInput, with the line of the user's file that failed."""
    try:
        encoder = load_encoder(name, options, torch.device(device), folder)
    except InvalidInput as error:
        where = place(error.__cause__, folder)
        if where is None:
            raise
        placed = (
            p._replace(why=f"{p.why} in {where}") if isinstance(p, Problem) else f"{p} in {where}"
            for p in error.problems
        )
        raise InvalidInput(*placed) from error.__cause__
    length, warnings = None, []
    if encoder.gives == "vector" and kinds_taken(encoder) != ("vector",):
        try:
            length = vector_length(encoder, name=name)
        except InvalidInput as error:
            warnings.append(f"a pipeline would refuse it: {error}")
    return Trial(
        name=name,
        encoder=encoder,
        device=device,
        folder=folder,
        takes=kinds_taken(encoder),
        gives=encoder.gives,
        rate=getattr(encoder, "rate", None),
        length=length,
        warnings=tuple(warnings),
    )


def place(error: BaseException | None, folder: Path) -> str | None:
    """``FILE line N``: the innermost line of the user's own code; None where none took part."""
    if error is None:
        return None
    found = None
    for frame in traceback.extract_tb(error.__traceback__):
        path = Path(frame.filename)
        if path.is_relative_to(folder.resolve()) and "site-packages" not in path.parts:
            found = f"{path.relative_to(folder.resolve())} line {frame.lineno}"
    return found
