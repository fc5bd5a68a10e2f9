"""Secrets reach the client as text, and nothing that anyone may see."""

from __future__ import annotations

import json
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import InvalidInput
from pipeline.spec import PipelineSpec, Secret, loads

WORD = "hunter22"


def shown(spec: PipelineSpec) -> str:
    """Everything by which a spec may be looked at."""
    parts = [spec, spec.kafka, spec.metrics, spec.kafka.client, dict(spec.kafka.client),
             list(spec.kafka.client.values()), spec.public(), spec.stages]  # fmt: skip
    texts = [repr(part) for part in parts] + [str(part) for part in parts]
    return "\n".join([*texts, f"{spec}", json.dumps(spec.public()), spec.model_hash()])


def test_secrets_from_files_and_the_environment_are_text_but_never_shown(
    lobby, tmp_path: Path
) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "pw").write_text(f"{WORD}-pw\n")
    (tmp_path / "token").write_text(f"{WORD}-token\r\n")
    spec = lobby(
        {
            "kafka.client": {
                "security_protocol": "SASL_SSL",
                "sasl_plain_password": {"file": "secrets/pw"},
                "sasl_plain_username": "${USER}",
                "ssl_password": f"{WORD}-plain",
                "socks5_proxy": f"socks5://me:{WORD}@proxy:1080",
                "client_id": "lobby",
            },
            "metrics.token": {"file": str(tmp_path / "token")},
            "metrics.host": "0.0.0.0",
            "stages.sound.options": {"api_token": "${TOKEN}", "n_mels": 64},
        },
        environ={"USER": f"{WORD}-user", "TOKEN": f"{WORD}-option"},
    )
    assert spec.kafka.client == {
        "security_protocol": "SASL_SSL",
        "sasl_plain_password": f"{WORD}-pw",
        "sasl_plain_username": f"{WORD}-user",
        "ssl_password": f"{WORD}-plain",
        "socks5_proxy": f"socks5://me:{WORD}@proxy:1080",
        "client_id": "lobby",
    }
    assert spec.metrics.token == f"{WORD}-token"
    assert spec.stages["sound"].options["api_token"] == f"{WORD}-option"
    assert WORD not in shown(spec)
    assert "lobby" in shown(spec)
    assert "***" in json.dumps(spec.public())
    copied = pickle.loads(pickle.dumps(spec))
    assert copied.kafka.client["sasl_plain_password"] == f"{WORD}-pw"
    assert WORD not in shown(copied)


def test_a_secret_is_a_text_in_every_use_but_its_repr() -> None:
    secret = Secret(WORD)
    assert isinstance(secret, str)
    assert f"{secret}" == str(secret) == "".join([secret]) == WORD
    assert secret.encode() == WORD.encode()
    assert repr(secret) == "'***'"
    assert f"{secret!r}" == "'***'"
    assert repr({"a": [secret]}) == "{'a': ['***']}"


@pytest.mark.parametrize(
    "changes",
    [
        {"kafka.client": {"sasl_pasword": WORD}},
        {"kafka.client": {"unheard_of": WORD}},
        {"kafka.client": {"group_id": "${S}"}},
        {"kafka.client": {"sasl_plain_password": 5}, "start": "x"},
        {"kafka.client": {"sasl_plain_password": [WORD]}},
        {"kafka.client": {"sasl_plain_password": {"file": "pw", "more": WORD}}},
        {"kafka.client": {"security_protocol": "${S}"}},
        {"kafka.client": {"request_timeout_ms": "${S}"}},
        {"kafka.client": {"ssl_password": "ab${" + WORD}},
        {"kafka.client": {"api_version": WORD + "${S}"}},
        {"kafka.client": {"request_timeout_ms": {"file": "pw"}}},
        {"kafka.client": [WORD]},
        {"kafka.client": WORD},
        {"kafka.sasl_plain_password": WORD},
        {"kafka.clint": {"x": WORD}},
        {"kafka.clint": WORD},
        {"metrics.token": [WORD]},
        {"metrics.token": {"file": "pw", "more": WORD}},
        {"metrics.tokn": WORD},
        {"metrics.tokn": "${S}"},
        {"metrics.token": "${S} ${NOT_THERE}"},
        {"sasl_plain_password": "${S}"},
        {"stages.sound.options": {"api_token": "${S}"}, "stages.sound.timeout": 5},
        {"metrics.token": {"file": "pw"}, "metrics.port": -1},
        {"metrics.token": {"file": "binary"}},
    ],
    ids=str,
)
def test_no_error_shows_a_secret(changes: dict[str, Any], lobby, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(WORD)
    (tmp_path / "binary").write_bytes(WORD.encode() + b"\xff")
    with pytest.raises(InvalidInput) as caught:
        lobby(changes, environ={"S": WORD})
    error = caught.value
    assert WORD not in str(error)
    assert WORD not in repr(error)
    assert WORD not in "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:  # what a debugger would follow, suppressed or not
        assert WORD not in repr(chain.args)
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read (No such file"), (b"", "is empty"), (b"\n", "is empty"),
     (b"\xff", "UTF-8"), (b"x" * 70_000, "short")],
)  # fmt: skip
def test_a_secret_file_that_gives_none_is_named(content, why: str, problems, tmp_path) -> None:
    if content is not None:
        (tmp_path / "pw").write_bytes(content)
    for key in ("kafka.client.ssl_password", "metrics.token"):
        found = problems({key: {"file": "pw"}})
        assert why in found[key].why
        assert "pw" in found[key].why


@pytest.mark.parametrize("name", [None, "", 5, ["a"], "a\0b"])
def test_a_secret_file_without_a_name_is_told(name, problems) -> None:
    assert "names no file" in problems({"metrics.token": {"file": name}})["metrics.token"].why


def test_only_the_last_line_end_of_a_secret_file_is_dropped(lobby, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text(" a b \n\n")
    spec = lobby({"kafka.client": {"ssl_password": {"file": "pw"}}})
    assert spec.kafka.client["ssl_password"] == " a b \n"


def test_a_password_of_digits_from_the_environment_stays_text(tmp_path: Path, example) -> None:
    text = example.read_text().replace("client: {}", "client:\n    ssl_password: ${PW}")
    spec = loads(text, folder=tmp_path, environ={"PW": "00123"})
    assert spec.kafka.client["ssl_password"] == "00123"


def test_an_empty_token_is_no_token(lobby) -> None:
    assert lobby({"metrics.token": "${T:-}"}).metrics.token is None
    with pytest.raises(InvalidInput, match=r"metrics\.host"):
        lobby({"metrics.token": "${T:-}", "metrics.host": "0.0.0.0"})
