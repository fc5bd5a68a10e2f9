"""``motet completion``: what a shell needs to complete commands and flags.

The scripts hold the whole tree of commands, so that a Tab starts no Python.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import typer

from pipeline.cli.terminal import emit
from pipeline.errors import InvalidInput, Problem

SHELLS = ("bash", "zsh", "fish")
HOW = {
    "bash": "motet completion bash > ~/.local/share/bash-completion/completions/motet",
    "zsh": "echo 'source <(motet completion zsh)' >> ~/.zshrc",
    "fish": "motet completion fish > ~/.config/fish/completions/motet.fish",
}

_BASH = """\
# bash completion for motet; file names where nothing of ours fits
_motet() {
    local at="" word words="" i
    for ((i = 1; i < COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        case "$at $word" in
            @PATHS@) at="$at $word" ;;
        esac
    done
    case "$at" in
@CASES@
    esac
    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _motet motet
"""
_ZSH = """\
# zsh completion for motet, by its functions for scripts of bash
autoload -U +X compinit && compinit
autoload -U +X bashcompinit && bashcompinit
"""


def register(app: typer.Typer) -> None:
    app.command(epilog=f"Example: {HOW['bash']}")(completion)


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print the completion of commands and flags for a shell.

    Where it belongs: bash: ~/.local/share/bash-completion/completions/motet; zsh: a line
    `source <(motet completion zsh)` in ~/.zshrc; fish: ~/.config/fish/completions/motet.fish.
    """
    if shell not in SHELLS:
        remedy = f"write one of {', '.join(SHELLS)}"
        raise InvalidInput(Problem("SHELL", shell, "there is no completion for it", remedy))
    tree = dict(_tree(context.find_root().command, ()))
    script = _fish(tree) if shell == "fish" else _bash(tree)
    for line in ((_ZSH if shell == "zsh" else "") + script).splitlines():
        emit(line)


Tree = dict[tuple[str, ...], tuple[list[str], list[str]]]


def _tree(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """By the words that call it, each command's own commands and its flags."""
    inner = getattr(command, "commands", {})
    flags = ["--help"]
    for option in command.params:
        flags += [flag for flag in (*option.opts, *option.secondary_opts) if flag[:2] == "--"]
    yield path, (list(inner), list(dict.fromkeys(flags)))
    for name, each in inner.items():
        yield from _tree(each, (*path, name))


def _bash(tree: Tree) -> str:
    paths = "|".join(f'" {" ".join(path)}"' for path in tree if path)
    cases = []
    for path, (commands, flags) in tree.items():
        at = f" {' '.join(path)}" if path else ""
        cases.append(f'        "{at}") words="{" ".join([*commands, *flags])}" ;;')
    return _BASH.replace("@PATHS@", paths).replace("@CASES@", "\n".join(cases))


def _fish(tree: Tree) -> str:
    lines = ["# fish completion for motet"]
    for path, (commands, flags) in tree.items():
        seen = [f"__fish_seen_subcommand_from {word}" for word in path] or ["true"]
        unseen = [f"not __fish_seen_subcommand_from {' '.join(commands)}"] if commands else []
        when = "; and ".join(seen + unseen)
        lines += [f"complete -c motet -f -n '{when}' -a '{each}'" for each in commands]
        lines += [f"complete -c motet -n '{when}' -l {flag[2:]}" for flag in flags]
    return "\n".join(lines) + "\n"
