"""The work of support staff in the admin, in a real browser."""

import pytest
from django.urls import reverse
from selenium.webdriver.common.by import By

from merchants.models import User
from orders.models import Order
from pools.imports import import_keys
from portal.tests.browsing import sees

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def staff(browser, live_server):
    User.objects.create_superuser("stella@keywell.example", "correct horse")
    browser.get(f"{live_server}/admin/")
    browser.find_element(By.NAME, "login").send_keys("stella@keywell.example")
    browser.find_element(By.NAME, "password").send_keys("correct horse")
    browser.find_element(By.CSS_SELECTOR, "main [type=submit]").click()
    assert sees(browser, "Keywell support")
    return browser


def press(browser, label):
    button = browser.find_element(By.XPATH, f"//*[@type='submit'][@value='{label}' or normalize-space()='{label}']")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def test_a_search_for_a_license_does_not_put_it_in_the_url(staff, live_server, pay, make_product, merchant):
    product = make_product(keys=0, name="Photo Pro")
    import_keys(merchant.pools.get(), ["LICENSE-TEXT-7Q2M"], actor="test")
    pay(product, order="A0012345678")
    staff.get(f"{live_server}{reverse('admin:orders_order_changelist')}")

    staff.find_element(By.ID, "searchbar").send_keys("LICENSE-TEXT-7Q2M")
    press(staff, "Search")

    assert sees(staff, "A0012345678", "••••7Q2M")
    assert "LICENSE-TEXT" not in staff.current_url + staff.page_source


def test_support_staff_can_enter_a_code(staff, live_server, pay, make_product, work, mailoutbox):
    pay(make_product(source="manual", name="Custom"), order="A1")
    order = Order.objects.get()
    staff.get(f"{live_server}{reverse('admin:orders_order_change', args=[order.pk])}")
    assert sees(staff, "Waiting for a person to enter the activation code.")

    staff.find_element(By.LINK_TEXT, "Enter codes").click()
    staff.find_element(By.NAME, "unit_1").send_keys("AAAA-BBBB-CCCC")
    press(staff, "Save and send")

    assert sees(staff, "The e-mail to ada@example.com is on its way", "••••CCCC")
    work()
    assert any("AAAA-BBBB-CCCC" in message.body for message in mailoutbox)


def test_support_staff_can_paste_keys_into_a_pool(staff, live_server, make_pool):
    pool = make_pool()
    staff.get(f"{live_server}{reverse('admin:pools_licensepool_change', args=[pool.pk])}")

    staff.find_element(By.LINK_TEXT, "Upload or paste keys").click()
    staff.find_element(By.NAME, "text").send_keys("AAAA\nBBBB\nAAAA")
    press(staff, "Add keys")

    assert sees(staff, "Added 2 keys", "1 repeated")
    assert pool.keys.count() == 2


def test_browser_tests_are_marked(chrome, request):
    """Tests get the marker from their fixtures, so that `run.py test --fast` can skip them."""
    assert request.node.get_closest_marker("browser")
