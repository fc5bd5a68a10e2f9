"""Every fenced block of the documents is held by a test, or a line here says why it cannot be.

Pipelines validate, Python runs, command lines parse as the program that they call would.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from documents import (
    BLOCKS,
    FENCE,
    PAGES,
    README,
    ROOT,
    Block,
    block_with,
    blocks,
    each,
    inlines,
    loaded,
)
from pipelines import LOBBY, broker_for, connector_for, load
from shown import Shown, monitor_of

from pipeline.cli.app import command_line
from pipeline.encoders.base import Clip
from pipeline.encoders.checking import check_pipeline
from pipeline.encoders.loading import load_encoder
from pipeline.slot.ports import OutRecord
from pipeline.spec import loads

# Python that runs, and where: what a block has in it -> the test.
RUN_BY = {
    "torch.export.save(": "support/exported_network.py",
    "soundfile.write": "contract/test_docs_reader.py",
    "Pipeline(": "contract/test_docs_reader.py",
    "KafkaConsumer(": "contract/test_docs_reader.py",
    "class Loudness": "contract/test_docs_reader.py",
}
# What a block has in it -> why it is not run.
NOT_RUN = {"topics in      ": "a drawing"}
# Programs whose lines are not run -> why.
NO_PROGRAM = {
    "docker": "no Docker where the suite runs: tests/deploy holds what compose names",
    "ffmpeg": "not among what `make test` installs, and its lines leave out source and target",
}


def test_every_block_is_of_a_kind_that_is_held() -> None:
    assert {block.language for block in BLOCKS} <= {"", "sh", "yaml", "python", "json"}
    for page in PAGES:
        text = page.read_text("utf-8")
        assert len(re.findall("^ *(```|~~~)", text, re.MULTILINE)) == 2 * len(FENCE.findall(text))
    for words in (*RUN_BY, *NOT_RUN):
        assert any(words in block.body for block in BLOCKS), f"no block has {words}"


# -- pipelines --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", each("yaml"))
def test_every_pipeline_validates(block: Block, tmp_path: Path) -> None:
    assert loaded(block.page, block.body, tmp_path).inputs


def test_the_readme_pipeline_is_short_and_runs_anywhere(tmp_path: Path) -> None:
    pipeline = blocks(README, "yaml")[0]
    assert len(pipeline.splitlines()) <= 15
    assert loads(pipeline, folder=tmp_path, environ={}).kafka.bootstrap == "127.0.0.1:9092"


@pytest.mark.parametrize("block", each("json"))
def test_the_result_that_is_shown_keeps_to_its_schema(block: Block) -> None:
    schema = json.loads((ROOT / "docs" / "schemas" / "result.schema.json").read_text("utf-8"))
    result = json.loads(block.body)
    jsonschema.validate(result, schema)
    assert list(result) == list(schema["properties"])


# -- Python -----------------------------------------------------------------------------------


@pytest.mark.parametrize("block", each("python"))
def test_every_python_block_compiles_and_is_run_by_a_test(block: Block) -> None:
    compile(block.body, block.page.name, "exec")
    [where] = [test for words, test in RUN_BY.items() if words in block.body]
    [words] = [words for words in RUN_BY if words in block.body]
    assert words in (ROOT / "tests" / where).read_text("utf-8")


def test_the_reader_of_the_readme_is_eight_lines() -> None:
    reader = block_with(README, "KafkaConsumer(")
    assert len(reader.replace("\n\n", "\n").splitlines()) <= 8
    assert 'isolation_level="read_committed"' in reader


def test_the_encoder_of_the_readme_is_built_and_encodes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    source = block_with(README, "class Loudness")
    assert len(source.splitlines()) <= 14
    # under another module name: modules of one process are imported once
    (tmp_path / "docs_loudness.py").write_text(source)
    part = block_with(README, "loudness:Loudness").replace("loudness:", "docs_loudness:")
    spec = loaded(README, part, tmp_path)
    assert check_pipeline(spec)["loud"] == 2
    stage = spec.stages["loud"]
    encoder = load_encoder(stage.encoder, stage.options, "cpu", tmp_path)
    wave = np.full(16_000, 0.5, np.float32)
    clips = [Clip("s", 0, 1_000_000, samples, 16_000, 0) for samples in (wave, 0 * wave)]
    expected = [[-6.02, -6.02], [-50, -50]]
    assert np.array(encoder.encode(clips)) == pytest.approx(np.array(expected), abs=0.01)


# -- command lines ----------------------------------------------------------------------------


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command of motet that the words name, and its arguments."""
    command: Any = command_line()
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"motet {' '.join(words)}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def check_flags(words: list[str]) -> None:
    """Of a command that the text names, with or without its arguments."""
    command, arguments = command_of(words)
    flags = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in arguments:
        if word.startswith("-"):
            assert word.partition("=")[0] in flags, f"{command.name} {word}"


def parse_motet(words: list[str]) -> None:
    """A whole command line: every flag, its value, and how many arguments there are."""
    command, arguments = command_of(words)
    with command.make_context(command.name, arguments):
        pass
    for word in arguments:
        if word.startswith("deploy/"):
            assert (ROOT / word).exists(), word


def parse_make(words: list[str], parse: Callable[[list[str]], None] = parse_motet) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert not words or words[0] in targets, words
    given = shlex.split(" ".join(word.removeprefix("ARGS=") for word in words[1:]))
    if words[:1] == ["demo"]:
        parse(["demo", *given])
    else:
        check_paths(given)


def check_paths(words: list[str]) -> None:
    """Of the repository, where a word is one."""
    for word in words:
        assert "/" not in word or (ROOT / word).exists(), word


def check_copy(words: list[str]) -> None:
    source, _ = words
    assert (ROOT / "deploy" / source).is_file()


PARSED: dict[str, Callable[[list[str]], Any]] = {
    "motet": parse_motet,
    "make": parse_make,
    ".venv/bin/pytest": check_paths,
    ".venv/bin/python": check_paths,
    "cp": check_copy,
    "curl": lambda words: None,  # run below
    "export": lambda words: [assert_is_read(word) for word in words],
}


@pytest.mark.parametrize("block", each("", "sh"))
def test_every_command_line_parses(block: Block) -> None:
    if any(words in block.body for words in NOT_RUN):
        return
    for line in filter(None, block.body.splitlines()):
        # NAME=$(a command) is that command
        words = shlex.split(re.sub(r"^([A-Z_]+=)\$\((.*)\)$", r"\1 \2", line), comments=True)
        while re.fullmatch(r"[A-Z_]+=\S*", words[0]):
            assert_is_read(words.pop(0).partition("=")[0])
        if words[0] not in NO_PROGRAM:
            PARSED[words[0]](words[1:])


@cache
def sources() -> list[str]:
    rooms = (ROOT / room for room in ("pipeline", "actors", "tests"))
    paths = [*(path for room in rooms for path in room.rglob("*.py")), ROOT / "deploy/compose.yaml"]
    return [path.read_text("utf-8") for path in paths]


def assert_is_read(variable: str) -> None:
    assert any(re.search(rf"\b{variable}\b", text) for text in sources()), variable


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_text_is_there_with_its_flags(page: Path) -> None:
    for line in inlines(page):
        program, *words = shlex.split(line) if re.match(r"(motet|make)( |$)", line) else [""]
        if program == "motet":
            check_flags(words)
        elif program == "make":
            parse_make(words, check_flags)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_variable_in_the_text_is_read_somewhere(page: Path) -> None:
    for word in inlines(page):
        if re.fullmatch(r"[A-Z_]{5,}(=\S*)?", word):
            assert_is_read(word.partition("=")[0])


@pytest.mark.parametrize("block", each("sh"))
def test_the_results_come_as_events_by_the_command_that_is_shown(block: Block) -> None:
    spec = load(LOBBY)
    broker = broker_for(spec)
    value = json.dumps({"stream": "cam-7", "window": {"start_us": 0, "end_us": 1_000_000}})
    headers = [("ce_id", b"cam-7/0")]
    broker.append(OutRecord("out.results", 0, b"cam-7", value.encode(), headers))
    with monitor_of(spec, connector_for(broker), Shown()) as monitor:
        line = block.body.replace("http://127.0.0.1:9464/", monitor.url)
        assert line != block.body
        with subprocess.Popen(shlex.split(line), stdout=subprocess.PIPE, text=True) as curl:
            assert curl.stdout is not None
            told = [curl.stdout.readline() for _ in range(4)]
            curl.kill()
    assert told[2:] == ["id: cam-7/0\n", f"data: {value}\n"]
