"""The documents say what is there: pipelines, keys, commands, flags, files and words.

Whoever changes a name has to change the page that names it, or one of these fails.
"""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any, get_args

import jsonschema
import numpy as np
import pytest
import typer.main
import yaml

from pipeline import record
from pipeline.cli.app import app
from pipeline.encoders.base import Clip
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.loading import encoder_class, load_encoder
from pipeline.spec import BUILTIN, PipelineSpec, json_schema, loads
from pipeline.spec.catalog import AVAILABLE
from pipeline.spec.media_type import READABLE

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`([^`]+)`")
SCHEMA = json_schema()


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in FENCE.findall(page.read_text("utf-8")) if name == language]


def inlines(page: Path) -> list[str]:
    """What stands between backticks outside of blocks; a line break inside is a space."""
    text = FENCE.sub("", page.read_text("utf-8"))
    return [" ".join(found.split()) for found in INLINE.findall(text)]


def each(language: str) -> list[Any]:
    """Every block of a language, as a parameter with the page's name."""
    return [
        pytest.param(body, id=f"{page.name}-{number}")
        for page in PAGES
        for number, body in enumerate(blocks(page, language))
    ]


README_PIPELINE = blocks(ROOT / "README.md", "yaml")[0]


# -- pipelines --------------------------------------------------------------------------------


def overlaid(base: Any, part: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(part, dict):
        return part
    return {**base, **{key: overlaid(base.get(key), value) for key, value in part.items()}}


def loaded(block: str, folder: Path) -> PipelineSpec:
    """A whole file, or a part of one laid over the README's."""
    (folder / "kafka.password").write_text("secret\n")
    tree = yaml.safe_load(block)
    if "version" in tree:
        return loads(block, folder=folder, environ={})
    whole = overlaid(yaml.safe_load(README_PIPELINE), tree)
    return loads(yaml.safe_dump(whole, sort_keys=False), folder=folder, environ={})


@pytest.mark.parametrize("block", each("yaml"))
def test_every_pipeline_validates(block: str, tmp_path: Path) -> None:
    loaded(block, tmp_path)


def test_the_readme_pipeline_is_short_and_runs_anywhere(tmp_path: Path) -> None:
    assert len(README_PIPELINE.splitlines()) <= 15
    assert loads(README_PIPELINE, folder=tmp_path, environ={}).kafka.bootstrap == "127.0.0.1:9092"


def test_the_encoder_of_the_readme_is_built_and_encodes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    [source] = [b for b in blocks(ROOT / "README.md", "python") if "class Loudness" in b]
    assert len(source.splitlines()) <= 14
    # under another module name: modules of one process are imported once
    (tmp_path / "docs_loudness.py").write_text(source)
    part = blocks(ROOT / "README.md", "yaml")[1].replace("loudness:", "docs_loudness:")
    spec = loaded(part, tmp_path)
    assert check_pipeline(spec)["loud"] == 2
    stage = spec.stages["loud"]
    encoder = load_encoder(stage.encoder, stage.options, "cpu", tmp_path)
    wave = np.full(16_000, 0.5, np.float32)
    clips = [Clip("s", 0, 1_000_000, samples, 16_000, 0) for samples in (wave, 0 * wave)]
    expected = [[-6.02, -6.02], [-50, -50]]
    assert np.array(encoder.encode(clips)) == pytest.approx(np.array(expected), abs=0.01)


@pytest.mark.parametrize("block", each("python"))
def test_every_python_block_compiles(block: str) -> None:
    compile(block, "<documents>", "exec")


def test_the_reader_of_the_readme_is_eight_lines() -> None:
    [reader] = [b for b in blocks(ROOT / "README.md", "python") if "KafkaConsumer(" in b]
    assert len(reader.replace("\n\n", "\n").splitlines()) <= 8
    assert 'isolation_level="read_committed"' in reader


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
        assert gives.startswith("vector") or name == "librosa_feature"
        parameters = inspect.signature(encoder_class(name, None, name)).parameters
        for option, default in re.findall(r"`(\w+)`(?: (\d+))?", options):
            assert option in parameters or name == "librosa_feature"
            if default:
                assert parameters[option].default == int(default)


def test_the_reference_has_every_media_type() -> None:
    found = [name.strip("` ") for name, _ in rows("docs/PIPELINE.md", "Media types")]
    assert found == list(READABLE)


def test_the_result_that_is_shown_keeps_to_its_schema() -> None:
    [block] = blocks(ROOT / "docs" / "PIPELINE.md", "json")
    schema = json.loads(text_of("docs/schemas/result.schema.json"))
    result = json.loads(block)
    jsonschema.validate(result, schema)
    assert list(result) == list(schema["properties"])
    named = [
        name for cell, _ in rows("docs/PIPELINE.md", "Results") for name in INLINE.findall(cell)
    ]
    assert {*named, "stream", "window"} == set(result)


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
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
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


def shell_lines(page: Path) -> list[str]:
    """Lines of blocks without a language, and code in the text that begins with a command."""
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    return [line for line in [*lines, *inlines(page)] if re.match(r"(motet|make)\b", line)]


def check_command(words: list[str]) -> None:
    command: Any = typer.main.get_command(app)
    while words and hasattr(command, "commands"):
        if words[0].startswith("-"):
            break
        assert words[0] in command.commands, f"motet {' '.join(words)}"
        command = command.commands[words.pop(0)]
    flags = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word.partition("=")[0] in flags, f"{command.name} {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_that_a_page_shows_is_there_with_its_flags(page: Path) -> None:
    targets = re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE)
    for line in shell_lines(page):
        program, *words = shlex.split(line, comments=True)
        if program == "make":
            assert not words or words[0] in targets, line
            words = shlex.split(" ".join(w.removeprefix("ARGS=") for w in words[1:]))
            if line.startswith("make demo"):
                check_command(["demo", *words])
        else:
            check_command(words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_that_a_page_names_is_read_somewhere(page: Path) -> None:
    named = {t.partition("=")[0] for t in inlines(page) if re.fullmatch(r"[A-Z_]{5,}(=\S*)?", t)}
    if not named:
        return
    sources = [p for room in ("pipeline", "actors", "tests") for p in (ROOT / room).rglob("*.py")]
    text = "\n".join(path.read_text("utf-8") for path in sources)
    assert [name for name in named if name not in text] == []


def test_every_command_is_in_the_changelog() -> None:
    group: Any = typer.main.get_command(app)
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
