"""``motet find``: what was said in a real run, and the command that cuts it out."""

from __future__ import annotations

import json
import shlex
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import pytest
from kafka_user import BEGIN_US, LOCAL, noise, rfc3339

pytestmark = pytest.mark.kafka

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "find.schema.json"
S = 1_000_000
SAID = {0: "the doors open", 2: "a dog barks", 3: "the dog sleeps", 4: "the shares have fallen"}


@pytest.fixture
def file(user, motet, prefix, make_file):
    """Five seconds of two streams with sound, and what is said in four of them."""
    stages = {
        "sound": {"encoder": "log_mel", "of": "mic", "options": {"n_mels": 8}},
        "said": {"encoder": "text_clean", "of": "chat"},
        "words": {"encoder": "hash_text", "of": "said", "options": {"dim": 4}},
    }
    file = make_file(prefix, stages=stages)
    for second in range(5):
        for stream in ("s 0", "s1"):
            user.send(f"{prefix}.audio", stream, noise(second), BEGIN_US + second * S)
            if second in SAID and stream == "s 0":
                text = SAID[second].encode()
                user.send(f"{prefix}.text", stream, text, BEGIN_US + second * S + 1000)
    user.producer.flush()
    assert motet("run", file, *LOCAL).code == 0
    return file


def test_a_hit_names_the_command_that_cuts_it(motet, file, tmp_path, monkeypatch):
    code, out, err = motet("find", file, "shares", "--words", "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    jsonschema.validate(found, json.loads(SCHEMA.read_text()))
    assert (found["by"], found["results"], found["left_out"]) == ("words", len(SAID), 0)
    [hit] = found["hits"]
    start_us = BEGIN_US + 4 * S
    assert hit["result_id"] == f"s 0/{start_us}"
    assert (hit["source"], hit["kind"], hit["snippet"]) == ("said", "text", SAID[4])
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(hit["clip"])
    assert program == "motet"
    assert motet(*arguments).code == 0
    folder = tmp_path / f"s-0-{start_us}"
    assert (folder / "chat.txt").read_text() == f"{SAID[4]}\n"
    assert (folder / "mic.wav").is_file()


def test_people_read_lines_and_a_span_and_a_limit_are_kept(motet, file):
    code, out, err = motet("find", file, "dog", "--words")
    assert code == 0
    assert err == "motet: 4 results searched by words\n"
    lines = out.splitlines()
    assert lines[0] == f'1.00  s 0  {rfc3339(BEGIN_US + 3 * S)[:-4]}Z +1s  said: "the dog sleeps"'
    assert lines[1].strip().startswith(f"motet clip 's 0/{BEGIN_US + 3 * S}' ")
    assert len(lines) == 4
    assert "\x1b" not in out
    assert len(motet("find", file, "dog", "--words", "--limit", 1).out.splitlines()) == 2
    span = ("--from", rfc3339(BEGIN_US), "--to", rfc3339(BEGIN_US + 3 * S))
    assert '"a dog barks"' in motet("find", file, "dog", "--words", *span).out.splitlines()[0]
    answer = motet("find", file, "dog", "--words", "--newest", 2)
    assert answer.err == "motet: 2 results searched by words; 2 older ones left out (--newest)\n"
    answer = motet("find", file, "zebra", "--words")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err == "motet: nothing found; 4 results searched by words\n"


def test_without_the_models_it_goes_by_words_and_says_so(motet, file, monkeypatch):
    from pipeline.encoders.models import weights
    from pipeline.errors import InvalidInput, Problem

    def missing(_weights):
        raise InvalidInput(Problem("encoder", "gt-all", "is not installed", weights.INSTALL))

    monkeypatch.setattr(weights, "weights_path", missing)
    code, out, err = motet("find", file, "shares", "--json")
    assert (code, json.loads(out)["by"]) == (0, "words")
    assert "motet: searching by words; for meaning: " in err
    assert "motet[models]" in err


@pytest.mark.models
@pytest.mark.skipif(find_spec("rapidocr") is None, reason="needs motet[models]")
def test_by_meaning_other_words_find_it(motet, file):
    code, out, err = motet("find", file, "losses at the stock market", "--limit", 1, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["by"], found["hits"][0]["snippet"]) == ("meaning", SAID[4])
    assert 0.3 < found["hits"][0]["score"] < 1


def test_a_pipeline_whose_results_say_nothing_names_what_would(user, motet, prefix, make_file):
    file = make_file(prefix)
    user.send_sound(prefix, range(2))
    assert motet("run", file, *LOCAL).code == 0
    code, out, err = motet("find", file, "dog", "--words")
    assert (code, out) == (0, "")
    assert "has a label, a text or words in its data; a stage such as speech_to_text" in err


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("",), "TEXT: it has 0 characters; write 1 to 1,000 of them"),
        (("x" * 1001,), "it has 1001 characters; write 1 to 1,000 of them"),
        (("a", "--from", "yesterday"), "--from = yesterday: "),
    ],
)
def test_what_cannot_be_looked_for_is_told_by_name(motet, prefix, make_file, arguments, why):
    code, out, err = motet("find", make_file(prefix, create=False), *arguments)
    assert (code, out) == (2, "")
    assert why in err
    assert err.count("\n") == 1
