"""``motet evaluate``: committed results against labels, or a head on an exported set."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import FileArgument, JsonOption, WaitOption, load_spec, time_us
from pipeline.cli.committed import committed_results
from pipeline.cli.labels_option import FromOption, LabelsOption, ToOption
from pipeline.cli.terminal import emit, say
from pipeline.errors import InvalidInput, Problem

if TYPE_CHECKING:
    from pipeline.spec import PipelineSpec, Span
    from pipeline.training.labels import Label


def register(app: typer.Typer) -> None:
    app.command(epilog="Example: motet evaluate lobby.yaml --labels labels.csv --report report")(
        evaluate
    )


def evaluate(
    file: FileArgument,
    labels: LabelsOption = None,
    features: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="A set of `motet export`: the head, and its ablations."),
    ] = None,
    head: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="With --features: another head than the file's."),
    ] = None,
    stage: Annotated[
        str | None, typer.Option(metavar="NAME", help="The stage whose text labels are about.")
    ] = None,
    normalizer: Annotated[
        str, typer.Option(metavar="N", help="Of texts: plain, english (Whisper's) or none.")
    ] = "plain",
    chinese: Annotated[
        bool, typer.Option("--chinese", help="BLEU by characters, as for Chinese.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write report.json and report.html there.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The results of `motet run --name NAME`."),
    ] = None,
    begin: FromOption = None,
    end: ToOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Measure committed results against labels; or a head on an exported set, stage by stage.

    With --labels: accuracy and its kin where a head gave labels; word and character error rate,
    BLEU and chrF where labels have text. With --features: a head with every subset of its stages
    and with noise on them. Intervals hold 95 % of resampled streams.
    """
    from pipeline.spec import beside

    spec = load_spec(file) if name is None else beside(load_spec(file), name)
    if (labels is None) == (features is None):
        why = "neither is given" if labels is None else "both are given"
        raise InvalidInput(Problem("--labels, --features", "", why, "give one of the two"))
    if features is not None:
        found: dict[str, Any] = {"labels": _on_set(spec, features, head)}
    else:
        span = _span(begin, end)
        found = _served(file, spec, str(labels), span, stage, normalizer, chinese, wait)
    if report is not None:
        from pipeline.evaluation.report import write_report

        for path in write_report(report, f"Evaluation of {spec.name}", found):
            say(f"motet: wrote {path}")
    if as_json:
        emit(json.dumps(found, ensure_ascii=False))
        return
    for line in _lines(found):
        emit(line)


def _on_set(spec: PipelineSpec, features: Path, head: Path | None) -> dict[str, Any]:
    from pipeline.evaluation.ablation import HeadOnSet
    from pipeline.fusion.head_files import load_head
    from pipeline.spec.head_card import KEY, differences
    from pipeline.spec.head_store import head_folder
    from pipeline.training.feature_set import read_set

    folder = head or head_folder(spec)
    if folder is None:
        remedy = "name one: --head heads/lobby, or fusion.head"
        raise InvalidInput(Problem("--head", "", "the file names no head", remedy))
    loaded = load_head(folder, str(folder), KEY if head is None else "--head")
    data = read_set(features)
    other = differences(loaded.card["features"], data.manifest["features"])
    if other:
        why = f"the set has other features than the head was trained on: {'; '.join(other)}"
        raise InvalidInput(Problem("--features", str(features), why, "export it again"))
    return HeadOnSet(loaded, data, "--features").report()


def _span(begin: str | None, end: str | None) -> Span:
    from pipeline.spec import Span

    return Span(
        None if begin is None else time_us("--from", begin),
        None if end is None else time_us("--to", end),
    )


def _served(
    file: Path,
    spec: PipelineSpec,
    given: str,
    span: Span,
    stage: str | None,
    normalizer: str,
    chinese: bool,
    wait: bool,
) -> dict[str, Any]:
    """Figures of what belongs together; raises InvalidInput where nothing does."""
    from pipeline.cli.connect import connect_for, create_remedy, partitions_of
    from pipeline.evaluation.served import answer_of, scored_labels, text_pairs, text_stage
    from pipeline.evaluation.text import scored_text
    from pipeline.training.labels import LabelIndex, read_labels, topic_labels

    path = Path(given)
    rows: list[Label] | None = read_labels(path) if path.exists() else None
    connector = connect_for(spec, wait=wait)
    with closing(connector.control()) as control:
        partitions_of(control, {spec.outputs.results: "outputs.results"}, create_remedy(file))
    if rows is None:
        rows = topic_labels(connector, given)
    index = LabelIndex(rows)
    values = {
        f"{v['stream']}/{v['window']['start_us']}": v
        for v in committed_results(connector, spec, span)
    }
    answers = [answer_of(value) for value in values.values()]
    found: dict[str, Any] = {"results": len(answers)}
    labelled = scored_labels(answers, index)
    if labelled is not None:
        found["labels"] = labelled
    if any(row.text is not None for row in rows):
        named = text_stage(answers, stage)
        pairs = text_pairs(answers, rows, named) if named is not None else []
        if pairs:
            found["text"] = {"stage": named, **scored_text(pairs, normalizer, chinese=chinese)}
    if len(found) == 1:
        why = f"none of {len(answers)} results has a label or a text that a row is about"
        remedy = "run the pipeline with fusion.head or a stage that gives text, over this time"
        raise InvalidInput(Problem("--labels", given, why, remedy))
    return found


def _lines(found: dict[str, Any]) -> Iterator[str]:
    from pipeline.cli.table import table
    from pipeline.evaluation.report import figures

    for name, part in found.items():
        if isinstance(part, dict):
            yield from table((name, ""), list(figures(part)))
            if "subsets" in part:
                rows = [(", ".join(row["stages"]) or "none", f"{row['accuracy']:.3f}")
                        for row in part["subsets"]]  # fmt: skip
                yield from table(("with these stages", "accuracy"), rows)
        else:
            yield f"{name}: {part}"
