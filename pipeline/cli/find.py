"""``motet find``: results by what was said, seen or answered in them."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec, time_us
from pipeline.cli.committed import committed_results
from pipeline.cli.terminal import counted, emit, on_terminal, printable, progress, say
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.search import Hit, SearchIndex
    from pipeline.spec import PipelineSpec

SNIPPET_CHARS = 160
QUESTION_CHARS_MAX = 1_000
EXAMPLE = 'Example: motet find lobby.yaml "somebody asks for help" --limit 5'


def register(app: typer.Typer) -> None:
    app.command(epilog=EXAMPLE)(find)


def find(
    file: FileArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to look for, in words.")],
    limit: Annotated[
        int, typer.Option("--limit", min=1, max=1_000, metavar="N", help="How many hits at most.")
    ] = 10,
    begin: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="Windows that begin at or after (event time)."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="Windows that end at or before.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="By the words themselves, not by meaning.")
    ] = False,
    newest: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Search the newest N passages (default 20,000)."),
    ] = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find committed results by their transcripts, labels, and other texts and data.

    By meaning: TEXT and what the results say are compared as sentence embeddings (all-MiniLM-L6-v2,
    English), and the score is their cosine. Where the extra motet[models] is not installed, and
    with --words, by words: the score is the share of TEXT's words, the rare ones counting more.
    Each hit has the `motet clip` command that cuts its media out of the topics.
    """
    from pipeline.cli.connect import connect_for, create_remedy, partitions_of
    from pipeline.spec import Span

    if not text.strip() or len(text) > QUESTION_CHARS_MAX:
        why = f"it has {len(text.strip())} characters"
        remedy = f"write 1 to {QUESTION_CHARS_MAX:,} of them"
        raise InvalidInput(Problem("TEXT", text[:40], why, remedy))
    span = Span(
        None if begin is None else time_us("--from", begin),
        None if end is None else time_us("--to", end),
    )
    spec = load_spec(file)
    connector = connect_for(spec, wait=wait)
    control = connector.control()
    try:
        topics = {spec.outputs.results: "outputs.results"}
        partitions_of(control, topics, create_remedy(file))
    finally:
        control.close()
    index = _index(words, newest)
    for value in committed_results(connector, spec, span):
        index.add(value)
    _embed(index)
    hits = index.find(text, limit)
    if as_json:
        emit(json.dumps(_answer(file, text, index, hits), ensure_ascii=False))
        return
    for hit in hits:
        for line in _lines(file, hit, on_terminal()):
            emit(line)
    _tell(spec, index, hits)


def _index(words: bool, newest: int | None) -> SearchIndex:
    """By meaning where that is asked for and can be had; says so where it cannot."""
    from pipeline.search import Meaning, SearchIndex
    from pipeline.search.index import PASSAGES_MAX

    most = newest or PASSAGES_MAX
    if words:
        return SearchIndex(None, most)
    try:
        return SearchIndex(Meaning(_device()), most)
    except InvalidInput as error:
        say(f"motet: searching by words; for meaning: {' '.join(str(error).split())}")
        return SearchIndex(None, most)


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _embed(index: SearchIndex) -> None:
    pending = index.pending
    with progress(f"comparing {counted(pending, 'text')}", pending or None) as done:

        def on(count: int) -> bool:
            done(count)
            return True

        index.embed(on)


def _lines(file: Path, hit: Hit, colours: bool) -> Iterator[str]:
    """``0.71  cam-7  2026-01-31T12:00:00.000Z +1s  speech: "the doors open"``, and the command."""
    from pipeline.spec import format_rfc3339

    span = f"{format_rfc3339(hit.start_us, 'milliseconds')} +{(hit.end_us - hit.start_us) / 1e6:g}s"
    said = hit.passage.text
    said = said if len(said) <= SNIPPET_CHARS else f"{said[:SNIPPET_CHARS]}..."
    shown = f"label {said}" if hit.passage.kind == "label" else f'{hit.passage.source}: "{said}"'
    parts = [
        (f"{hit.score:.2f}", None),
        (hit.stream, "cyan"),
        (span, None),
        (shown, None),
        (f"and {counted(hit.windows - 1, 'window')} more" if hit.windows > 1 else "", None),
    ]
    yield "  ".join(
        typer.style(printable(part), fg=colour) if colours and colour else printable(part)
        for part, colour in parts
        if part
    )
    yield f"      {clip_command(file, hit)}"


def clip_command(file: Path, hit: Hit) -> str:
    """What cuts the media of a hit out of the topics, for a shell."""
    folder = re.sub(r"[^\w.-]+", "-", hit.result_id, flags=re.ASCII).strip("-.")[-100:]
    return shlex.join(["motet", "clip", hit.result_id, str(file), "-o", folder])


def _answer(file: Path, text: str, index: SearchIndex, hits: list[Hit]) -> dict[str, Any]:
    return {
        "text": text,
        "by": index.by,
        "results": len(index),
        "left_out": index.left_out,
        "hits": [hit_json(hit) | {"clip": clip_command(file, hit)} for hit in hits],
    }


def hit_json(hit: Hit) -> dict[str, Any]:
    from pipeline.spec import format_rfc3339

    return {
        "result_id": hit.result_id,
        "stream": hit.stream,
        "start_us": hit.start_us,
        "end_us": hit.end_us,
        "time": format_rfc3339(hit.start_us, "milliseconds"),
        "score": round(hit.score, 4),
        "source": hit.passage.source,
        "kind": hit.passage.kind,
        "snippet": hit.passage.text,
        "windows": hit.windows,
    }


def _tell(spec: PipelineSpec, index: SearchIndex, hits: list[Hit]) -> None:
    if not len(index):
        say(
            f"motet: no result in {spec.outputs.results} has a label, a text or words in its data; "
            "a stage such as speech_to_text or image_to_text gives some"
        )
        return
    older = (
        f"; {counted(index.left_out, 'older one')} left out (--newest)" if index.left_out else ""
    )
    searched = f"{counted(len(index), 'result')} searched by {index.by}{older}"
    say(f"motet: {'' if hits else 'nothing found; '}{searched}")
