"""The documents say what is there: keys, defaults, encoders, files and words.

Whoever changes a name has to change the page that names it, or one of these fails. Blocks and
commands are held by test_docs_blocks.py.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from documents import FENCE, PAGES, ROOT, inlines

from pipeline import record
from pipeline.cli.app import command_line
from pipeline.encoders.loading import encoder_class
from pipeline.spec import BUILTIN, json_schema
from pipeline.spec.catalog import AVAILABLE
from pipeline.spec.media_type import READABLE

INLINE = re.compile(r"`([^`]+)`")
SCHEMA = json_schema()


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


# -- the reference of the file ----------------------------------------------------------------


def resolved(schema: dict[str, Any]) -> dict[str, Any] | None:
    """The section that a property is, through ``$ref`` and ``anyOf``."""
    for option in (schema, *schema.get("anyOf", ())):
        if "$ref" in option:
            section: dict[str, Any] = SCHEMA["$defs"][option["$ref"].rpartition("/")[2]]
            return section
    return None


def keys_of(section: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Every key of the file with its default as a user writes it (``needed``, or nothing)."""
    found: dict[str, str] = {}
    for key, schema in section["properties"].items():
        full = prefix + key
        default = schema.get("default")
        shown = "needed" if key in section.get("required", ()) else ""
        if default not in (None, {}):
            shown = json.dumps(default).strip('"')
        found[full] = shown
        inner = resolved(schema)
        named = next(iter(schema.get("patternProperties", {}).values()), {})
        if inner is not None:
            found |= keys_of(inner, f"{full}.")
        elif "$ref" in named:
            found |= keys_of(resolved(named) or {}, f"{full}.NAME.")
    return found


KEYS = keys_of(SCHEMA)
# what follows from other keys, and the two ways to write replicas
DERIVED = {"windows.hop": "size", "fusion.normalize": "by rule", "stages.NAME.replicas": "1"}
SECTIONS = {
    "Top level": "",
    "`kafka`": "kafka.",
    "`inputs.NAME`": "inputs.NAME.",
    "`payload` and `time`": "inputs.NAME.",
    "`windows`": "windows.",
    "`stages.NAME`": "stages.NAME.",
    "`context`": "stages.NAME.",
    "`fusion`": "fusion.",
    "`outputs`": "outputs.",
    "`limits`": "limits.",
    "`metrics` and `ray`": "",
    "`evaluation`": "evaluation.",
}


def rows(page: str, heading: str) -> list[list[str]]:
    """The cells of all tables under a heading, without their heads."""
    [section] = re.findall(
        rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", text_of(page), re.MULTILINE | re.DOTALL
    )
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_reference_has_every_key_with_its_default() -> None:
    documented = {}
    for heading, prefix in SECTIONS.items():
        for key, *rest in rows("docs/PIPELINE.md", heading):
            documented[prefix + key.strip("` ")] = rest[0].strip("` |") if len(rest) > 1 else ""
    expected = {k: v for k, v in KEYS.items() if ".replicas." not in k} | DERIVED
    assert documented == expected


def test_the_reference_has_every_encoder_with_its_options() -> None:
    found = {name.strip("` "): rest for name, *rest in rows("docs/PIPELINE.md", "Encoders")}
    assert found.keys() == set(AVAILABLE)
    for name, (takes, gives, options) in found.items():
        assert takes in BUILTIN[name].takes
        assert gives.startswith(BUILTIN[name].gives) or name == "librosa_feature"
        parameters = inspect.signature(encoder_class(name, None, name)).parameters
        for option, default in re.findall(r"`(\w+)`(?: (\d+))?", options):
            assert option in parameters or name == "librosa_feature"
            if default:
                assert parameters[option].default == int(default)


def test_the_reference_has_every_media_type() -> None:
    found = [name.strip("` ") for name, _ in rows("docs/PIPELINE.md", "Media types")]
    assert found == list(READABLE)


def test_every_key_of_a_result_is_explained() -> None:
    schema = json.loads(text_of("docs/schemas/result.schema.json"))
    cells = (cell for cell, _ in rows("docs/PIPELINE.md", "Results"))
    named = {name for cell in cells for name in INLINE.findall(cell)}
    assert named | {"stream", "window"} == set(schema["properties"])


def test_every_reason_of_a_dead_letter_is_explained() -> None:
    found = {name.strip("` ") for name, _ in rows("docs/LIMITS.md", "Dead letters")}
    assert found | {"late"} == set(get_args(record.Reason))


# -- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_key_that_a_page_names_is_a_key_of_the_file(page: Path) -> None:
    dotted = [t for t in inlines(page) if re.fullmatch(r"[a-z_]+(\.[A-Za-z_]+)+", t)]
    sections = {key.partition(".")[0] for key in KEYS}
    for name in dotted:
        if name.partition(".")[0] in sections:
            assert name in KEYS or any(key.startswith(f"{name}.") for key in KEYS), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page) -> None:
    named = [t for t in inlines(page) if re.fullmatch(r"(pipeline|actors|tests|docs)/[\w./-]*", t)]
    links = re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", FENCE.sub("", page.read_text("utf-8")))
    for path in named:
        assert (ROOT / path).exists(), path
    for path, anchor in links:
        target = page.parent / path
        assert target.exists(), path
        if anchor:
            heads = re.findall(r"^#+ (.+)$", target.read_text("utf-8"), re.MULTILINE)
            assert anchor in [head.lower().replace(" ", "-") for head in heads], (path, anchor)


def test_the_architecture_has_a_room_for_every_source() -> None:
    named = inlines(ROOT / "docs" / "ARCHITECTURE.md")
    rooms = [p for p in (ROOT / "pipeline").iterdir() if p.name not in ("__init__.py", "py.typed")]
    for room in rooms:
        if room.suffix == ".py" or (room / "__init__.py").exists():
            shown = f"pipeline/{room.name}" + ("/" if room.is_dir() else "")
            assert shown in named, shown


def test_every_command_is_in_the_changelog() -> None:
    group: Any = command_line()
    shown = inlines(ROOT / "CHANGELOG.md")
    for name, command in group.commands.items():
        inner = getattr(command, "commands", None)
        for full in [f"{name} {sub}" for sub in inner] if inner else [name]:
            assert full in shown, full


# -- words ------------------------------------------------------------------------------------


def test_the_glossary_is_in_order_and_its_words_are_used() -> None:
    terms = re.findall(r"^\*\*(.+?)\*\*", text_of("docs/GLOSSARY.md"), re.MULTILINE)
    assert len(terms) == len(set(terms)) > 50
    assert terms == sorted(terms, key=str.lower)
    pages = [page for page in PAGES if page.name != "GLOSSARY.md"]
    sources = [p for room in ("pipeline", "actors") for p in (ROOT / room).rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in [*pages, *sources]).lower()
    text = " ".join(text.split())
    for term in terms:
        words = re.escape(term.lower()).replace(r"\ ", "[ _-]").replace(r"\-", "[ _-]")
        assert re.search(rf"\b{words}", text), term


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_pages_are_plain(page: Path) -> None:
    """No emoji, no path of one machine, no tab, no space at a line's end; lines that fit."""
    text = page.read_text("utf-8")
    assert not re.search("[\U0001f000-\U0001ffff\u2600-\u27bf]", text)
    assert not re.search(r"(?<![\w.])/(root|work|home|tmp)\b", text)
    assert not re.search(r"\t|[ ]+$", text, re.MULTILINE)
    prose = [line for line in FENCE.sub("", text).splitlines() if not line.startswith("|")]
    assert [line for line in prose if len(line) > 120] == []
