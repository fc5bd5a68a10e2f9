"""Who may ask: the Host header against DNS rebinding, and the token where one is set."""

from __future__ import annotations

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.errors import InvalidInput, Problem
from pipeline.spec.models import MetricsSpec

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Access:
    """``names``: what a Host header may say, lower case, without port and brackets.

    A page of a foreign site that had its name resolve to our address would still send that
    name: so only names that are ours are answered. An address typed as digits is no name that
    somebody else could point at us; it is taken where we are bound to every address.
    """

    names: frozenset[str]
    any_address: bool
    token: str | None

    def knows_host(self, header: str | None) -> bool:
        name = host_name(header or "")
        return name in self.names or (self.any_address and _is_address(name))

    def own_page(self, headers: Mapping[str, str]) -> bool:
        """Whether a page of this very server sends the request, as every browser says.

        A page of somebody else may have a browser send here, with a body; it cannot choose what
        the browser then says of it. ``knows_host`` comes first: it makes ``Host`` one of ours.
        """
        scheme, _, place = headers.get("Origin", "").strip().lower().partition("://")
        site = headers.get("Sec-Fetch-Site", "same-origin").strip().lower()
        own = headers.get("Host", "").strip().lower()
        return scheme in ("http", "https") and place == own and site == "same-origin"

    def admits(self, authorization: str | None, token: str | None) -> bool:
        """Whether ``Authorization: Bearer TOKEN`` or ``?token=TOKEN`` says what it must."""
        if self.token is None:
            return True
        scheme, _, given = (authorization or "").partition(" ")
        offered = [given.strip()] if scheme.lower() == "bearer" else []
        offered += [] if token is None else [token]
        return any(hmac.compare_digest(one.encode(), self.token.encode()) for one in offered)


def access_for(metrics: MetricsSpec, host: str) -> Access:
    """Raises InvalidInput for an address that others reach, without a token or ``public``.

    ``public`` is for those who look on: with ``ingest`` there has to be a token.
    """
    if not is_loopback(host) and metrics.token is None and metrics.ingest:
        why = f"whoever reaches {host} could send records into the inputs"
        remedy = "set metrics.token, or leave it out, or bind to 127.0.0.1"
        raise InvalidInput(Problem("metrics.ingest", "true", why, remedy))
    if not is_loopback(host) and metrics.token is None and not metrics.public:
        why = "others could read what the pipeline hears and sees"
        remedy = "set metrics.token, or metrics.public: true, or bind to 127.0.0.1"
        raise InvalidInput(Problem("metrics.host", host, why, remedy))
    names = {*_LOOPBACK, host_name(f"[{host}]" if ":" in host else host)}
    every = _is_address(host) and ipaddress.ip_address(host).is_unspecified
    if every:
        own = socket.gethostname().lower()
        names |= {own, own.partition(".")[0]}
    token = None if metrics.token is None else str(metrics.token)
    return Access(frozenset(names), every, token)


def is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def host_name(header: str) -> str:
    """``[::1]:9464`` -> ``::1``; ``LocalHost.:80`` -> ``localhost``."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
