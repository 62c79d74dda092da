"""How a job ends: one sentence and an exit code, whatever happened."""

import errno
import os
import shlex
import signal
import subprocess
import sys

import pytest

from codelib.core.cli import JobFailed, Parser, run_job


def parser():
    made = Parser(prog="job")
    made.add_argument("--input", required=True)
    made.add_argument("--dry-run", action="store_true")
    return made


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--inptu", "x"], "--inptu: unknown option; did you mean --input?"),
        (["--inptu=x"], "--inptu: unknown option; did you mean --input?"),
        (["--input", "x", "--dryrun"], "did you mean --dry-run?"),
        ([], "required: --input"),
        (["--input"], "expected one argument"),
    ],
)
def test_a_misspelt_option_is_answered_with_the_nearest(argv, words, capsys):
    assert run_job(lambda given: parser().parse_args(given) and 0, argv) == 2
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def raiser(error):
    def main(argv):
        raise error

    return main


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (ValueError("x=1: too small"), 2, "error: x=1: too small"),
        (JobFailed("one variant failed"), 1, "failed: one variant failed"),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "run the same command again, it continues"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 1, "run the same command again, it continues"),
        (PermissionError(errno.EACCES, "Permission denied", "there"), 2, "may not read or write there"),
        (KeyboardInterrupt(), 130, "interrupted: what is finished is kept"),
    ],
)
def test_every_end_is_one_sentence_and_a_code(error, code, words, capsys):
    assert run_job(raiser(error), []) == code
    said = capsys.readouterr().err
    assert words in said
    assert len(said.strip().splitlines()) == 1


def test_sigterm_ends_like_ctrl_c_and_the_old_handler_comes_back(capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert run_job(lambda argv: os.kill(os.getpid(), signal.SIGTERM) or signal.pause(), []) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_pre_emption_is_an_exit_code_that_asks_for_another_try(capsys):
    before = signal.getsignal(signal.SIGUSR1)
    assert run_job(lambda argv: os.kill(os.getpid(), signal.SIGUSR1) or signal.pause(), []) == os.EX_TEMPFAIL
    assert "run the same command again" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGUSR1) == before


def test_no_library_keeps_a_pause_to_itself():
    """The signal comes wherever the main thread is, also inside a library that goes on after any Exception."""

    def main(argv):
        try:
            os.kill(os.getpid(), signal.SIGUSR1)
            signal.pause()
        except Exception:
            pass
        return 0

    assert run_job(main, []) == os.EX_TEMPFAIL


def test_what_nobody_expected_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        run_job(raiser(ZeroDivisionError()), [])


def test_a_reader_that_has_seen_enough_is_no_error():
    code = (
        "from codelib.core.cli import leave, run_job; leave(run_job(lambda argv: [print('x' * 99) for _ in range(9999)] and 0))"
    )
    reader = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", reader], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("code", [0, 2])
def test_what_a_library_does_while_the_interpreter_goes_down_changes_no_exit_code(code):
    program = f"""
import atexit, os
from codelib.core.cli import leave, run_job
class Library:
    def __del__(self):
        os.abort()
kept = Library()
atexit.register(print, "tidied", end="")
leave(run_job(lambda argv: print("done") or {code}))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "done\ntidied")


def test_output_that_was_lost_is_no_success():
    program = "from codelib.core.cli import leave, run_job; leave(run_job(lambda argv: print('done')))"
    with open("/dev/full", "w") as full:
        assert subprocess.run([sys.executable, "-c", program], stdout=full).returncode == 1


def test_a_pool_that_was_left_open_does_not_keep_the_job():
    program = """
from concurrent.futures import ProcessPoolExecutor
from codelib.core.cli import leave, run_job
def main(argv):
    global pool
    pool = ProcessPoolExecutor(1)
    print(pool.submit(abs, -1).result())
leave(run_job(main))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "1\n")
