"""Set-up that every test shares."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

# The same examples in every run: a failure is a change of the code, not of the weather.
settings.register_profile("finevox", derandomize=True, deadline=None)
settings.load_profile("finevox")


@pytest.fixture(scope="session", autouse=True)
def _compiled_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled models go into a folder of the tests' own, for commands in processes as well."""
    before = os.environ.get("FINEVOX_CACHE")
    os.environ["FINEVOX_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["FINEVOX_CACHE"]
    else:
        os.environ["FINEVOX_CACHE"] = before
