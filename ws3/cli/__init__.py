"""The `ws3` command: parse, call, report progress; no logic."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Read before numpy and torch are imported: every job is one process with one thread.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def main() -> None:
    """Run the command line; a user's mistake ends with one sentence and status 2."""
    try:
        _main()
    except KeyboardInterrupt:
        _say_stopped()
        sys.exit(130)


def _say_stopped() -> None:
    print("ws3: stopped by Ctrl-C", file=sys.stderr, flush=True)


def _leave(number: int, frame: object) -> None:
    _say_stopped()
    os._exit(130)


@contextmanager
def _nothing_begun() -> Iterator[None]:
    """Let Ctrl-C end the program at once: nothing was written yet.

    Not every import lets a KeyboardInterrupt through; pydantic makes an error of its own of it.
    """
    before = signal.getsignal(signal.SIGINT)
    in_main = threading.current_thread() is threading.main_thread()
    if before is not signal.default_int_handler or not in_main:
        yield  # ignored, the caller's own, or out of reach
        return
    signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _main() -> None:
    with _nothing_begun():
        import logging
        import warnings

        from ws3.cli.app import app
        from ws3.cli.memory import keep_freed_memory
        from ws3.errors import Ws3Error
        from ws3.jobs.runner import TerminatedError
        from ws3.messages import printable

    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    # An image that can't be read has a line of its own.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        app()
    except (Ws3Error, TerminatedError) as error:
        print(f"ws3: {printable(str(error))}", file=sys.stderr)
        sys.exit(143 if isinstance(error, TerminatedError) else 2)
    except BrokenPipeError:
        # The reader (head, less) went away; there is nobody to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        # A full or read-only disk, no permission, a folder in place of a file: no fault of ours.
        where = f"{error.filename}: " if error.filename else ""
        print(f"ws3: {printable(f'{where}{error.strerror or error}')}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
