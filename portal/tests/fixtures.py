import pytest
from django.core.cache import cache
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from runtime.tests.installation import TIMEOUT, Keywell, free_port
from runtime.tests.programs import need
from runtime.tests.sink import Sink

pytest.register_assert_rewrite("portal.tests.browsing")

FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
]


@pytest.fixture(scope="session")
def chrome():
    driver = need("chromedriver", "chromium", package="chromium, chromium-driver")
    options = ChromeOptions()
    options.binary_location = need("chromium")
    for flag in FLAGS:
        options.add_argument(flag)
    chrome = Chrome(options=options, service=ChromeService(driver))
    chrome.implicitly_wait(TIMEOUT)
    chrome.set_script_timeout(TIMEOUT)
    yield chrome
    chrome.quit()


@pytest.fixture(scope="session")
def install(tmp_path_factory):
    """Create an installation in its own folder. The test starts and stops it."""
    return lambda: Keywell(tmp_path_factory.mktemp("keywell") / "var")


@pytest.fixture(scope="module")
def sink():
    """A mail server on loopback."""
    sink = Sink(free_port())
    sink.start()
    yield sink
    sink.stop()


@pytest.fixture(params=[1280, 390], ids=["desktop", "phone"])
def browser(chrome, request, transactional_db):
    """A browser without a session, once per window width."""
    cache.clear()  # it counts sign-in attempts, and its table has no model, so it isn't emptied between tests
    chrome.set_window_size(request.param, 900)
    chrome.delete_all_cookies()
    return chrome
