"""From a new product to keys in stock, in a browser."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from pools.models import KeyImport, LicensePool
from portal.tests.browsing import check, sees
from portal.tests.test_every_page import enter

pytestmark = pytest.mark.django_db(transaction=True)

DROP = """
    const files = new DataTransfer();
    files.items.add(new File(["AAAA-1\\nBBBB-2\\n"], "keys.txt", {type: "text/plain"}));
    for (const type of ["dragover", "drop"])
        document.body.dispatchEvent(new DragEvent(type, {bubbles: true, cancelable: true, dataTransfer: files}));
"""


class Clicks:
    """Clicks links and buttons by their text, and counts the clicks."""

    def __init__(self, browser):
        self.browser, self.count = browser, 0

    def __call__(self, text):
        self.count += 1
        element = self.browser.find_element(
            By.XPATH, f"//main//*[self::a or self::button][normalize-space()='{text}']"
        )
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()


@pytest.fixture
def clicks(browser, live_server, client, merchant):
    enter(browser, live_server, client, merchant.members.get(role="owner").user)
    browser.get(f"{live_server}{reverse('products')}")
    return Clicks(browser)


def test_a_product_with_pool_keys_threshold_and_recipients_takes_few_clicks(browser, clicks, merchant):
    """From the list of products: 12 clicks before, 2 now. The keyboard goes through the fields."""
    clicks("Add product")
    name = browser.find_element(By.NAME, "name")
    name.send_keys("Photo Pro", Keys.TAB, "PHOTO-PRO")
    keys = "\n".join(f"AAAA-{number:04}" for number in range(500))
    browser.execute_script("arguments[0].value = arguments[1]", browser.find_element(By.NAME, "text"), keys)
    threshold = browser.find_element(By.NAME, "threshold")
    threshold.clear()
    threshold.send_keys("25", Keys.TAB, "stock@northlight.example")
    check(browser)
    clicks("Add product")

    assert sees(browser, "Product added with 500 keys.")
    pool = LicensePool.objects.get(name="Photo Pro")
    assert (pool.threshold, pool.recipients, pool.keys.count()) == (25, ["stock@northlight.example"], 500)
    assert clicks.count <= 6


def test_a_new_pool_opens_as_an_upload(browser, live_server, clicks, merchant):
    pool = merchant.pools.create(name="New")
    browser.get(f"{live_server}{pool.get_absolute_url()}")
    assert sees(browser, "Add the first keys")
    check(browser)

    browser.find_element(By.NAME, "text").send_keys("AAAA-1\nBBBB-2")
    clicks("Upload")
    assert sees(browser, "2 keys")


def test_a_file_can_be_dropped_anywhere_on_a_pools_page(browser, live_server, clicks, make_pool):
    pool = make_pool(3)
    browser.get(f"{live_server}{reverse('pool-batches', args=[pool.pk])}")
    browser.execute_script(DROP)

    assert sees(browser, "keys.txt")
    assert KeyImport.objects.get().file_name == "keys.txt"
