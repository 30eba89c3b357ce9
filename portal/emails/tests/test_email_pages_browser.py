"""From the gallery to a new text and back to the one before, on a screen and on a phone."""

import pytest
from selenium.webdriver.common.by import By

from merchants.models import EmailTemplate, Member
from portal.emails.tests.test_email_texts import email_in_preview, wait
from portal.tests.browsing import check, sees
from portal.tests.test_browser import press
from portal.tests.test_every_page import enter

pytestmark = pytest.mark.django_db(transaction=True)


def loaded_frames(browser):
    """The number of pictures that were loaded. Scripts, the driver's included, don't run in their sandbox."""
    return browser.execute_script(
        "return performance.getEntriesByType('resource').filter(({ name }) => name.endsWith('/picture/')).length"
    )


def click(browser, by, value):
    """Click an element above the button at the bottom of a phone."""
    element = browser.find_element(by, value)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
    element.click()


def test_a_text_is_found_changed_compared_and_restored(browser, live_server, client, make_member, merchant):
    is_wide = browser.get_window_size()["width"] > 1000
    merchant.products.create(sku="PRO", name="Photo Pro")
    EmailTemplate.objects.create(merchant=merchant, language="de", body="Hallo {FNAME}\n\n{KEY}", saved_by="Ada")
    enter(browser, live_server, client, make_member(Member.Role.MANAGER).user)
    browser.get(f"{live_server}/emails/")
    sees(browser, "own text", "Ihre Lizenz für Photo Pro")
    wait(browser, lambda: loaded_frames(browser) == 5)
    check(browser)

    browser.find_element(By.PARTIAL_LINK_TEXT, "Deutsch").click()
    body = browser.find_element(By.NAME, "body")
    body.clear()
    body.send_keys("Guten Tag {FNAME}\n\n{KEY}")
    wait(browser, lambda: "Guten Tag Käthe" in email_in_preview(browser))
    assert "(prefers-color-scheme" not in email_in_preview(browser)

    click(browser, By.CSS_SELECTOR, "[value=dark]")
    wait(browser, lambda: "color-scheme: dark" in email_in_preview(browser))
    assert "Guten Tag Käthe" in email_in_preview(browser)
    if is_wide:  # on a phone, the preview always is as on a phone
        click(browser, By.CSS_SELECTOR, "[value=phone]")
    assert browser.find_element(By.NAME, "preview").rect["width"] <= 377
    check(browser)

    browser.execute_script("window.scrollTo(0, 0)")
    save = browser.find_element(By.XPATH, "//button[.='Save']").rect
    assert save["y"] + save["height"] <= 900
    press(browser, "Save")
    sees(browser, "New e-mails use this text")
    click(browser, By.LINK_TEXT, "Show changes")
    sees(browser, "1 word removed", "2 words added")
    check(browser)
    sides = [side.rect for side in browser.find_elements(By.CSS_SELECTOR, ".sides > section")]
    assert sides[0]["y"] == sides[1]["y"] if is_wide else sides[0]["x"] == sides[1]["x"]

    click(browser, By.LINK_TEXT, "Restore this version")
    sees(browser, "Restore this version for All products, Deutsch?")
    check(browser)
    press(browser, "Restore version")
    sees(browser, "Version restored.")
    assert EmailTemplate.objects.latest("pk").body == "Hallo {FNAME}\n\n{KEY}"
