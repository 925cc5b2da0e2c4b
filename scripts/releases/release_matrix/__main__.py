import signal
import sys
from types import FrameType

from release_matrix.command import main


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt, whichever way the program is asked to end."""
    raise KeyboardInterrupt


for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, interrupt)
sys.exit(main(sys.argv[1:]))
