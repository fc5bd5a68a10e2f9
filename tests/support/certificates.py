"""Certificates as a test needs them: by an authority of its own, for one address and time."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pipeline.clock import wall_us


class Authority:
    """Signs certificates; its own is written to ``path`` (PEM), for those who trust it."""

    def __init__(self, path: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("motet tests")
        limits = x509.BasicConstraints(ca=True, path_length=None)
        made = self._for(self._name, self._key, 1).add_extension(limits, critical=True)
        path.write_bytes(_pem(made.sign(self._key, hashes.SHA256())))

    def issue(self, path: Path, host: str, days: int = 1) -> None:
        """A key and its certificate in one file (PEM), for an IP address, valid for ``days``."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
        made = self._for(_named("motet"), key, days).add_extension(names, critical=False)
        private = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path.write_bytes(private + _pem(made.sign(self._key, hashes.SHA256())))

    def _for(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, days: int
    ) -> x509.CertificateBuilder:
        now = datetime.fromtimestamp(wall_us() / 1e6, UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=3))
            .not_valid_after(now + timedelta(days=days))
        )


def _named(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
