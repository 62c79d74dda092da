"""How every job ends: one clear sentence, and an exit code that a scheduler understands.

0 finished · 1 ran, but something it should have done failed · 2 what the user gave cannot work · 130 interrupted
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence


class JobFailed(RuntimeError):
    """The job ran and could not do what it should; the message is a whole sentence for a person."""


class InputError(ValueError):
    """What a user gave cannot work, said in words that hold no value of a record: it may travel from a worker to the terminal."""


def _terminate(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


def run_job(main: Callable[[Sequence[str] | None], int | None], argv: Sequence[str] | None = None) -> int:
    """Run ``main(argv)``; turn what a user did, a full disk, Ctrl-C and SIGTERM into one sentence on stderr and an exit code."""
    previous = signal.signal(signal.SIGTERM, _terminate)
    try:
        return main(argv) or 0
    except ValueError as error:
        if os.environ.get("CODELIB_TRACEBACK"):
            raise
        return _say(f"error: {error}", 2)
    except JobFailed as error:
        return _say(f"failed: {error}", 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return _say("failed: no space left on device; free some and run the same command again, it continues", 1)
        if error.errno in (errno.EACCES, errno.EROFS):
            return _say(f"error: {error.strerror}: {error.filename}; this user may not read or write there", 2)
        raise
    except KeyboardInterrupt:
        return _say("interrupted: what is finished is kept; run the same command again to continue", 130)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _say(sentence: str, code: int) -> int:
    sys.stdout.flush()
    print(sentence, file=sys.stderr, flush=True)
    return code
