"""A report of an evaluation: ``report.json``, and ``report.html`` with its pictures inside."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;margin:1rem 0}td,th{padding:.2rem .8rem;text-align:left;"
    "border-bottom:1px solid #8884}img{max-width:100%}@media(prefers-color-scheme:dark)"
    "{body{background:#111;color:#ddd}img{background:#fff}}"
)
LABELS_DRAWN = 30  # of a confusion matrix: more cannot be read


def write_report(folder: Path, title: str, found: Mapping[str, Any]) -> list[Path]:
    """Both files; the pictures are left out where matplotlib is not installed."""
    folder.mkdir(parents=True, exist_ok=True)
    data, page = folder / "report.json", folder / "report.html"
    data.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    page.write_text(_page(title, found), encoding="utf-8")
    return [data, page]


def _page(title: str, found: Mapping[str, Any]) -> str:
    parts = [f"<h1>{html.escape(title)}</h1>"]
    for name, part in found.items():
        if not isinstance(part, Mapping):
            parts.append(f"<p>{html.escape(name)}: {html.escape(str(part))}</p>")
            continue
        parts.append(f"<h2>{html.escape(name)}</h2>")
        parts += [_table(("figure", "value"), list(figures(part)))]
        if "subsets" in part:
            rows = [
                (_stages(row), _share(row["accuracy"], row["interval"])) for row in part["subsets"]
            ]
            parts.append(_table(("stages", "accuracy"), rows))
        parts += [_image(figure) for figure in _pictures(part)]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def figures(part: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What a person reads of a part: names and values, intervals beside what they are of."""
    for name, value in part.items():
        interval = part.get(f"{name}_interval")
        if name.endswith("_interval") or name in ("subsets", "noise", "confusion"):
            continue
        if isinstance(value, Mapping):
            rate = value.get("rate", value.get("score", value.get("share")))
            yield name, _share(rate, value.get("interval")) + _told(value)
        elif isinstance(value, list | tuple):
            yield name, ", ".join(map(str, value))
        else:
            yield name, _share(value, interval)


def _told(value: Mapping[str, Any]) -> str:
    if "signature" in value:
        return f"  ({value['signature']})"
    if "substitutions" in value:
        return (
            f"  ({value['substitutions']} substituted, {value['deletions']} left out, "
            f"{value['insertions']} put in, of {value['reference']})"
        )
    return ""


def _share(value: Any, interval: Sequence[float] | None) -> str:
    shown = f"{value:.3f}" if isinstance(value, float) else "-" if value is None else str(value)
    return shown if interval is None else f"{shown}  [{interval[0]:.3f}, {interval[1]:.3f}]"


def _stages(row: Mapping[str, Any]) -> str:
    return ", ".join(row["stages"]) or "none"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


def _image(figure: Figure) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    content = base64.b64encode(buffer.getvalue()).decode()
    title = html.escape(figure.axes[0].get_title())
    return f'<p><img alt="{title}" src="data:image/png;base64,{content}">'


def _pictures(part: Mapping[str, Any]) -> Iterator[Figure]:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        return
    if "confusion" in part and len(part["labels"]) <= LABELS_DRAWN:
        yield _confusion(Figure(figsize=(5.5, 5), layout="constrained"), part)
    if "subsets" in part:
        yield _subsets(Figure(figsize=(7, 4), layout="constrained"), part["subsets"])
    if "noise" in part:
        yield _noise(Figure(figsize=(7, 4), layout="constrained"), part["noise"])


def _confusion(figure: Figure, part: Mapping[str, Any]) -> Figure:
    axes = figure.subplots()
    axes.imshow(part["confusion"], cmap="Blues")
    places = range(len(part["labels"]))
    axes.set(xlabel="found", ylabel="true", title="Confusion", xticks=places, yticks=places)
    axes.set_xticklabels(part["labels"], rotation=45, ha="right")
    axes.set_yticklabels(part["labels"])
    half = max(max(row) for row in part["confusion"]) / 2
    for row, counts in enumerate(part["confusion"]):
        for column, count in enumerate(counts):
            colour = "white" if count > half else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour)
    return figure


def _subsets(figure: Figure, subsets: Sequence[Mapping[str, Any]]) -> Figure:
    axes = figure.subplots()
    axes.barh([_stages(row) for row in subsets], [row["accuracy"] for row in subsets])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="accuracy", title="With these stages alone")
    return figure


def _noise(figure: Figure, noise: Sequence[Mapping[str, Any]]) -> Figure:
    axes = figure.subplots()
    for row in noise:
        axes.plot(row["levels"], row["accuracy"], marker="o", label=row["stage"] or "all stages")
    axes.set(ylim=(0, 1.02), xlabel="noise, in spreads of each number", ylabel="accuracy",
             title="With noise on the vectors of")  # fmt: skip
    axes.legend(fontsize="small")
    return figure
