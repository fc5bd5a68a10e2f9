"""``--client KEY=VALUE``: the settings that ``kafka.client`` of a file takes, and no others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cli.client_option import broker_named, client_settings
from pipeline.errors import InvalidInput
from pipeline.spec.kafka_client import NAMES
from pipeline.spec.secret import Secret


def test_settings_are_those_that_a_file_would_hold(monkeypatch):
    monkeypatch.setenv("PASSWORD", "0123")
    found = client_settings(
        [
            "security_protocol=SASL_SSL",
            "sasl_plain_password=${PASSWORD}",
            "ssl_check_hostname=false",
            "request_timeout_ms=5000",
            "api_version=3.7",
        ]
    )
    assert found == {
        "security_protocol": "SASL_SSL",
        "sasl_plain_password": "0123",  # digits stay text
        "ssl_check_hostname": False,
        "request_timeout_ms": 5000,
        "api_version": (3, 7),
    }
    assert isinstance(found["sasl_plain_password"], Secret)
    assert client_settings(None) == {}


def test_all_that_is_wrong_is_told_at_once_and_no_secret_is_shown(monkeypatch):
    monkeypatch.delenv("NOPE", raising=False)
    with pytest.raises(InvalidInput) as caught:
        client_settings(
            ["acks=1", "sasl_pasword=hush", "sasl_plain_username", "ssl_cafile=${NOPE}", "=x"]
        )
    lines = str(caught.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "--client = acks=1",
        "--client = sasl_pasword",
        "--client = sasl_plain_username",
        "--client = ssl_cafile=${NOPE}",
        "--client",
    ]
    assert "did you mean " in lines[1]
    assert "hush" not in str(caught.value)


@given(st.text(max_size=20))
def test_a_name_that_no_client_knows_is_refused_and_names_no_value(name):
    if name.strip() in NAMES:
        return
    with pytest.raises(InvalidInput) as caught:
        client_settings([f"{name}=hush-hush"])
    assert "hush-hush" not in str(caught.value)


def test_the_address_is_the_flag_then_the_environment_then_the_usual_port(monkeypatch):
    monkeypatch.setenv("KAFKA", "k:1")
    assert broker_named("b:2") == ("b:2", "--bootstrap")
    assert broker_named(None) == ("k:1", "$KAFKA")
    monkeypatch.delenv("KAFKA")
    assert broker_named(None) == ("127.0.0.1:9092", "--bootstrap")
