"""Which Maven repository serves the jars on this machine, and what it already holds.

The first that is set: the variable ``MOTET_MAVEN_MIRROR``; a mirror of Central in Maven's own
``settings.xml``; Maven Central. Proxies and certificates are those of the environment
(``HTTPS_PROXY``, ``REQUESTS_CA_BUNDLE``), as in every download by ``requests``.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from pipeline.errors import InvalidInput, Problem

MIRROR_VARIABLE = "MOTET_MAVEN_MIRROR"
"""URL of a Maven repository that serves the jars; may carry ``user:password@``."""


def mirror_url(env: Mapping[str, str] = os.environ, home: Path | None = None) -> str | None:
    """The URL of the mirror to fetch from; ``None`` for Maven Central."""
    url = env.get(MIRROR_VARIABLE, "").strip()
    if not url:
        return _mirror_of_settings((home or Path.home()) / ".m2" / "settings.xml")
    if urlsplit(url).scheme not in ("http", "https"):
        raise InvalidInput(
            Problem(MIRROR_VARIABLE, url, "is not a URL", "give one that begins with https://")
        )
    return url.rstrip("/")


def local_repository(env: Mapping[str, str] = os.environ, home: Path | None = None) -> Path:
    """Maven's own repository on this machine, whether it is there or not; read, never written."""
    set_path = env.get("M2_REPO")
    return Path(set_path) if set_path else (home or Path.home()) / ".m2" / "repository"


def without_credentials(url: str) -> str:
    """The URL as it may be shown: no user and no password."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _mirror_of_settings(path: Path) -> str | None:
    """The first mirror in ``settings.xml`` that stands for Central.

    ``mirrorOf`` is a comma-separated list of repository ids, ``*``, ``external:*`` and
    ``!id`` (Maven's guide to mirror settings). A file that does not parse is Maven's to report.
    """
    try:
        root = ET.parse(path).getroot()
    except (OSError, ET.ParseError):
        return None
    for mirror in root.iterfind("{*}mirrors/{*}mirror"):
        of = {word.strip() for word in mirror.findtext("{*}mirrorOf", "").split(",")}
        url = mirror.findtext("{*}url", "").strip()
        blocked = mirror.findtext("{*}blocked", "false").strip() == "true"
        stands_for_central = bool(of & {"*", "external:*", "central"}) and "!central" not in of
        if stands_for_central and url.startswith(("http://", "https://")) and not blocked:
            return url.rstrip("/")
    return None
