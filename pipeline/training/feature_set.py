"""A training set: one row a labelled window, with the vectors of its stages before fusion.

On disk a folder: ``features.parquet`` (columns stream, start_us, end_us, label, text, media, and
``vector_STAGE`` a stage, null where it gave none), ``set.json`` (which pipeline, its features
as a head's card has them, lengths, counts), and the folders that ``media`` names.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.sequence import SequenceShape, sequences_of

FEATURES, MANIFEST = "features.parquet", "set.json"
FORMAT = 1
KEY = "--features"
_GROUP_ROWS = 1024  # of one row group: what is held before it is written

Array = NDArray[Any]


class Row(NamedTuple):
    """A window: its ``vectors`` by stage, float32, of the stages that gave one.

    ``media``: the folder of its media within the set's, where they were written.
    """

    stream: str
    start_us: int
    end_us: int
    label: str | None
    text: str | None
    vectors: Mapping[str, Array]
    media: str | None = None


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Rows in the order of (stream, start), whatever the order in which they were made.

    ``vectors`` by stage, float32 (n, d), zeros where ``there`` (n,) is false. ``manifest``: as in
    ``set.json``.
    """

    streams: tuple[str, ...]
    start_us: NDArray[np.int64]
    end_us: NDArray[np.int64]
    labels: tuple[str | None, ...]
    texts: tuple[str | None, ...]
    vectors: dict[str, NDArray[np.float32]]
    there: dict[str, NDArray[np.bool_]]
    manifest: dict[str, Any]

    def __len__(self) -> int:
        return len(self.streams)

    @property
    def lengths(self) -> dict[str, int]:
        return {stage: array.shape[1] for stage, array in self.vectors.items()}

    @property
    def sequences(self) -> dict[str, SequenceShape]:
        """Of the stages whose vectors are such."""
        return sequences_of(self.manifest.get("sequences", {}))

    def taken(self, rows: NDArray[np.intp]) -> FeatureSet:
        """These rows, in this order."""
        return FeatureSet(
            tuple(self.streams[row] for row in rows),
            self.start_us[rows],
            self.end_us[rows],
            tuple(self.labels[row] for row in rows),
            tuple(self.texts[row] for row in rows),
            {stage: array[rows] for stage, array in self.vectors.items()},
            {stage: array[rows] for stage, array in self.there.items()},
            self.manifest,
        )

    def sha256(self) -> str:
        """A hash over all rows: the same data, however it was written."""
        digest = hashlib.sha256()
        told = [self.streams, self.start_us.tolist(), self.end_us.tolist(), self.labels, self.texts]
        digest.update(json.dumps(told).encode())
        for stage in sorted(self.vectors):
            digest.update(stage.encode() + self.there[stage].tobytes())
            digest.update(np.ascontiguousarray(self.vectors[stage], "<f4").tobytes())
        return digest.hexdigest()


def set_of(rows: Sequence[Row], lengths: Mapping[str, int], manifest: dict[str, Any]) -> FeatureSet:
    """``lengths``: of every fused stage's vector."""
    rows = sorted(rows, key=lambda row: (row.stream, row.start_us))
    vectors, there = {}, {}
    for stage, length in lengths.items():
        vectors[stage] = np.zeros((len(rows), length), np.float32)
        there[stage] = np.array([stage in row.vectors for row in rows], np.bool_)
        for place, row in enumerate(rows):
            if stage in row.vectors:
                vectors[stage][place] = row.vectors[stage]
    return FeatureSet(
        tuple(row.stream for row in rows),
        np.array([row.start_us for row in rows], np.int64),
        np.array([row.end_us for row in rows], np.int64),
        tuple(row.label for row in rows),
        tuple(row.text for row in rows),
        vectors,
        there,
        manifest,
    )


class SetWriter:
    """Writes rows as they come; ``count`` of them are written or held."""

    def __init__(self, folder: Path, lengths: Mapping[str, int]) -> None:
        self._lengths = dict(lengths)
        self._schema = pa.schema(
            [
                ("stream", pa.string()),
                ("start_us", pa.int64()),
                ("end_us", pa.int64()),
                ("label", pa.string()),
                ("text", pa.string()),
                ("media", pa.string()),
                *(
                    (f"vector_{stage}", pa.list_(pa.float32(), length))
                    for stage, length in self._lengths.items()
                ),
            ]
        )
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._held: list[Row] = []
        self._writer = pq.ParquetWriter(folder / FEATURES, self._schema, compression="zstd")
        self.count = 0

    def add(self, row: Row) -> None:
        self._held.append(row)
        self.count += 1
        if len(self._held) >= _GROUP_ROWS:
            self._write()

    def close(self, manifest: Mapping[str, Any] | None) -> None:
        """Ends the file; without a manifest (the export failed) the folder is no set."""
        if self._held:
            self._write()
        self._writer.close()
        if manifest is None:
            (self._folder / FEATURES).unlink()
            return
        text = json.dumps({"format": FORMAT, **manifest}, indent=2, ensure_ascii=False)
        (self._folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")

    def _write(self) -> None:
        rows, self._held = self._held, []
        columns: list[Any] = [
            pa.array([row.stream for row in rows], pa.string()),
            pa.array([row.start_us for row in rows], pa.int64()),
            pa.array([row.end_us for row in rows], pa.int64()),
            pa.array([row.label for row in rows], pa.string()),
            pa.array([row.text for row in rows], pa.string()),
            pa.array([row.media for row in rows], pa.string()),
        ]
        for stage, length in self._lengths.items():
            kept = [row.vectors.get(stage) for row in rows]
            flat = np.concatenate(
                [np.zeros(length, np.float32) if one is None else one for one in kept]
            ).astype(np.float32)
            missing = pa.array([one is None for one in kept])
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(flat), length, mask=missing))
        self._writer.write_table(pa.table(columns, schema=self._schema))


@contextmanager
def writing(folder: Path, lengths: Mapping[str, int]) -> Iterator[SetWriter]:
    """A writer whose file goes away where what is inside raises; close it with its manifest."""
    writer = SetWriter(folder, lengths)
    try:
        yield writer
    except BaseException:
        writer.close(None)
        raise


def read_set(folder: Path) -> FeatureSet:
    """What ``motet export`` wrote; raises InvalidInput where the folder is no such set."""
    remedy = "make one with `motet export FILE --labels LABELS -o DIR`"
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        table = pq.read_table(folder / FEATURES)
        lengths = {str(stage): int(length) for stage, length in manifest["lengths"].items()}
        rows = _rows(table, lengths)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        why = f"it holds no training set ({type(error).__name__}: {error})"
        raise InvalidInput(Problem(KEY, str(folder), " ".join(why.split()), remedy)) from error
    return set_of(rows, lengths, manifest)


def _rows(table: Any, lengths: Mapping[str, int]) -> list[Row]:
    columns = {name: table.column(name).to_pylist() for name in ("stream", "start_us", "end_us")}
    labels, texts = table.column("label").to_pylist(), table.column("text").to_pylist()
    vectors: dict[str, tuple[Array, Array]] = {}
    for stage, length in lengths.items():
        column = table.column(f"vector_{stage}").combine_chunks()
        valid = np.asarray(column.is_valid())
        dense = np.zeros((len(valid), length), np.float32)
        dense[valid] = column.drop_null().flatten().to_numpy().reshape(-1, length)
        vectors[stage] = dense, valid
    return [
        Row(
            columns["stream"][at],
            columns["start_us"][at],
            columns["end_us"][at],
            labels[at],
            texts[at],
            {stage: dense[at] for stage, (dense, valid) in vectors.items() if valid[at]},
        )
        for at in range(len(labels))
    ]
