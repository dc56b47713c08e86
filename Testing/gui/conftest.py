"""The stand-in host for each test; without its libraries the tests are skipped."""

import host
import pytest


@pytest.fixture
def running():
    """The host, started for one test. What went wrong unseen fails the test at its end."""
    reason = host.missing()
    if reason is not None:
        pytest.skip(reason)
    host.errors.forget()
    with host.running():
        yield host
        unanswered = host.dialogs.pending()
    assert host.errors.uncaught() == [], "\n".join(host.errors.uncaught())
    assert unanswered == [], "no dialog asked for these answers"
