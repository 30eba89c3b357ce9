"""A pool's pages in a real browser."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from portal.tests.browsing import sees
from portal.tests.test_every_page import enter
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)

# For each text in the chart: left and right end as fractions of the chart's width, and font size in pixels.
TEXTS = """
const chart = document.querySelector(".chart > svg").getBoundingClientRect();
return [...document.querySelectorAll(".chart text")].map((text) => {
    const box = text.getBoundingClientRect();
    return [text.textContent, (box.left - chart.left) / chart.width, (box.right - chart.left) / chart.width,
            parseFloat(getComputedStyle(text).fontSize)];
});
"""
# Left and right ends of the stock line, the cone and the threshold, as fractions of the chart's width.
SHAPES = """
const chart = document.querySelector(".chart > svg").getBoundingClientRect();
return Object.fromEntries(["stock", "cone", "threshold"].map((name) => {
    const box = document.querySelector(`.chart .${name}`).getBoundingClientRect();
    return [name, [(box.left - chart.left) / chart.width, (box.right - chart.left) / chart.width]];
}));
"""


def test_the_chart_shows_stock_threshold_and_forecast(browser, live_server, client, pay, make_product, make_pool):
    pool = make_pool(500, threshold=100)
    pay(make_product(pool=pool), quantity=88)
    enter(browser, live_server, client, pool.merchant.members.get().user)

    browser.get(f"{live_server}{reverse('pool', args=[pool.pk])}")

    texts = browser.execute_script(TEXTS)
    assert {"threshold 100", "forecast", "today", "issued per day, up to 88"} < {text for text, *_ in texts}
    for text, left, right, size in texts:
        assert left >= -0.01 and right <= 1.01, f"{text} does not fit"
        assert size >= 12
    shapes = browser.execute_script(SHAPES)
    assert shapes["stock"] == pytest.approx([0, 2 / 3], abs=0.02)
    assert shapes["cone"] == pytest.approx([2 / 3, 1], abs=0.02)
    assert shapes["threshold"] == pytest.approx([0, 1], abs=0.02)

    numbers = browser.find_element(By.CSS_SELECTOR, ".numbers summary")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", numbers)
    numbers.click()
    assert sees(browser, "In stock", "412", "88")


def test_a_key_can_be_withdrawn_in_a_dialog(browser, live_server, client, make_pool):
    pool = make_pool(1)
    enter(browser, live_server, client, pool.merchant.members.get().user)
    browser.get(f"{live_server}{reverse('pool-keys', args=[pool.pk])}")

    browser.find_element(By.LINK_TEXT, "Withdraw").click()
    button = WebDriverWait(browser, TIMEOUT).until(
        lambda browser: browser.find_element(By.CSS_SELECTOR, "dialog[open] [type=submit]")
    )
    button.click()

    assert sees(browser, "Key withdrawn", "by hand")
