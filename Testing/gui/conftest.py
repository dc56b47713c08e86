"""The stand-in host for each test; without its libraries the tests are skipped."""

import host
import pytest


@pytest.fixture
def running(request):
    """The host, started for one test; with the parameter False without a main window. What went
    wrong unseen fails the test at its end."""
    reason = host.missing()
    if reason is not None:
        pytest.skip(reason)
    host.errors.forget()
    with host.running(getattr(request, "param", True)):
        yield host
        unanswered = host.dialogs.pending()
    assert host.errors.uncaught() == [], "\n".join(host.errors.uncaught())
    assert unanswered == [], "no dialog asked for these answers"
