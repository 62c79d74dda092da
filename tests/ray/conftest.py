"""One local Ray for the Ray tests that work in this process; tests of whole jobs start their own."""

import os

import pytest


def pytest_collection_modifyitems(items):
    for item in items:
        if f"{os.sep}ray{os.sep}" in str(item.path):
            item.add_marker(pytest.mark.ray)


@pytest.fixture(scope="session")
def cluster():
    import ray

    from codelib.core.cluster import connect

    with connect(num_cpus=2):
        yield ray
