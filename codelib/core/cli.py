"""How every job ends: one clear sentence, and an exit code that a scheduler understands.

0 finished · 1 ran, but something it should have done failed · 2 what the user gave cannot work · 75 was asked to stop and left a checkpoint:
run the same command again (sysexits' EX_TEMPFAIL, so that a launcher can requeue) · 130 interrupted
"""

from __future__ import annotations

import argparse
import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from codelib.core.config import nearest
from codelib.core.objects import StorageDown, StorageError


class Parser(argparse.ArgumentParser):
    """argparse that answers a misspelt option with the nearest one, and every mistake with one sentence (ValueError)."""

    def __init__(self, **options: Any):
        super().__init__(**{**options, "allow_abbrev": False})

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        given = list(sys.argv[1:] if args is None else args)
        # before argparse: it would first complain of the required option that is missing because it was misspelt
        if not self._subparsers:
            for name in (token.split("=", 1)[0] for token in given if token.startswith("--") and token != "--"):
                if name not in self._option_string_actions:
                    known = [option for option in self._option_string_actions if option.startswith("--")]
                    self.error(f"{name}: unknown option; {nearest(name, known)}")
        return super().parse_args(given, namespace)

    def error(self, message: str) -> NoReturn:
        raise ValueError(f"{message} ({self.prog} --help)")


class JobFailed(RuntimeError):
    """The job ran and could not do what it should; the message is a whole sentence for a person."""


class Paused(BaseException):
    """The job was asked to stop and left everything that going on needs. ``interrupted``: by Ctrl-C.

    No Exception, as KeyboardInterrupt is none: it is raised by a signal, wherever the main thread is, and must not end in a library's
    `except Exception`.
    """

    def __init__(self, message: str, interrupted: bool = False) -> None:
        super().__init__(message)
        self.interrupted = interrupted


class InputError(ValueError):
    """What a user gave cannot work, said in words that hold no value of a record: it may travel from a worker to the terminal."""


def _terminate(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def _preempted(signum: int, frame: object) -> None:
    raise Paused("pre-empted (SIGUSR1)")


def _ended(signum: int, frame: object) -> None:
    raise Paused("asked to end (SIGTERM)")


def ends_in_a_pause() -> None:
    """For a job that goes on where it stopped: SIGTERM is a pause (exit code 75), which a scheduler queues again. `run_job` undoes it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _ended)


def run_job(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)``; turn what a user did, a full disk, Ctrl-C, SIGTERM and SIGUSR1 into one sentence on stderr and an exit code."""
    previous = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, _terminate),
        signal.SIGUSR1: signal.signal(signal.SIGUSR1, _preempted),
    }
    try:
        return main(argv) or 0
    except ValueError as error:
        if os.environ.get("CODELIB_TRACEBACK"):
            raise
        return _say(f"error: {error}", 2)
    except JobFailed as error:
        return _say(f"failed: {error}", 1)
    except Paused as error:
        code = 130 if error.interrupted else os.EX_TEMPFAIL
        return _say(f"paused: {error}; run the same command again, it continues there", code)
    except BrokenPipeError:  # the reader has seen enough: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more to flush at exit
        return 0
    except StorageDown as error:
        return _say(f"failed: {error}", 1)
    except StorageError as error:
        return _say(f"error: {error}", 2)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say("failed: no space left on device; free some and run the same command again, it continues", 1)
        if error.errno in (errno.EACCES, errno.EROFS):
            return _say(f"error: {error.strerror}: {error.filename}; this user may not read or write there", 2)
        raise
    except KeyboardInterrupt:
        return _say("interrupted: what is finished is kept; run the same command again to continue", 130)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def leave(code: int) -> NoReturn:
    """End the process with this exit code: what was registered for the exit runs, output is flushed, and nothing else.

    The last line of every job. While the interpreter goes down CPython ends a thread that asks for its lock by unwinding that thread's
    stack; through the C++ of Ray's and Arrow's threads that is an abort, and a job that had done all its work ended with SIGABRT (seen
    once in hundreds of runs).
    """
    threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does first: an open pool tells its children to end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # the reader has seen enough
            pass
        except OSError:  # what was printed is not where it should be: a full disk behind `> file`
            code = code or 1
    os._exit(code)


def _say(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(sentence, file=sys.stderr, flush=True)
    return code
