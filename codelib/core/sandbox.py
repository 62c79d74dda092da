"""A child process for code that reads hostile files: what crashes, hangs or swallows memory there ends the child, not the run.

    worker ──(function, arguments)──> child: mark("a.jpg"), work, mark("b.jpg"), work, … ──result──> worker
               a.jpg ends the child twice: the call is repeated with culprits={"a.jpg": "crashed"}, and the function leaves it out

Native decoders cannot be interrupted from Python, so the bounds are the kernel's: CPU seconds since the last mark (RLIMIT_CPU, so a busy
machine changes no outcome), address space (RLIMIT_AS), no core dump (it would put pixels on a disk), no output (decoders quote headers).
The child lives as long as its worker and keeps what it has loaded; it ends by itself when the worker does.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

CRASHED, TOO_SLOW, TOO_MUCH_MEMORY = "decoder_crashed", "too_slow", "too_much_memory"
"""What a culprit did: codes for reject reasons."""
_START_S = 120  # for a child to start and to import, on a machine that does much else


@dataclass(frozen=True)
class Limits:
    """Bounds of the child. cpu_s and wall_s: for the work between two marks."""

    cpu_s: int
    wall_s: int
    memory_bytes: int


class Culprit(Exception):
    """Raised by `Mark` for a piece of work that has ended a child before; ``str()`` is its code."""


class Mark:
    """Called by the function in the child before each piece of work that a hostile file could turn bad."""

    def __init__(self, culprits: Mapping[str, str], tell: Callable[[str], None] | None = None, cpu_s: int = 0):
        self._culprits, self._tell, self._cpu_s = culprits, tell, cpu_s

    def known(self, name: str) -> str | None:
        """The code of a piece of work that is known to end the process."""
        return self._culprits.get(name)

    def __call__(self, name: str) -> None:
        """Raises Culprit where this piece of work is known to end the process."""
        if name in self._culprits:
            raise Culprit(self._culprits[name])
        if self._tell:
            _bound(resource.RLIMIT_CPU, int(time.process_time()) + self._cpu_s + 1)
            self._tell(name)


class Sandbox:
    """``Sandbox(limits).call(function, *args)`` runs ``function(mark, *args)`` in the child. Not for several threads at once."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """The function's result. An exception of the function is raised here; a piece of work that ends the child twice is a culprit."""
        culprits: dict[str, str] = {}
        suspects: dict[str, int] = {}
        while True:
            try:
                return self._once(function, args, culprits)
            except _ChildEnded as end:
                # once may be another's doing (the kernel's memory killer takes whom it likes); twice is its own
                suspects[end.at] = suspects.get(end.at, 0) + 1
                if not end.at:
                    if suspects[end.at] > 3:
                        raise RuntimeError("the child process for reading files does not start") from None
                elif suspects[end.at] >= 2 or end.code == TOO_SLOW:
                    culprits[end.at] = end.code

    def _once(self, function: Callable[..., Any], args: tuple[Any, ...], culprits: dict[str, str]) -> Any:
        pipe = self._started()
        at = ""
        try:
            pipe.send_bytes(pickle.dumps((function, args, culprits)))
            while True:
                # before the first mark the child starts and imports what the function needs
                if not pipe.poll(self.limits.wall_s if at else max(self.limits.wall_s, _START_S)):
                    self.close()
                    raise _ChildEnded(at, TOO_SLOW)
                kind, value = pickle.loads(pipe.recv_bytes())
                if kind == "mark":
                    at = value
                elif kind == "result":
                    return value
                else:
                    error, text = value
                    error.__cause__ = _Remote(text)
                    raise error
        except (EOFError, ConnectionError):
            raise _ChildEnded(at, self._how_it_ended()) from None

    def _started(self) -> Connection:
        if self._process is not None and self._process.poll() is None and self._pipe is not None:
            return self._pipe
        self.close()
        ours, theirs = socket.socketpair()
        limits = self.limits
        program = f"from codelib.core.sandbox import _serve; _serve({theirs.fileno()}, {limits.cpu_s}, {limits.memory_bytes})"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        theirs.close()
        self._pipe = Connection(ours.detach())
        return self._pipe

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            code = 0
        self.close()
        if code == -signal.SIGXCPU:
            return TOO_SLOW
        return TOO_MUCH_MEMORY if code == -signal.SIGKILL else CRASHED

    def close(self) -> None:
        """End the child. A later call starts another."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            with suppress(OSError):
                self._process.kill()
            self._process.wait()
        self._process = self._pipe = None


class _ChildEnded(Exception):
    def __init__(self, at: str, code: str):
        super().__init__(code)
        self.at, self.code = at, code


class _Remote(Exception):
    """The child's traceback, as the cause of the exception that is raised here."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


_SHARED: dict[Limits, Sandbox] = {}


def shared(limits: Limits) -> Sandbox:
    """This process's child with these limits: kept between calls, since starting one and loading models takes seconds."""
    if limits not in _SHARED:
        _SHARED[limits] = Sandbox(limits)
    return _SHARED[limits]


# in the child


def _bound(what: int, value: int) -> None:
    """Set the soft limit; a hard one that the machine's owner has set lower stays."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _serve(fd: int, cpu_s: int, memory_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _bound(resource.RLIMIT_AS, memory_bytes)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the driver's to answer; its end ends this process
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    pipe = Connection(fd)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    with suppress(EOFError, ConnectionError):
        while True:
            function, args, culprits = pickle.loads(pipe.recv_bytes())
            mark = Mark(culprits, lambda name: pipe.send_bytes(pickle.dumps(("mark", name))), cpu_s)
            pipe.send_bytes(_answer(function, mark, args))


def _answer(function: Callable[..., Any], mark: Mark, args: tuple[Any, ...]) -> bytes:
    try:
        return pickle.dumps(("result", function(mark, *args)))
    except Exception as error:
        text = "".join(traceback.format_exception(error))
        try:
            return pickle.dumps(("error", (error, text)))
        except Exception:  # an exception that does not travel
            return pickle.dumps(("error", (RuntimeError(type(error).__name__), text)))


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
