import pytest

from fulfillment.tests import factories


@pytest.fixture
def work(request):
    """Do what is due; mails and what else follows from a license only if the test reads mails or the log."""
    reads = {"mailoutbox", "caplog"}.intersection(request.fixturenames)
    return factories.work if reads else factories.fulfill_due
