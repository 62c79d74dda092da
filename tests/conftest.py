"""What all tests share: where the real data lies, and what may be skipped where."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).parents[1]
REAL_DATA = Path(os.environ.get("CODELIB_REAL_DATA", ROOT.parent / "shared" / "data"))
MUST_NOT_SKIP = os.environ.get("CI") == "true" and os.geteuid() == 0
# with CI=true and root a missing system package is a failure; what no installation can bring may be skipped
_ALLOWED = ("GPU", "real data", "CODELIB_REAL_DATA", "the kernel forbids namespaces")

# the same examples at every run, so that a change is judged by what it changes; HYPOTHESIS_PROFILE=search looks for new ones
settings.register_profile("fixed", derandomize=True)
settings.register_profile("search", derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))

if (ROOT / ".nltk_data").is_dir():  # put there by tests/system/wordnet.sh
    os.environ.setdefault("NLTK_DATA", str(ROOT / ".nltk_data"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if MUST_NOT_SKIP and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if not any(word in reason for word in _ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"skipped where nothing may skip (CI=true, root): {reason}"


@pytest.fixture
def real_data() -> Path:
    """The real public data; the test is skipped where it is not."""
    if not (REAL_DATA / "clinic-export").is_dir():
        pytest.skip(f"no real data here ({REAL_DATA}; set CODELIB_REAL_DATA)")
    return REAL_DATA
