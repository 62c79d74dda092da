import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from codelib.core.cli import InputError
from codelib.core.sandbox import Culprit, Limits, Sandbox

LIMITS = Limits(cpu_s=1, wall_s=30, memory_bytes=2 << 30)


def each(mark, names):
    """name -> what became of it. The names say what the piece of work does to its process."""
    found = {}
    for name in names:
        try:
            mark(name)
            found[name] = _deeds.get(name.split("-")[0], lambda: "done")()
        except Culprit as code:
            found[name] = str(code)
        except MemoryError:
            found[name] = "memory"
    return found


def _crash():
    ctypes.string_at(0)


def _spin():
    while True:
        pass


def _eat():
    return len(bytearray(8 << 30))


_deeds = {
    "crash": _crash,
    "spin": _spin,
    "eat": _eat,
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "shout": lambda: os.write(2, b"a value of a header"),
    "pid": os.getpid,
}


def fail(mark, error):
    raise error


@pytest.fixture
def sandbox():
    child = Sandbox(LIMITS)
    yield child
    child.close()


def test_what_ends_the_child_is_named_and_the_rest_is_done(sandbox):
    names = ["a", "crash-1", "b", "killed-2", "c"]
    assert sandbox.call(each, names) == {
        "a": "done",
        "crash-1": "decoder_crashed",
        "b": "done",
        "killed-2": "too_much_memory",
        "c": "done",
    }


def test_cpu_is_bounded_between_two_marks(sandbox):
    assert sandbox.call(each, ["a", "spin-1", "b"]) == {"a": "done", "spin-1": "too_slow", "b": "done"}


def test_waiting_is_bounded():
    child = Sandbox(Limits(cpu_s=1, wall_s=1, memory_bytes=2 << 30))
    try:
        assert child.call(each, ["nap-1"]) == {"nap-1": "done"}
        assert child.call(nap, ["nap", "b"]) == ["too_slow", "b"]
    finally:
        child.close()


def nap(mark, names):
    out = []
    for name in names:
        try:
            mark(name)
            time.sleep(60 if name == "nap" else 0)
            out.append(name)
        except Culprit as code:
            out.append(str(code))
    return out


def test_memory_is_bounded_and_the_child_lives_on(sandbox):
    (before,) = sandbox.call(each, ["pid-1"]).values()
    assert sandbox.call(each, ["eat-1", "b"]) == {"eat-1": "memory", "b": "done"}
    assert sandbox.call(each, ["pid-2"]) == {"pid-2": before}


def test_an_exception_comes_back_as_it_is(sandbox):
    with pytest.raises(InputError, match="give another"):
        sandbox.call(fail, InputError("give another"))
    with pytest.raises(OSError, match="disk") as error:
        sandbox.call(fail, OSError(28, "disk"))
    assert error.value.errno == 28
    assert "in fail" in str(error.value.__cause__)


def test_what_a_decoder_writes_goes_nowhere(sandbox, capfd):
    sandbox.call(each, ["shout-1"])
    assert capfd.readouterr() == ("", "")


def test_the_child_ends_with_its_parent(tmp_path):
    program = (
        "import os, sys\n"
        "from codelib.core.sandbox import Limits, Sandbox\n"
        "from tests.unit.test_sandbox import each\n"
        "print(*Sandbox(Limits(5, 30, 2 << 30)).call(each, ['pid-1']).values(), flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    pid = int(said.stdout)
    until = time.monotonic() + 20
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < until:
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        assert not os.path.exists(f"/proc/{pid}")
