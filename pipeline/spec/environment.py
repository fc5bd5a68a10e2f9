"""``${NAME}`` and ``{file: PATH}``: values that stand outside the file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.spec.secret import Secret
from pipeline.spec.units import Wrong
from pipeline.spec.yaml_tree import plain_scalar

SECRET_BYTES_MAX = 64 << 10

_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^{}]*))?\}|\$\{")


class Substituted(str):
    """A text with something of the environment in it.

    A field that wants a number or a truth value reads it as YAML would (``typed``), a field
    that wants text takes it as it is, so that a password of digits stays a password. Where
    both may stand, in an encoder's options, quotes decide: ``plain`` says there are none.
    """

    plain: bool = False

    @classmethod
    def of(cls, text: str, plain: bool) -> Substituted:
        made = cls(text)
        made.plain = plain
        return made


def substitute(text: str, plain: bool, environ: Mapping[str, str]) -> Substituted:
    """Every ``${NAME}`` and ``${NAME:-default}`` replaced; ``$${`` stands for ``${``.

    As in a shell, a default also stands for an empty variable. What is put in is not looked
    at again. Raises Wrong where a name is not there or the reference cannot be read.
    """

    def value(match: re.Match[str]) -> str:
        name, default = match.groups()
        if match[0] == "$${":
            return "${"
        if name is None:
            raise Wrong(
                "has a ${ that is no reference to the environment",
                "write ${NAME} or ${NAME:-default}, or $${ for the characters themselves",
            )
        found = environ.get(name)
        if default is not None and not found:
            return str(default)
        if found is None:
            raise Wrong(
                f"the environment has no {name}",
                f"set {name}, or give a default: ${{{name}:-...}}",
            )
        return found

    return Substituted.of(_REFERENCE.sub(value, text), plain)


def typed(value: Any) -> Any:
    """What a field reads that is a number or a truth value, never text.

    Quotes make no difference: inside ``{ }`` YAML does not allow ``${NAME}`` without them.
    """
    return plain_scalar(str(value)) if isinstance(value, Substituted) else value


def settled(value: Any) -> Any:
    """What a field reads that may be anything: without quotes, typed as YAML does."""
    if isinstance(value, Substituted):
        return plain_scalar(str(value)) if value.plain else str(value)
    if isinstance(value, dict):
        return {key: settled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [settled(item) for item in value]
    return value


def is_secret_file(value: Any) -> bool:
    """Whether a value is written ``{file: PATH}``."""
    return isinstance(value, dict) and set(value) == {"file"}


def read_secret(value: Any, folder: Path) -> Secret:
    """The text of a secret file, relative to the pipeline file's folder; raises Wrong.

    One line end at the end is not part of it: every editor puts one there.
    """
    name = value["file"]
    if not isinstance(name, str) or not name or "\0" in name:
        raise Wrong("names no file", "write {file: PATH}")
    try:
        with (folder / name).open("rb") as file:
            content = file.read(SECRET_BYTES_MAX + 1)
    except OSError as error:
        why = f"the secret file {name} cannot be read ({error.strerror or 'unknown reason'})"
        raise Wrong(why, "paths are relative to the pipeline file") from None
    text, readable = "", len(content) <= SECRET_BYTES_MAX
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        readable = False
    if not readable:  # raised outside: the cause would hold the secret
        raise Wrong(f"the secret file {name} is no short UTF-8 text", "put the secret alone in it")
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise Wrong(f"the secret file {name} is empty", "put the secret alone in it")
    return Secret(text)
