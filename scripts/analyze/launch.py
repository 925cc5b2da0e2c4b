"""Starts cr3scope from a checkout, if this interpreter has what it needs; else tries the next one.

The Python that PATH finds first is not always the one that the distribution's packages serve. The
candidates come as the first argument, separated by `:`; the rest is cr3scope's.
"""

import gc
import importlib.util
import os
import sys

NEEDED = {"numpy": "numpy"}
OLDEST = (3, 10)
EXIT_UNUSABLE = 2
EXIT_INTERRUPTED = 130  # as a shell reports SIGINT


def missing():
    """Return what this interpreter lacks, as a person would name it."""
    lacking = [name for module, name in NEEDED.items() if importlib.util.find_spec(module) is None]
    if sys.version_info < OLDEST:
        lacking.append("Python %d.%d or later" % OLDEST)
    return lacking


def start(candidates, arguments):
    """Run the command here, or hand over to the next candidate."""
    lacking = missing()
    if not lacking:
        from cr3scope.cli.main import main

        status = main(arguments)
        gc.freeze()  # what start-up made is not searched for cycles at exit: that takes long
        return status
    import shutil  # dear, and seldom needed

    for position, candidate in enumerate(candidates):
        program = shutil.which(candidate)
        if program is not None:
            rest = ":".join(candidates[position + 1 :])
            os.execv(program, [program, __file__, rest, *arguments])
    print(
        "cr3scope: no Python found that has %s: install them, or set CR3SCOPE_PYTHON"
        % " and ".join(lacking),
        file=sys.stderr,
    )
    return EXIT_UNUSABLE


if __name__ == "__main__":
    try:
        sys.exit(start([name for name in sys.argv[1].split(":") if name], sys.argv[2:]))
    except KeyboardInterrupt:  # before the command could take it
        sys.exit(EXIT_INTERRUPTED)
