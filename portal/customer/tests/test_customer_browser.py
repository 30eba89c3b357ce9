"""The order page for customers, in a real browser."""

import pytest
from selenium.webdriver.common.by import By

from orders.models import ActivationCode, Order
from pools.imports import import_keys
from portal.tests.browsing import check, look_in, sees

pytestmark = pytest.mark.django_db(transaction=True)

LICENSE = 'user "Ада"\n  file https://files.example/license?order=1&unit=1'


def press(browser, label):
    browser.find_element(By.XPATH, f"//button[normalize-space()='{label}']").click()


def test_a_customer_gets_her_licenses_in_russian(browser, live_server, pay, make_product, merchant, work, mailoutbox):
    product = make_product(keys=0, name="Photo Pro")
    import_keys(merchant.pools.get(), [LICENSE, "AAAA-BBBB-CCCC-7Q2M"], actor="test")
    pay(product, make_product(source="manual", name="Атлас"), quantity=2, language="ru")
    work()
    mailoutbox.clear()
    token = Order.objects.get().link_token
    browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    browser.get(f"{live_server}/o/{token}/")
    assert sees(browser, "22 ноября 2026", "2 лицензии готовы", "Готовит Northlight", "••••7Q2M")

    press(browser, "Показать мои лицензии")
    assert sees(browser, "AAAA-BBBB-CCCC-7Q2M")
    assert ActivationCode.objects.filter(seen_at=None).count() == 0
    for scheme in ("dark", "light"):
        look_in(browser, scheme)
        check(browser)

    press(browser, "Копировать")
    assert sees(browser, "Скопировано")
    assert browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == LICENSE

    press(browser, "Отправить письмо ещё раз")
    assert sees(browser, "скоро придёт на адрес a•••@example.com")
    check(browser)
    work()
    assert len(mailoutbox) == 1 and "AAAA-BBBB-CCCC-7Q2M" in mailoutbox[0].body

    browser.find_element(By.LINK_TEXT, "Потеряли лицензию другого заказа?").click()
    browser.find_element(By.NAME, "email").send_keys("ada@")
    press(browser, "Получить ссылки")
    assert sees(browser, "Введите правильный адрес электронной почты.")
    check(browser)
    browser.find_element(By.NAME, "email").clear()
    browser.find_element(By.NAME, "email").send_keys("ada@example.com")
    press(browser, "Получить ссылки")
    assert sees(browser, "пришлём ссылки на них по электронной почте")
    check(browser)
    assert token not in browser.current_url
