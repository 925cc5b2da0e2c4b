"""Starts cr3scope on an interpreter that has the libraries it needs.

Python puts this file's folder, which holds the package, on ``sys.path``.
"""

import importlib.util
import os
import shutil
import sys

# Module -> what to install. rich and Jinja2 serve some outputs alone and are asked for there.
NEEDED = {"numpy": "numpy", "elftools": "pyelftools"}
_ATTEMPT = "CR3SCOPE_ATTEMPT"  # how many candidates were tried before this one


def missing() -> "list[str]":
    """What this interpreter lacks, found without the cost of an import."""
    lacking = [package for module, package in NEEDED.items() if not importlib.util.find_spec(module)]
    return (["Python 3.10"] if sys.version_info < (3, 10) else []) + lacking


def candidates() -> "list[str]":
    """The interpreters to use, the best first; scripts/cr3scope starts the first of them."""
    wanted = (os.environ.get("CR3SCOPE_PYTHON"), "/usr/bin/python3", "python3")
    return [found for found in (shutil.which(name) for name in wanted if name) if found]


def start() -> int:
    """Runs the command here, or starts the next interpreter instead of this one."""
    lacking = missing()
    attempt = int(os.environ.pop(_ATTEMPT, "0"))
    if not lacking:
        from cr3scope.cli import main

        return main()
    others = candidates()[attempt + 1 :]
    if others:
        os.environ[_ATTEMPT] = str(attempt + 1)
        os.execv(others[0], [others[0], __file__, *sys.argv[1:]])
    wanted = " and ".join(lacking)
    sys.stderr.write(f"cr3scope: {sys.executable} lacks {wanted}: install with your package manager"
                     " or pip, or name another interpreter in CR3SCOPE_PYTHON\n")
    return 2


if __name__ == "__main__":
    sys.exit(start())
