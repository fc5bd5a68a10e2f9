"""A real Kafka with passwords, certificates and rights: reached, and each refusal told as such."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from certificates import Authority
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    NewTopic,
    ResourcePattern,
    ResourceType,
    UserScramCredentialUpsertion,
)
from ports import free_port

from pipeline.broker import server, settings
from pipeline.connectors.kafka.clients import Clients

pytestmark = [
    pytest.mark.kafka,
    # the stock client leaves the socket of a failed handshake to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl.SSLSocket"),
]

PROPERTIES = """
sasl.enabled.mechanisms=PLAIN
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,\
SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,BOTH:SASL_SSL,EXPIRED:SSL,ELSEWHERE:SSL,MUTUAL:SSL,\
SCRAM:SASL_SSL
listener.name.sasl_plaintext.plain.sasl.jaas.config={jaas}
listener.name.both.plain.sasl.jaas.config={jaas}
listener.name.scram.sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512
listener.name.scram.scram-sha-256.sasl.jaas.config={scram}
listener.name.scram.scram-sha-512.sasl.jaas.config={scram}
ssl.keystore.type=PEM
ssl.keystore.location={folder}/good.pem
listener.name.expired.ssl.keystore.location={folder}/expired.pem
listener.name.elsewhere.ssl.keystore.location={folder}/elsewhere.pem
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={folder}/ca.pem
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS;User:ada;User:CN=motet
"""
JAAS = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'user_ada="0123" user_eve="eve";'
)
SCRAM_JAAS = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
SCRAM_PASSWORD = "of Kafka's own, = and , too"  # both are special in SCRAM's messages
PLAIN = {
    "security_protocol": "SASL_PLAINTEXT",
    "sasl_mechanism": "PLAIN",
    "sasl_plain_username": "ada",
    "sasl_plain_password": "0123",
}
REACH_S = 4.0


class Secure(NamedTuple):
    """Its listeners as HOST:PORT, and the folder of certificates and keys.

    ``expired`` and ``elsewhere`` show a certificate that has expired, and one of another host;
    ``mutual`` wants one of its client. ``scram`` (with TLS) takes SCRAM alone.
    """

    plain: str
    sasl: str
    tls: str
    both: str
    expired: str
    elsewhere: str
    mutual: str
    scram: str
    folder: Path

    @property
    def trusting(self) -> dict[str, str]:
        return {"security_protocol": "SSL", "ssl_cafile": str(self.folder / "ca.pem")}


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Such sockets are collected here, and not in somebody else's test."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    """``ada`` may do all, ``eve`` nothing; what comes without a password may do all too."""
    folder = tmp_path_factory.mktemp("secure")
    authority = Authority(folder / "ca.pem")
    authority.issue(folder / "good.pem", "127.0.0.1")
    authority.issue(folder / "expired.pem", "127.0.0.1", days=-1)
    authority.issue(folder / "elsewhere.pem", "192.0.2.7")
    authority.issue(folder / "client.pem", "127.0.0.1")
    Authority(folder / "other-ca.pem").issue(folder / "stranger.pem", "127.0.0.1")
    names = ("SASL_PLAINTEXT", "SSL", "BOTH", "EXPIRED", "ELSEWHERE", "MUTUAL", "SCRAM")
    at = {name: f"127.0.0.1:{free_port()}" for name in names}
    patch = pytest.MonkeyPatch()
    render = settings.render_properties

    def rendered(*arguments: object) -> str:
        text = render(*arguments)  # type: ignore[arg-type]
        more = "".join(f"{name}://{place}," for name, place in at.items())
        for key in ("listeners", "advertised.listeners"):
            text = text.replace(f"\n{key}=", f"\n{key}={more}")
        return text + PROPERTIES.format(folder=folder, jaas=JAAS, scram=SCRAM_JAAS)

    patch.setattr(settings, "render_properties", rendered)
    try:
        broker = server.start(0, folder / "data")
        with closing(KafkaAdminClient(bootstrap_servers=broker.bootstrap)) as admin:
            admin.create_topics([NewTopic("hall.text", 1, 1)])
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512"):  # one a request, says Kafka
                made = UserScramCredentialUpsertion("ada", mechanism, SCRAM_PASSWORD)
                assert admin.alter_user_scram_credentials([made]) == {"ada": None}
        yield Secure(broker.bootstrap, *at.values(), folder)
    finally:
        server.stop(folder / "data")
        patch.undo()


def flags(client: dict[str, str]) -> list[str]:
    return [part for key, value in client.items() for part in ("--client", f"{key}={value}")]


def test_a_cluster_that_wants_a_password_is_reached_without_a_file(
    secure, motet, monkeypatch, tmp_path
):
    monkeypatch.setenv("PASSWORD", "0123")  # digits stay text
    (tmp_path / "n.txt").write_text("a note\n")
    where = ["--bootstrap", secure.sasl]
    where += flags({**PLAIN, "sasl_plain_password": "${PASSWORD}"})
    sent = motet("publish", "--topic", "hall.text", "--stream", "s", *where, tmp_path / "n.txt")
    assert sent.code == 0, sent.err
    read = motet("tail", "--topic", "hall.text", "--from-beginning", "--until-end", *where)
    assert read.code == 0, read.err
    assert read.out
    made = motet("init", tmp_path / "hall", *where, "--from-topics", "hall.text")
    assert made.code == 0, made.err
    doctor = motet("doctor", *where).out
    assert f"a Kafka answers at {secure.sasl}" in doctor
    monkeypatch.setenv("PASSWORD", "4711")
    refused = motet("doctor", *where)
    assert refused.code == 1
    assert f"kafka.client: {secure.sasl} refuses this user by PLAIN" in refused.out
    assert "4711" not in refused.out + refused.err


@pytest.mark.parametrize("listener", ["tls", "both", "mutual"])
def test_a_cluster_with_tls_is_reached_where_its_certificate_is_known(secure, motet, listener):
    client = secure.trusting
    if listener == "both":
        client |= {**PLAIN, "security_protocol": "SASL_SSL"}
    if listener == "mutual":
        own = str(secure.folder / "client.pem")
        client |= {"ssl_certfile": own, "ssl_keyfile": own}
    where = ("--bootstrap", getattr(secure, listener), *flags(client))
    read = motet("tail", "--topic", "hall.text", "--from-beginning", "--until-end", *where)
    assert read.code == 0, read.err


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-512"])
def test_a_cluster_with_scram_knows_the_password_and_no_other(secure, motet, mechanism):
    client = {
        **secure.trusting,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": mechanism,
        "sasl_plain_username": "ada",
        "sasl_plain_password": SCRAM_PASSWORD,
    }
    read = ("tail", "--topic", "hall.text", "--from-beginning", "--until-end")
    read = (*read, "--bootstrap", secure.scram)
    good = motet(*read, *flags(client))
    assert good.code == 0, good.err
    refused = motet(*read, *flags({**client, "sasl_plain_password": "4711"}))
    assert refused.code == 2, refused.err
    assert f"kafka.client: {secure.scram} refuses this user by {mechanism} (" in refused.err
    unknown = motet(*read, *flags({**client, "sasl_plain_username": "bob"}))
    assert unknown.code == 2, unknown.err
    assert f"kafka.client: {secure.scram} refuses this user by {mechanism} (" in unknown.err
    assert "4711" not in refused.err + unknown.err + good.err


# What is wrong: the listener, other settings, the line (as far as it is the same everywhere).
AT_ONCE = {
    "password": (
        "sasl",
        {**PLAIN, "sasl_plain_password": "4711"},
        "kafka.client: {sasl} refuses this user by PLAIN (Invalid username or password); correct "
        "sasl_plain_username and sasl_plain_password",
    ),
    "mechanism": (
        "sasl",
        {**PLAIN, "sasl_mechanism": "SCRAM-SHA-512"},
        "kafka.client.sasl_mechanism = SCRAM-SHA-512: {sasl} has no such mechanism; take one",
    ),
    "no mechanism": (
        "sasl",
        {"security_protocol": "SASL_PLAINTEXT"},
        "kafka.client.sasl_mechanism: SASL_PLAINTEXT needs it; add it",
    ),
    "no name": (
        "sasl",
        {k: v for k, v in PLAIN.items() if k != "sasl_plain_username"},
        "kafka.client.sasl_plain_username: SASL PLAIN needs it; add it",
    ),
    "no SASL there": (
        "plain",
        PLAIN,
        "kafka.client.security_protocol = SASL_PLAINTEXT: {plain} wants no SASL; write PLAINTEXT",
    ),
    "no TLS here": (
        "tls",
        {},
        "kafka.client.security_protocol = PLAINTEXT: {tls} wants TLS; write SSL or SASL_SSL",
    ),
    "unknown certificate": (
        "tls",
        {"security_protocol": "SSL"},
        "kafka.client: the certificate of {tls} is not accepted (unable to get local issuer",
    ),
    "another authority": (
        "tls",
        {"security_protocol": "SSL", "ssl_cafile": "{folder}/other-ca.pem"},
        "kafka.client: the certificate of {tls} is not accepted (",
    ),
    "expired": (
        "expired",
        {"security_protocol": "SSL", "ssl_cafile": "{folder}/ca.pem"},
        "kafka.client: the certificate of {expired} is not accepted (certificate has expired)",
    ),
    "another host": (
        "elsewhere",
        {"security_protocol": "SSL", "ssl_cafile": "{folder}/ca.pem"},
        "kafka.client: the certificate of {elsewhere} is not accepted (IP address mismatch",
    ),
    "no certificate of its own": (
        "mutual",
        {"security_protocol": "SSL", "ssl_cafile": "{folder}/ca.pem"},
        "kafka.client: {mutual} accepts only clients whose certificate it knows (",
    ),
    "a certificate that it does not know": (
        "mutual",
        {
            "security_protocol": "SSL",
            "ssl_cafile": "{folder}/ca.pem",
            "ssl_certfile": "{folder}/stranger.pem",
            "ssl_keyfile": "{folder}/stranger.pem",
        },
        "kafka.client: {mutual} accepts only clients whose certificate it knows (",
    ),
    "no such file": (
        "tls",
        {"security_protocol": "SSL", "ssl_cafile": "/no/ca.pem"},
        "kafka.client.ssl_cafile = /no/ca.pem: no such file; give the path of a PEM file",
    ),
}


@pytest.mark.parametrize("case", AT_ONCE)
def test_what_is_refused_for_good_is_told_at_once_with_exit_code_2(secure, motet, case):
    listener, client, line = AT_ONCE[case]
    client = {key: value.format(folder=secure.folder) for key, value in client.items()}
    where = ("--bootstrap", getattr(secure, listener), *flags(client))
    began_s = time.monotonic()
    answer = motet("tail", "--topic", "hall.text", *where)
    assert time.monotonic() - began_s < 25  # on a busy machine; not the 30 s that it waits
    assert answer.code == 2, answer.err
    assert f"motet: error: {line.format(**secure._asdict())}" in answer.err
    assert "4711" not in answer.err


# A broker that stops, or a proxy before it, may look the same: it is waited for as ever.
IN_THE_END = {
    "no SASL here": (
        "sasl",
        {},
        "kafka.client.security_protocol = PLAINTEXT: Kafka at {sasl} ends each connection at the "
        "first question, as a listener with SASL does; write SASL_PLAINTEXT or SASL_SSL",
    ),
    "no TLS there": (
        "plain",
        {"security_protocol": "SSL"},
        "kafka.client.security_protocol = SSL: {plain} does not answer with TLS (",
    ),
}


@pytest.mark.parametrize("case", IN_THE_END)
def test_what_may_pass_is_waited_for_and_named_with_exit_code_3(secure, case):
    listener, client, line = IN_THE_END[case]
    clients = Clients(getattr(secure, listener), client, REACH_S)
    with pytest.raises(Exception) as error:  # noqa: PT011  which one is looked at
        clients.consumer()
    assert getattr(error.value, "exit_code", None) == 3, error.value
    assert str(error.value).startswith(line.format(**secure._asdict()))


def test_a_missing_right_ends_a_run_that_says_which(secure, motet, tmp_path):
    topics = [f"ward.{name}" for name in ("text", "results", "late", "dead")]
    path = tmp_path / "ward.yaml"
    path.write_text(yaml.safe_dump({
        "name": "ward",
        "kafka": {
            "bootstrap": secure.sasl,
            "client": {**PLAIN, "sasl_plain_username": "eve", "sasl_plain_password": "eve"},
        },
        "inputs": {"chat": {"topic": topics[0], "type": "text/plain"}},
        "windows": {"size": "1s"},
        "stages": {"words": {"encoder": "hash_text", "of": "chat"}},
        "fusion": {"rule": "concat", "of": {"words": 1}},
        "outputs": {"results": topics[1], "late": topics[2], "dead_letter": topics[3]},
        "metrics": {"port": 0},
        "slots": 1,
    }))  # fmt: skip
    with closing(KafkaAdminClient(bootstrap_servers=secure.plain)) as admin:
        admin.create_topics([NewTopic(topic, 1, 1) for topic in topics])

        def allow(kind: ResourceType, name: str, *operations: ACLOperation) -> None:
            admin.create_acls([
                ACL(
                    principal="User:eve",
                    host="*",
                    operation=operation,
                    permission_type=ACLPermissionType.ALLOW,
                    resource_pattern=ResourcePattern(kind, name),
                )
                for operation in operations
            ])  # fmt: skip

        def runs() -> str:
            answer = motet("run", path, "--local", "--until-end")
            assert answer.code == 1, answer.err
            return str(answer.err)

        assert (
            f"topic {topics[0]}: the broker does not permit it; grant the right to this user"
            in runs()
        )
        for topic in topics:
            allow(ResourceType.TOPIC, topic, ACLOperation.DESCRIBE)
        assert "grant DescribeConfigs on the topic to this user" in runs()
        for topic in topics:
            allow(ResourceType.TOPIC, topic, ACLOperation.DESCRIBE_CONFIGS)
        assert "ward.0: open: " in (said := runs())
        assert "TransactionalIdAuthorizationFailedError: the broker does not permit it" in said
        allow(ResourceType.TRANSACTIONAL_ID, "ward.0", ACLOperation.WRITE, ACLOperation.DESCRIBE)
        assert "GroupAuthorizationFailedError: ward: the broker does not permit it" in runs()
        allow(ResourceType.GROUP, "ward", ACLOperation.READ)
        # the client gives this one as a plain error that names it: it was waited for without end
        assert "TopicAuthorizationFailedError: the broker does not permit it" in runs()
        allow(ResourceType.TOPIC, topics[0], ACLOperation.READ)
        assert motet("run", path, "--local", "--until-end").code == 0
        (tmp_path / "n.txt").write_text("a note\n")
        where = ("--bootstrap", secure.plain)
        sent = motet("publish", "--topic", topics[0], "--stream", "s", *where, tmp_path / "n.txt")
        assert sent.code == 0, sent.err
        assert "TopicAuthorizationFailedError" in runs()
        for topic in topics[1:]:
            allow(ResourceType.TOPIC, topic, ACLOperation.READ, ACLOperation.WRITE)
        done = motet("run", path, "--local", "--until-end")
        assert done.code == 0, done.err
        assert json.loads(done.out)["windows"] == 1
