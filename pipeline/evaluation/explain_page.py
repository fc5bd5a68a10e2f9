"""An explanation as a folder: ``explain.json``, a picture for each media, and ``explain.html``."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.errors import InvalidInput, Problem
from pipeline.evaluation.explain_pictures import BLUE, RED, colours, draw
from pipeline.evaluation.explaining import Explained
from pipeline.evaluation.report import STYLE

FEATURES_SHOWN = 8


def demand_plotting(flag: str) -> None:
    """InvalidInput where no picture can be drawn."""
    try:
        import matplotlib  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "matplotlib":
            raise
        why = "pictures are drawn by matplotlib, which is not installed"
        raise InvalidInput(Problem(flag, "", why, "pip install 'motet[train]'")) from error


def write_explanation(folder: Path, explained: Explained) -> list[Path]:
    """Writes all files, and names each picture in ``explained``; gives their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    found, paths, taken = explained.found, [], set[str]()
    for part, told in zip(explained.parts, found["media"], strict=True):
        told["picture"] = _file_name(told, taken)
        paths.append(folder / told["picture"])
        draw(part, told, f"{told['name']}: {subject(found)}", paths[-1])
    data, page = folder / "explain.json", folder / "explain.html"
    data.write_text(json.dumps(found, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    texts = {t["picture"]: p.clip.text or "" for p, t in zip(explained.parts, found["media"],
             strict=True)}  # fmt: skip
    page.write_text(_page(folder, found, texts), encoding="utf-8")
    return [data, page, *paths]


def _file_name(told: Mapping[str, Any], taken: set[str]) -> str:
    """By what it is of; numbered where two stages read other texts of the same inputs."""
    stem = re.sub(r"[^\w+-]", "_", told["name"])
    name, number = f"{stem}.png", 2
    while name in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name)
    return name


def subject(found: Mapping[str, Any]) -> str:
    """What is explained, in a few words."""
    explained = found["explained"]
    if explained["kind"] == "share":
        return "share of the fused vector"
    score = "" if explained["score"] is None else f" (probability {explained['score']:.3f})"
    return f"logit {explained['worth']:.3f} of {explained['label']}{score}"


def warnings_of(found: Mapping[str, Any]) -> list[str]:
    """What keeps the explanation from being one of the committed answer."""
    check, lines = found["check"], []
    if not check["same"]:
        why = (
            "another head, encoder or option than the file has answered then"
            if not check["same_model"]
            else "the topics hold other records now, or a time limit was hit then"
        )
        lines.append(
            f"this is not the committed answer ({', '.join(check['changed'])} differ by more than "
            f"{check['tolerance']:g}): {why}; what is explained is the answer of now"
        )
    elif not check["same_model"]:
        lines.append("the answer is the same, by another model than the result names")
    features = found["features"]
    if features is not None and not features["complete"]:
        lines.append(
            f"the shares of the numbers add up to {features['sum']:.6g} "
            f"and not to {features['difference']:.6g}"
        )
    for told in found["media"]:
        lines += [
            f"{told['name']}: {stage} failed without a part of it ({why}), and counts as missing"
            for stage, why in told["failed"].items()
        ]
    return lines


def stage_rows(found: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Stage, weight, attribution, and the numbers of its vector that count most."""
    rows: list[tuple[str, ...]] = []
    for stage in found["stages"]:
        values = stage["features"] or []
        order = sorted(range(len(values)), key=lambda n: -abs(values[n]))[:FEATURES_SHOWN]
        names = stage["names"] or [f"#{n}" for n in range(len(values))]
        top = ", ".join(f"{names[n]} {values[n]:+.3g}" for n in order if values[n])
        numbers = [_number(stage["weight"]), _number(stage["attribution"])]
        rows.append((stage["stage"], *numbers, top or stage["failed"] or "-"))
    return rows


def media_rows(found: Mapping[str, Any], shown: int = 3) -> list[tuple[str, ...]]:
    """Media, which stages read it, and the parts of it that the answer would miss most."""
    start_us = found["window"]["start_us"]
    rows: list[tuple[str, ...]] = []
    for told in found["media"]:
        parts = sorted(told["parts"], key=lambda part: -abs(part["loss"]))[:shown]
        top = ", ".join(f"{_where(part, start_us)} {part['loss']:+.3g}" for part in parts)
        rows.append((told["name"], told["kind"], ", ".join(told["stages"]), top or "-"))
    return rows


def _where(part: Mapping[str, Any], start_us: int) -> str:
    if "text" in part:
        return repr(part["text"])
    if "row" in part:
        at = "" if part["at_us"] is None else f"{(part['at_us'] - start_us) / 1e6:+g} s "
        return f"{at}row {part['row'] + 1} column {part['column'] + 1}"
    return f"{(part['start_us'] - start_us) / 1e6:g}-{(part['end_us'] - start_us) / 1e6:g} s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


def _page(folder: Path, found: Mapping[str, Any], texts: Mapping[str, str]) -> str:
    title = html.escape(f"{found['result_id']}: {subject(found)}")
    parts = [f"<h1>{title}</h1>"]
    parts += [f"<p><b>{html.escape(line)}</b></p>" for line in warnings_of(found)]
    head = "stage", "weight", "attribution", "numbers that count most"
    parts += ["<h2>Stages</h2>", _table(head, stage_rows(found))]
    parts.append(
        f'<h2>Media</h2><p>What the answer would lose without a part is <b style="color:'
        f'{_css((*RED, 1.0))}">red</b>, what it would gain <b style="color:{_css((*BLUE, 1.0))}">'
        "blue</b>, each picture on its own scale. Losses of parts do not add up.</p>"
    )
    head = "media", "kind", "read by", "parts that count most"
    parts.append(_table(head, media_rows(found)))
    for told in found["media"]:
        content = base64.b64encode((folder / told["picture"]).read_bytes()).decode()
        name = html.escape(told["name"])
        parts.append(f'<h3>{name}</h3><img alt="{name}" src="data:image/png;base64,{content}">')
        if told["kind"] == "text":
            parts.append(f"<p>{_coloured(texts[told['picture']], told['parts'])}</p>")
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        f"<title>{title}</title><style>{STYLE}</style>{''.join(parts)}</html>\n"
    )


def _coloured(text: str, parts: Sequence[Mapping[str, Any]]) -> str:
    """The text itself, whatever its script, with the picture's colours behind the words."""
    told, last = [], 0
    for part, shade in zip(parts, colours([p["loss"] for p in parts]), strict=True):
        told.append(html.escape(text[last : part["first"]]))
        word = html.escape(text[part["first"] : part["last"]])
        told.append(
            f'<span style="background:{_css(shade)}" title="{part["loss"]:+.4g}">{word}</span>'
        )
        last = part["last"]
    return "".join([*told, html.escape(text[last:])]).replace("\n", "<br>")


def _css(shade: tuple[float, ...]) -> str:
    red, green, blue, alpha = shade
    return f"rgba({red * 255:.0f},{green * 255:.0f},{blue * 255:.0f},{alpha:.3f})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"
