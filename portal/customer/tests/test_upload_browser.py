"""The upload link of a notice, in a real browser."""

import pytest
from selenium.webdriver.common.by import By

from pools.models import KeyImport, UploadLink
from portal.customer import upload_link
from portal.tests.browsing import check, sees

pytestmark = pytest.mark.django_db(transaction=True)


def press(browser, label):
    browser.find_element(By.XPATH, f"//button[normalize-space()='{label}']").click()


def test_the_link_imports_keys_once(browser, live_server, make_pool, tmp_path, monkeypatch):
    # Makes the file long enough to be read by the worker, which the test runs itself.
    monkeypatch.setattr(upload_link.uploads, "MAX_SYNCHRONOUS", 5)
    pool = make_pool(name="Photo Pro")
    file = tmp_path / "keys.txt"
    file.write_text("KEY-FILE-0001\nKEY-FILE-0002\nKEY-FILE-0001\n")
    address = f"{live_server}/upload/{UploadLink.objects.create_for(pool).token}/"
    browser.get(address)
    browser.find_element(By.NAME, "file").send_keys(str(file))
    press(browser, "Upload")

    assert sees(browser, "Reading your upload")
    check(browser)
    work(pool)
    assert sees(browser, "Keys found", "1, skipped: line 3")
    check(browser)
    press(browser, "Import keys")
    assert sees(browser, "You can close this page")
    browser.refresh()
    assert sees(browser, "You can close this page")
    work(pool)
    assert sees(browser, "2 keys imported")
    check(browser)
    assert "KEY-FILE" not in browser.page_source

    browser.get(address)
    assert sees(browser, "This link no longer works")
    check(browser)
    assert pool.keys.count() == 2


def work(pool):
    upload_link.uploads.work_on(KeyImport.objects.get(pool=pool).pk)
