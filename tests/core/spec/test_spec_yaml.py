"""YAML is data only, within bounds; the environment is put in without changing its meaning."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InvalidInput, Problem
from pipeline.spec import load, loads
from pipeline.spec.environment import Substituted, settled, substitute
from pipeline.spec.problems import dotted
from pipeline.spec.units import Wrong
from pipeline.spec.yaml_tree import ALIASES_MAX, DEPTH_MAX, plain_scalar, read_tree


def tree_of(text: str, environ: Mapping[str, str] | None = None) -> tuple[Any, list[str]]:
    """The tree, numbers of the environment settled, and the keys with problems."""
    wrong: list[str] = []
    tree = read_tree(
        text,
        lambda path, found, plain: substitute(found, plain, environ or {}),
        lambda path, value, why: wrong.append(f"{dotted(path)}: {why.why}"),
    )
    return settled(tree), wrong


def refused(text: str | bytes, tmp_path: Path) -> Problem:
    path = tmp_path / "lobby.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(InvalidInput) as caught:
        load(path, environ={})
    (problem,) = caught.value.problems
    assert isinstance(problem, Problem)
    return problem


def test_scalars_are_what_yaml_says_but_times_and_clocks_stay_text() -> None:
    tree, wrong = tree_of(
        "{a: 1, b: 0x10, c: 1.5, d: 1e-3, e: yes, f: off, g: ~, h: null, i: '1', j: x,"
        " k: 2026-01-31T12:00:00Z, l: 10:30, m: 0123, n: 1_000, o: , p: .5, q: -.inf}"
    )
    assert not wrong
    assert tree == {
        "a": 1, "b": 16, "c": 1.5, "d": 1e-3, "e": True, "f": False, "g": None, "h": None,
        "i": "1", "j": "x", "k": "2026-01-31T12:00:00Z", "l": "10:30", "m": "0123", "n": 1000,
        "o": None, "p": 0.5, "q": float("-inf"),
    }  # fmt: skip
    assert type(tree["a"]) is int
    assert type(tree["d"]) is float


def test_keys_are_the_text_that_stands_there() -> None:
    assert tree_of("{on: 1, 5: 2, null: 3}")[0] == {"on": 1, "5": 2, "null": 3}


def test_merge_keys_give_way_to_own_keys_and_order_is_the_files() -> None:
    tree, wrong = tree_of("base: &b {x: 1, y: 2}\nown: {y: 3, <<: *b, z: 4}\ntoo: {<<: *b}")
    assert not wrong
    assert tree["own"] == {"x": 1, "y": 3, "z": 4}
    assert tree["too"] == {"x": 1, "y": 2}


def test_aliases_give_separate_values() -> None:
    tree, _ = tree_of("a: &a {x: [1]}\nb: *a")
    tree["a"]["x"].append(2)
    assert tree["b"] == {"x": [1]}


def test_a_duplicate_key_is_named_with_both_lines() -> None:
    _, wrong = tree_of("a:\n  x: 1\n  y: 2\n  x: 3\nb: {q: 1, q: 2}")
    assert wrong == [
        "a.x: is there twice, in line 2 and in line 4",
        "b.q: is there twice, in line 5 and in line 5",
    ]


def test_the_billion_laughs_are_refused_quickly(tmp_path: Path) -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    assert "aliases" in refused("\n".join(lines), tmp_path).why


def test_many_aliases_are_refused_even_where_they_are_small(tmp_path: Path) -> None:
    text = "a: &a 1\nb: [" + ", ".join(["*a"] * (ALIASES_MAX + 1)) + "]"
    assert f"over {ALIASES_MAX} aliases" in refused(text, tmp_path).why
    allowed = "a: &a 1\nb: [" + ", ".join(["*a"] * ALIASES_MAX) + "]"
    assert tree_of(allowed)[0]["b"] == [1] * ALIASES_MAX


def test_a_few_aliases_that_grow_are_refused(tmp_path: Path) -> None:
    text = "a: &a [" + "x, " * 2_000 + "]\nb: [" + ", ".join(["*a"] * 50) + "]"
    assert "grows over" in refused(text, tmp_path).why


def test_aliases_that_nest_deeper_than_the_text_are_refused(tmp_path: Path) -> None:
    deep = DEPTH_MAX - 10
    lines = [f"a0: &a0 {'[' * deep}x{']' * deep}"]
    lines += [f"a{i}: &a{i} {'[' * deep}*a{i - 1}{']' * deep}" for i in range(1, 90)]
    assert "levels" in refused("\n".join(lines), tmp_path).why


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: *a}", "&a [*a]"])
def test_a_value_inside_itself_is_refused(text: str, tmp_path: Path) -> None:
    assert "grows over" in refused(text, tmp_path).why


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    problem = refused("a: " + "[" * 5_000 + "]" * 5_000, tmp_path)
    assert f"nested over {DEPTH_MAX} deep" in problem.why
    assert "line 1, column" in problem.why


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    assert "is over" in refused("#" * ((1 << 20) + 1), tmp_path).why


@pytest.mark.parametrize(
    ("text", "where"),
    [("a: 1\nb: [1, 2\nc: 3\n", "line 3"), ("a: 'x", "line 1, column 6"), ("a:\n\tb: 1", "line 2"),
     ("a: b: c", "line 1, column 5"), ("ok: 1\nx: \x07", "line 2, column 4"),
     ("a: 1\n---\nb: 2", "line 2"), ("a: {b: 1}}", "line 1")],
)  # fmt: skip
def test_a_yaml_error_gives_line_and_column(text: str, where: str, tmp_path: Path) -> None:
    problem = refused(text, tmp_path)
    assert where in problem.why
    assert problem.remedy


@pytest.mark.parametrize(
    "text",
    [
        "p: *hunter22",
        "p: 'hunter22",
        "p: hunter22\n q: [",
        "x: &hunter22 1\ny: &hunter22 [*hunter22",
    ],
)
def test_a_yaml_error_never_quotes_the_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        load(path)
    shown = "".join(traceback.format_exception(caught.value))
    assert "hunter22" not in shown
    assert caught.value.__context__ is None, "PyYAML's own error quotes the line"


@pytest.mark.parametrize(
    "value",
    ["!!python/object/apply:os.system [x]", "!!python/name:os.system ''", "!own 5",
     "!!binary aGk=", "!!timestamp 2001-01-01"],
)  # fmt: skip
def test_tags_that_are_no_plain_data_build_nothing(value: str) -> None:
    tree, wrong = tree_of(f"a: {value}")
    assert isinstance(tree["a"], list | None)
    assert wrong or tree["a"] == ["x"]  # the tag of a list is not looked at: it is a list


def test_an_absurd_number_is_a_problem_and_no_crash() -> None:
    _, wrong = tree_of(f"a: {'9' * 5_000}\nb: !!int x")
    assert [text.split(":")[0] for text in wrong] == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "is empty"), ("# nothing", "is empty"), ("- a", "is not a map"), ("5", "is not a map"),
     (b"a: \xff", "not UTF-8 in line 1")],
)  # fmt: skip
def test_a_file_that_is_no_map(text: str | bytes, why: str, tmp_path: Path) -> None:
    assert why in refused(text, tmp_path).why


def test_a_missing_file_and_a_folder_are_clear_errors(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "directory")):
        with pytest.raises(InvalidInput, match=why) as caught:
            load(path)
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2


def test_a_byte_order_mark_is_no_part_of_the_file(tmp_path: Path, example: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + example.read_bytes())
    assert load(path, environ={}).name == "lobby"


@pytest.mark.parametrize(
    ("text", "value"),
    [("${A}", "x"), ("${B:-d}", "d"), ("${E:-d}", "d"), ("${E}", ""), ("a-${A}-${A}", "a-x-x"),
     ("$${A}", "${A}"), ("$A", "$A"), ("${A:-}", "x"), ("${B:-}", ""), ("${B:-a:b}", "a:b"),
     ("${R}", "${A}")],
)  # fmt: skip
def test_references_are_replaced_once(text: str, value: str) -> None:
    assert substitute(text, True, {"A": "x", "E": "", "R": "${A}"}) == value


@pytest.mark.parametrize("text", ["${B}", "${}", "${A", "${A:x}", "${1A}", "${B:-${A}}"])
def test_a_reference_that_cannot_be_replaced_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        substitute(text, True, {"A": "x"})


def test_a_plain_reference_is_typed_like_plain_yaml_and_a_quoted_one_is_text() -> None:
    tree, _ = tree_of("a: ${N}\nb: '${N}'\nc: ${T}\nd: ${S}", {"N": "007", "T": "true", "S": "12"})
    assert tree == {"a": "007", "b": "007", "c": True, "d": 12}
    assert plain_scalar("") is None
    assert settled(Substituted.of("5", plain=False)) == "5"


def test_what_the_environment_gives_is_never_structure() -> None:
    tree, _ = tree_of("a: ${X}", {"X": "{b: 1}\nc: 2"})
    assert tree == {"a": "{b: 1}\nc: 2"}


def test_loads_reports_every_missing_name_with_its_key(tmp_path: Path, example: Path) -> None:
    text = (
        example.read_text().replace("lobby.audio", '"${AUDIO}"').replace("slots: 4", "slots: ${N}")
    )
    with pytest.raises(InvalidInput) as caught:
        loads(text, folder=tmp_path, environ={})
    assert [p.key for p in caught.value.problems] == ["inputs.mic.topic", "slots"]
    spec = loads(text, folder=tmp_path, environ={"AUDIO": "0123", "N": "7"})
    assert spec.inputs["mic"].topic == "0123", "a topic of digits stays text"
    assert spec.slots == 7


def test_numbers_come_from_the_environment_with_and_without_quotes(lobby) -> None:
    changes = {
        "slots": "${N}",
        "metrics.public": "${T}",
        "fusion.of.sound": "${W}",
        "stages.sound.num_gpus": "${G}",
        "stages.sound.replicas": "${N}",
        "stages.sound.options": {"a": "${N}"},
        "kafka.client": {"request_timeout_ms": "${N}"},
    }
    environ = {"N": "7", "T": "true", "W": "1e-1", "G": "1/4"}
    spec = lobby(changes, environ=environ)
    assert (spec.slots, spec.metrics.public, spec.fusion.of["sound"]) == (7, True, 0.1)
    assert (spec.stages["sound"].num_gpus, spec.stages["sound"].replicas_max) == (0.25, 7)
    assert spec.stages["sound"].options == {"a": 7}
    assert spec.kafka.client == {"request_timeout_ms": 7}


def test_a_reference_without_quotes_inside_braces_gets_the_remedy(tmp_path: Path) -> None:
    assert "quotes" in refused("metrics: {port: ${PORT}}", tmp_path).remedy
