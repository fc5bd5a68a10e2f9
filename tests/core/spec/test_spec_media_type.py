"""Media types, and the names of kafka-python's settings."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest

from pipeline.spec import MediaType, Wrong, parse_media_type
from pipeline.spec import kafka_client as client


@pytest.mark.parametrize(
    ("text", "kind", "subtype", "format_", "rate", "channels"),
    [
        ("audio/L16;rate=16000;channels=1", "audio", "L16", "S16BE", 16000, 1),
        ("audio/L16;rate=8000", "audio", "L16", "S16BE", 8000, 1),
        ("audio/x-raw;format=S16LE;rate=48000;channels=2", "audio", "x-raw", "S16LE", 48000, 2),
        ("audio/x-raw;format=S16BE;rate=1", "audio", "x-raw", "S16BE", 1, 1),
        ("audio/x-raw; rate=1000000 ;format=f32le", "audio", "x-raw", "F32LE", 1_000_000, 1),
        ('audio/L16;rate="16000"', "audio", "L16", "S16BE", 16000, 1),
        ("audio/wav", "audio", "wav", "wav", 0, 0),
        ("audio/x-wav", "audio", "wav", "wav", 0, 0),
        ("audio/flac;rate=44100", "audio", "flac", "flac", 44100, 0),
        ("audio/ogg; codecs=opus", "audio", "ogg", "ogg", 0, 0),
        ("audio/mpeg;rate=44100", "audio", "mpeg", "mpeg", 44100, 0),
        ("audio/mp3", "audio", "mpeg", "mpeg", 0, 0),
        ("audio/aac", "audio", "aac", "aac", 0, 0),
        ("audio/aacp", "audio", "aac", "aac", 0, 0),
        ("image/webp", "image", "webp", "webp", 0, 0),
        ("IMAGE/JPEG", "image", "jpeg", "jpeg", 0, 0),
        ("image/png", "image", "png", "png", 0, 0),
        ('video/mp4; codecs="avc1.640028"', "video", "mp4", "mp4", 0, 0),
        ("video/h264", "video", "H264", "h264", 0, 0),
        ("text/plain; charset=UTF-8", "text", "plain", "text", 0, 0),
    ],
)
def test_a_media_type_is_read(text, kind, subtype, format_, rate, channels) -> None:
    media = parse_media_type(text)
    assert media == MediaType(kind, subtype, format_, rate, channels)
    assert parse_media_type(str(media)) == media


@pytest.mark.parametrize(
    "text",
    ["", "audio", "audio/", "audio/L24;rate=1", "audio/L16", "audio/L16;rate", "audio/L16;rate=0",
     "audio/L16;rate=1000001", "audio/L16;rate=1e3", "audio/L16;rate=-1", "audio/L16;rate=1;rate=1",
     "audio/L16;rate=1;channels=0", "audio/L16;rate=1;channels=256",
     "audio/L16;rate=1;format=S16LE",
     "audio/x-raw;rate=1", "audio/x-raw;format=S24LE;rate=1", "audio/L16;;rate=1", "image/jpeg;q=1",
     "text/plain;charset=latin-1", "text/html", "audio/L16;rate=1 6"],
)  # fmt: skip
def test_what_is_no_media_type_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        parse_media_type(text)


@pytest.fixture(scope="module")
def kafka() -> ModuleType:
    with warnings.catch_warnings():  # its import reads files in a way that Python 3.11 deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        import kafka
    return kafka


def test_the_settings_are_those_of_kafka_python(kafka) -> None:
    known: set[str] = set()
    for kind in (kafka.KafkaConsumer, kafka.KafkaProducer, kafka.KafkaAdminClient):
        known |= kind.DEFAULT_CONFIG.keys()
    assert known == client.NAMES


def test_every_setting_has_one_kind() -> None:
    kinds = [client.TEXT, client.TRUTH, client.NUMBER, client.VERSION, client.OWNED.keys()]
    assert sum(len(kind) for kind in kinds) == len(client.NAMES)


def test_the_kinds_are_those_of_the_defaults(kafka) -> None:
    for made in (kafka.KafkaConsumer, kafka.KafkaProducer, kafka.KafkaAdminClient):
        for name, default in made.DEFAULT_CONFIG.items():
            if default is None or name in client.OWNED:
                continue
            kind = {bool: client.TRUTH, int: client.NUMBER, str: client.TEXT}[type(default)]
            assert name in kind, name


def test_settings_are_as_kafka_python_takes_them(lobby) -> None:
    settings = {
        "security_protocol": "SASL_SSL",
        "api_version": "3.7",
        "linger_ms": 0,
        "ssl_check_hostname": False,
        "client_rack": None,
    }
    taken = lobby({"kafka.client": settings}).kafka.client
    assert taken == {**settings, "api_version": (3, 7)}
