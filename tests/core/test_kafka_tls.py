"""What a broker says over TLS before it hangs up is read, however late its client comes to it."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from types import SimpleNamespace

from certificates import Authority
from kafka.net.transport import KafkaSSLTransport

import pipeline.connectors.kafka  # noqa: F401  it mends the client


def test_the_last_words_of_a_broker_are_not_lost(tmp_path: Path):
    authority = Authority(tmp_path / "ca.pem")
    authority.issue(tmp_path / "broker.pem", "127.0.0.1")
    broker_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    broker_side.load_cert_chain(tmp_path / "broker.pem")
    client_side = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    listening = socket.create_server(("127.0.0.1", 0))

    def refuse() -> None:
        accepted, _ = listening.accept()
        with broker_side.wrap_socket(accepted, server_side=True) as broker:
            broker.sendall(b"this password is wrong")

    broker = threading.Thread(target=refuse)
    broker.start()
    raw = socket.create_connection(listening.getsockname())
    with listening, client_side.wrap_socket(raw, server_hostname="127.0.0.1") as client:
        broker.join(30)
        transport = SimpleNamespace(_sock=client)
        found = KafkaSSLTransport._sock_recv(transport)
        assert found == (b"this password is wrong", None)
        data, error = KafkaSSLTransport._sock_recv(transport)
    assert data == b""
    assert "disconnected" in str(error)
