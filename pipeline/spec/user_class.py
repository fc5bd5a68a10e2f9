"""Classes that a file names as ``package.module:Class``: found, and built, with clear errors.

Only the standard library is needed here; what is imported is the user's own choice.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.errors import InvalidInput, MotetError, Problem
from pipeline.spec.problems import nearest

_RENAME = "rename your module to a name that nothing else has"


def load_class(path: str, folder: Path | None, key: str) -> Any:
    """The object that ``package.module:Class`` names; ``key`` is the file's key, for errors.

    The folder of the pipeline file is appended to the import path of this process, so that no
    file of the user's ever replaces an installed package.
    """
    module_name, _, name = path.partition(":")
    module = _import(module_name, path, folder, key)
    found: Any = module
    for part in name.split("."):
        inner = getattr(found, part, None)
        if inner is None:
            raise InvalidInput(Problem(
                key, path, f"module {module_name} ({_file_of(module)}) has no {part}"
                + _shadowed(module, folder), _remedy(part, vars(found), module, folder),
            ))  # fmt: skip
        found = inner
    if not inspect.isclass(found):
        why = f"{name} in {_file_of(module)} is a {type(found).__name__}, no class"
        raise InvalidInput(Problem(key, path, why, "name a class"))
    return found


def _import(module_name: str, path: str, folder: Path | None, key: str) -> ModuleType:
    if folder is not None:
        entry = str(folder.resolve())
        if entry not in sys.path:
            sys.path.append(entry)
        importlib.invalidate_caches()  # the file may be younger than the last look at its folder
    try:
        return importlib.import_module(module_name)
    except Exception as error:
        missing = error.name if isinstance(error, ModuleNotFoundError) else None
        if missing and f"{module_name}.".startswith(f"{missing}."):
            top = sys.modules.get(module_name.partition(".")[0])
            found = f" ({_file_of(top)} was found){_shadowed(top, folder)}" if top else ""
            where = f"is not in {folder} or on the import path" if folder else "is not installed"
            remedy = "put the file beside the pipeline file, or install its package"
            if top and _hidden_file(top, folder):
                remedy = _RENAME
            why = f"module {missing} {where}{found}"
            raise InvalidInput(Problem(key, path, why, remedy)) from error
        why = f"importing {module_name} fails with {one_line(error)}"
        raise InvalidInput(
            Problem(key, path, why, "correct the module; it must import in every worker")
        ) from error


def _file_of(module: ModuleType) -> str:
    paths = list(getattr(module, "__path__", ()))
    return getattr(module, "__file__", None) or (paths[0] if paths else "built in")


def _hidden_file(module: ModuleType, folder: Path | None) -> Path | None:
    """The file or package beside the pipeline file that another one of the same name hides."""
    if folder is None:
        return None
    top = module.__name__.partition(".")[0]
    found = Path(_file_of(sys.modules.get(top, module))).resolve()
    for own in (folder / f"{top}.py", folder / top):
        if own.exists() and own.resolve() not in (found, *found.parents):
            return own
    return None


def _shadowed(module: ModuleType, folder: Path | None) -> str:
    own = _hidden_file(module, folder)
    return f", and it hides {own}" if own else ""


def _remedy(name: str, there: Mapping[str, Any], module: ModuleType, folder: Path | None) -> str:
    if _hidden_file(module, folder):
        return _RENAME
    classes = [each for each, value in there.items() if inspect.isclass(value)]
    meant = nearest(name, classes)
    return f"did you mean '{meant}'?" if meant else "name a class that the module defines"


def one_line(error: BaseException, limit: int = 300) -> str:
    """``ExceptionType: message`` in one line, cut at ``limit`` characters."""
    message = " ".join(str(error).split())
    text = f"{type(error).__name__}: {message}" if message else type(error).__name__
    text = text.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8
    return text if len(text) <= limit else text[: limit - 3] + "..."


def build(
    cls: Any, name: str, given: Mapping[str, Any], options: Mapping[str, Any], key: str, prefix: str
) -> Any:
    """``cls(**given, **options)``; what its constructor raises is the user's to read."""
    try:
        inspect.signature(cls).bind(**given, **options)
    except TypeError as error:
        problem = _wrong_arguments(cls, name, given, options, error, key, prefix)
        raise InvalidInput(problem) from None
    except ValueError:
        pass  # a class without a readable signature: its call will tell
    try:
        return cls(**given, **options)
    except InvalidInput as error:
        raise InvalidInput(*(
            p._replace(key=prefix + p.key) if isinstance(p, Problem) else p for p in error.problems
        )) from error  # fmt: skip
    except MotetError:
        raise
    except Exception as error:
        why = f"building it fails with {one_line(error)}"
        raise InvalidInput(Problem(key, name, why, "correct its options or the class")) from error


def _wrong_arguments(
    cls: Any, name: str, given: Mapping[str, Any], options: Mapping[str, Any],
    error: TypeError, key: str, prefix: str,
) -> Problem:  # fmt: skip
    parameters = inspect.signature(cls).parameters
    known = [each for each in parameters if each not in given]
    unknown = [each for each in options if each not in parameters or each in given]
    if unknown and not any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        meant = nearest(unknown[0], known)
        listed = f"{name} takes {', '.join(known) or 'no options'}"
        return Problem(
            f"{prefix}options.{unknown[0]}", "", f"is no option of {name}",
            f"did you mean '{meant}'?" if meant else listed,
        )  # fmt: skip
    called = ", ".join([*given, *options])
    why = f"it cannot be called with {called} ({' '.join(str(error).split())})"
    return Problem(key, name, why, f"give it the options that it takes: {', '.join(known)}")
