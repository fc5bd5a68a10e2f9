"""``motet init``: the files that it writes load, say the truth, and overwrite nothing."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from pipeline.cli import main
from pipeline.cli.init import spread
from pipeline.cli.init_text import fitted, starter
from pipeline.cli.topic_names import meant
from pipeline.media.probe import Finding, TopicGuess
from pipeline.media.probe.json_value import PayloadField, TimeField
from pipeline.spec import load, loads

COMMENTED = re.compile(r"^(\s*)# (([a-z_]+): .*)$", re.MULTILINE)
# Commented keys that show what is possible and not what is so already.
EXAMPLES = {"client", "payload", "time", "replicas", "context"}


def uncommented(text: str, examples: bool) -> str:
    def shown(found: re.Match[str]) -> str:
        wanted = examples or found[3] not in EXAMPLES
        return found[1] + found[2] if wanted else found[0]

    return COMMENTED.sub(shown, text)


def test_the_starter_is_written_into_a_new_folder_and_loads(capsys, tmp_path):
    assert main(["init", str(tmp_path / "My Lobby")]) == 0
    out, err = capsys.readouterr()
    file = tmp_path / "My Lobby" / "pipeline.yaml"
    assert out == f"{file}\n"
    assert [line.split()[:2] for line in err.splitlines()[1:]] == [
        ["motet", "topics"], ["motet", "publish"], ["motet", "run"],
    ]  # fmt: skip
    assert load(file).name == "my-lobby"


def test_without_a_folder_it_is_written_here(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init"]) == 0
    assert load(tmp_path / "pipeline.yaml").topics_in()[0].endswith(".audio")


def test_nothing_is_overwritten(capsys, tmp_path):
    file = tmp_path / "pipeline.yaml"
    file.write_text("mine")
    assert main(["init", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"motet: error: DIR = {file}: it is there already and is never over")
    assert file.read_text() == "mine"
    assert main(["init", str(file)]) == 2
    assert "it is a file, no folder" in capsys.readouterr().err
    (tmp_path / "dangling").mkdir()
    (tmp_path / "dangling" / "pipeline.yaml").symlink_to(tmp_path / "nowhere")
    assert main(["init", str(tmp_path / "dangling")]) == 2
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_cannot_be_made_is_named(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["init", str(tmp_path / "file" / "below")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_every_commented_key_of_the_starter_is_one(tmp_path):
    text = starter("lobby")
    assert len(COMMENTED.findall(text)) >= 18
    plain = loads(text, folder=tmp_path, environ={})
    as_default = loads(uncommented(text, examples=False), folder=tmp_path, environ={})
    assert as_default.public() == plain.public()
    everything = loads(uncommented(text, examples=True), folder=tmp_path, environ={})
    assert everything.inputs["camera"].payload.json == "data.frame"
    assert everything.stages["sound"].replicas_max == 4


def test_topics_follow_their_option_until_the_next_one():
    assert spread(["d", "--from-topics", "a", "b", "--wait"]) == [
        "d", "--from-topics", "a", "--from-topics", "b", "--wait",
    ]  # fmt: skip
    assert spread(["--from-topics", "a,b"]) == ["--from-topics", "a", "--from-topics", "b"]
    assert spread(["d", "--wait"]) == ["d", "--wait"]


def test_the_option_without_a_topic_is_an_error_of_usage(capsys, tmp_path):
    assert main(["init", str(tmp_path), "--from-topics"]) == 2
    assert "--from-topics" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_folder_among_the_topics_is_told_where_it_goes(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--from-topics", "a", "./new"]) == 2
    assert capsys.readouterr().err == (
        "motet: error: --from-topics = ./new: is not a topic name that Kafka takes; "
        "a DIR goes before --from-topics\n"
    )


def guess(topic: str, **changes) -> TopicGuess:
    found = TopicGuess(topic, 4, 10, type="text/plain", kind="text")
    for name, value in changes.items():
        setattr(found, name, value)
    return found


FOUND = Finding("type", "anything", "guess")


@pytest.mark.parametrize(
    "guesses",
    [
        [guess("a.audio", type="audio/L16;rate=8000;channels=1", kind="audio"), guess("b.audio")],
        [guess("1"), guess("true"), guess("x.on"), guess("-"), guess("..."), guess("a" * 249)],
        [guess("name.results"), guess("name.late"), guess("name-2.late")],
        [guess("t", stream='header:od"d: #name')],
        [guess("t", payload=PayloadField('a.b"c#', True, FOUND))],
        [guess("t", time=TimeField("it's.$x{", "ms", (), FOUND))],
        [guess("t", longest_us=90_000_000, largest_bytes=40 << 20)],
        [guess("t"), guess("u", trouble="it is empty: publish some")],
        [guess("t", findings=[Finding("type", "word " * 80 + "\n- x: y", "guess")])],
    ],
)
def test_whatever_was_seen_the_file_loads(tmp_path, guesses):
    for each in guesses:
        each.findings = [*each.findings, FOUND]
    text = fitted("name", "127.0.0.1:9092", guesses, ["a note of many words " * 20])
    spec = loads(text, folder=tmp_path, environ={})
    usable = [each for each in guesses if not each.trouble]
    assert [source.topic for source in spec.inputs.values()] == [each.topic for each in usable]
    for each, source in zip(usable, spec.inputs.values(), strict=True):
        assert (source.type, source.stream) == (each.type, each.stream)
        assert (source.payload is None) == (each.payload is None)
        assert source.payload is None or source.payload.json == each.payload.path
        assert source.time is None or source.time.json == each.time.path
    assert spec.limits.record_span_us >= max(each.longest_us for each in usable)
    assert spec.limits.record_bytes >= max(each.largest_bytes for each in usable)
    assert not {*spec.topics_in()} & {*spec.topics_out()}


def test_an_input_that_is_left_out_stands_there_as_a_comment():
    text = fitted("n", "h:1", [guess("t"), guess("u.empty", trouble="it is empty: try")], [])
    assert "# left out: it is empty: try" in text
    assert '  # empty: {topic: "u.empty", type: image/jpeg}' in text


LIGHT = """
import sys
from pipeline.cli import main
codes = [main(line.split()) for line in sys.argv[1:]]
heavy = [n for n in "torch ray librosa kafka numpy av soundfile PIL".split() if n in sys.modules]
sys.exit(f"{codes} {heavy}" if any(codes) or heavy else 0)
"""


def test_help_and_the_starter_import_nothing_heavy(tmp_path):
    lines = ["init --help", "try --help", "doctor --help", f"init {tmp_path / 'new'}"]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, *lines], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Example: motet ") == 3


@pytest.mark.parametrize(
    ("topic", "known", "said"),
    [
        ("lobby.audoi", ["lobby.audio", "other"], "did you mean lobby.audio?"),
        ("audio", ["lobby.audio", "hall.audio"], "did you mean "),
        ("zzz", ["a", "b", "c", "d"], "there are a, b, c and 1 more (or so)"),
        ("zzz", [], "the broker has no topics that you may see"),
    ],
)
def test_topics_that_may_be_meant_are_named(topic, known, said):
    assert meant(topic, known, " (or so)").startswith(said)
