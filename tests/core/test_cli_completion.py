"""``motet completion``: what a shell offers on Tab, asked of real shells."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from pipeline.cli.app import main

LINES = {
    "": {"demo", "run", "topics", "heads", "--version", "--help"},
    "to": {"topics", "top"},
    "topics cre": {"create"},
    "topics create x.yaml --part": {"--partitions"},
    "run x.yaml --no-": {"--no-page"},
    "heads list --js": {"--json"},
    "publish --to x.yaml run --real": {"--realtime"},
}


@pytest.fixture
def script(tmp_path, capsys):
    def write(shell: str):
        assert main(["completion", shell]) == 0
        path = tmp_path / shell
        path.write_text(capsys.readouterr().out)
        return path

    return write


@pytest.mark.parametrize(("line", "expected"), LINES.items())
def test_bash_offers_commands_and_flags(script, line, expected):
    *before, last = line.split(" ")
    words = shlex.join(["motet", *before, last])
    asked = f"source {script('bash')}; COMP_WORDS=({words}); COMP_CWORD={len(before) + 1}; _motet"
    found = subprocess.run(
        ["bash", "-c", f'{asked}; printf "%s\\n" "${{COMPREPLY[@]}}"'],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    offered = set(found.stdout.split())
    assert found.stderr == ""
    assert offered >= expected if line == "" else offered == expected


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs fish")
@pytest.mark.parametrize(("line", "expected"), list(LINES.items())[1:-1])
def test_fish_offers_commands_and_flags(script, line, expected, tmp_path):
    asked = f"source {script('fish')}; complete -C {shlex.quote(f'motet {line}')}"
    found = subprocess.run(
        ["fish", "--no-config", "-c", asked],
        capture_output=True, text=True, check=True, env={"HOME": str(tmp_path)},
    )  # fmt: skip
    offered = {row.split("\t")[0] for row in found.stdout.splitlines()}
    assert offered >= expected


def test_zsh_takes_the_functions_of_bash(script):
    text = script("zsh").read_text()
    assert text.startswith("# zsh completion")
    assert text.endswith(script("bash").read_text())


def test_another_shell_is_told_what_there_is(capsys):
    assert main(["completion", "cmd"]) == 2
    err = capsys.readouterr().err
    assert err == (
        "motet: error: SHELL = cmd: there is no completion for it; write one of bash, zsh, fish\n"
    )
