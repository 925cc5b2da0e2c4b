"""``cr3scope completion SHELL``: the lines that let a shell complete verbs, options and values by Tab."""

from __future__ import annotations

import argparse
import glob
import os
from typing import TYPE_CHECKING

from cr3scope.errors import UnusableInput

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

COMMAND = "cr3scope"
# zsh takes bash's lines once it was told to; later versions of the library say it themselves.
_ZSH = "autoload -U compinit bashcompinit && compinit && bashcompinit\n"
_HELP = "print what lets a shell complete verbs, options and values by Tab"


def add_parser(subparsers: Subparsers) -> None:
    """Add the verb to the command line."""
    parser = subparsers.add_parser(
        "completion", help=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter, description=f"{_HELP.capitalize()}:\n\n"
        "  bash  cr3scope completion bash > ~/.local/share/bash-completion/completions/cr3scope\n"
        "  zsh   cr3scope completion zsh >> ~/.zshrc\n"
        "  fish  cr3scope completion fish > ~/.config/fish/completions/cr3scope.fish",
    )  # fmt: skip
    parser.add_argument("shell", choices=("bash", "zsh", "fish"))
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the lines; return 0. UnusableInput if argcomplete, which makes them, is missing."""
    try:
        from argcomplete import shellcode
    except ImportError as error:
        raise UnusableInput("completion: this Python has no module argcomplete (Debian: python3-argcomplete)") from error
    code = shellcode([COMMAND], shell="bash" if arguments.shell == "zsh" else arguments.shell)
    print((_ZSH if arguments.shell == "zsh" else "") + code.strip())
    return 0


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer the shell with what may follow, and end; called where the shell asks for that (``_ARGCOMPLETE``)."""
    try:
        from argcomplete import CompletionFinder
    except ImportError:
        return

    finder = CompletionFinder()
    word = _word_behind_the_options()
    if word.startswith("-"):  # no option, but a file of that name, or nothing
        finder.filter_completions = lambda _: _files(word)
    finder(parser)


def _files(begin: str) -> list[str]:
    return sorted(f"{path}/" if os.path.isdir(path) else path for path in glob.glob(f"{glob.escape(begin)}*"))


def _word_behind_the_options() -> str:
    """The word at which the shell asks, as far as it is typed, if `--` stands before it; else ""."""
    line = os.environ["COMP_LINE"][: int(os.environ["COMP_POINT"])]
    words = line.split()
    typed = words.pop() if words and not line[-1:].isspace() else ""
    return typed if "--" in words else ""
