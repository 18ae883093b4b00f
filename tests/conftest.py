"""What all tests share: no test touches the user's own cache, or the locks of real GPUs."""

import hypothesis
import pytest

from slidesparse_bench import machine_lock

# How long an example takes says more of the machine than of the code.
hypothesis.settings.register_profile("project", deadline=None)
hypothesis.settings.load_profile("project")


@pytest.fixture(scope="session", autouse=True)
def _cache_of_the_session(tmp_path_factory):
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("SLIDESPARSE_CACHE", str(tmp_path_factory.mktemp("cache")))
        locks = tmp_path_factory.mktemp("locks")
        environment.setattr(machine_lock, "lock_folder", lambda: locks)
        yield


@pytest.fixture
def fresh_cache(tmp_path, monkeypatch):
    """An empty cache for this test alone."""
    monkeypatch.setenv("SLIDESPARSE_CACHE", str(tmp_path / "cache"))
