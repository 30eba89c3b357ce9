"""A manager fills a pool in a real browser: uploads, previews, imports and undoes a file."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By

from merchants.models import Member
from pools import uploads
from pools.models import KeyImport
from portal.tests.browsing import check, sees
from portal.tests.test_every_page import enter

pytestmark = pytest.mark.django_db(transaction=True)


def click(browser, label, inside="main"):
    element = browser.find_element(By.XPATH, f"//{inside}//*[self::a or self::button][contains(., '{label}')]")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_a_manager_uploads_previews_imports_and_undoes_keys(
    browser, live_server, client, make_member, make_pool, tmp_path, monkeypatch
):
    monkeypatch.setattr(uploads, "MAX_SYNCHRONOUS", 0)
    pool = make_pool()
    enter(browser, live_server, client, make_member(Member.Role.MANAGER).user)
    file = tmp_path / "keys.csv"
    file.write_text("Buyer,Key\n" + "".join(f"Ada,AAAA-{number:04}\n" for number in range(30)) + "Bob,B\x07B\n")
    browser.get(live_server.url + reverse("pool-import", args=[pool.pk]))
    check(browser)
    browser.find_element(By.NAME, "file").send_keys(str(file))
    click(browser, "Upload")

    sees(browser, "Reading the file", "Queued")
    key_import = KeyImport.objects.get()
    uploads._Progress(key_import)(1)
    sees(browser, "%")  # without a reload
    check(browser)
    browser.refresh()
    sees(browser, "%")
    uploads.work_on(key_import.pk)
    sees(browser, "30 keys, 30 new", "AAAA-0000", "Contains a control character: line 32")
    check(browser)

    click(browser, "Import 30 keys, skip 1 bad line")
    sees(browser, "Importing the keys")
    uploads.work_on(key_import.pk)
    sees(browser, "30 keys were imported into")
    assert pool.keys.count() == 30

    browser.get(live_server.url + reverse("pool-batches", args=[pool.pk]))
    check(browser)
    click(browser, "Undo")
    sees(browser, "Undo this import?")
    click(browser, "Undo import", inside="dialog[@open]")
    sees(browser, "Its 30 keys were removed from the pool")
    assert not pool.keys.exists()
