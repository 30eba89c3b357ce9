"""The work of a support member, starting with the sign-in, in a real browser and with a real mail server."""

import pytest
from django.urls import reverse
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from delivery.models import Delivery
from merchants.models import CheckoutPage, User
from orders.models import ActivationCode, Order
from pools.imports import import_keys
from portal.tests.browsing import check, sees, text
from runtime.tests.installation import TIMEOUT, free_port, wait_until
from runtime.tests.sink import Sink

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def mail_server(settings):
    mail_server = Sink(free_port())
    mail_server.start()
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", mail_server.port
    yield mail_server
    mail_server.stop()


@pytest.fixture
def order(mail_server, pay, make_product, make_pool, work):
    pool = make_pool()
    import_keys(pool, ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-8X9Y"], actor="test")
    bob = {"email": "bob@oneil.example", "first_name": "Bob", "last_name": "O’Neil"}
    pay(make_product(pool=pool, sku="PHOTO-PRO", name="Photo Pro"), order="A0012345678")
    pay(make_product(pool=pool, sku="PHOTO-LITE", name="Photo Lite"), order="B99", customer=bob)
    work()
    mail_server.messages.clear()
    return Order.objects.get(number="A0012345678")


class Desk:
    """A support member's actions and views in the browser."""

    def __init__(self, browser, live_server):
        self.browser = browser
        self.base = live_server.url
        self.clicks = 0

    def sign_in(self, email):
        self.browser.get(f"{self.base}{reverse('account_login')}")
        self.browser.find_element(By.NAME, "login").send_keys(email)
        self.browser.find_element(By.NAME, "password").send_keys("correct horse" + Keys.ENTER)
        self.sees("Sam")

    def open(self, address):
        self.browser.get(self.base + address)

    def search(self, text):
        """Search from any page with the keyboard."""
        ActionChains(self.browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
        self.until(lambda: self.browser.switch_to.active_element.get_attribute("name") == "search")
        self.browser.switch_to.active_element.send_keys(text + Keys.ENTER)

    def click(self, label, inside="main"):
        element = self.find(label, inside)
        self.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", element)
        element.click()
        self.clicks += 1

    def click_without_scrolling(self, label):
        """Activate an element by keyboard, because scrolling to it takes a script, for tests without JavaScript."""
        self.find(label).send_keys(Keys.ENTER)

    def find(self, label, inside="main"):
        path = f"//{inside}//*[self::a or self::button][normalize-space()='{label}']"
        return self.browser.find_element(By.XPATH, path)

    def has_button(self, label):
        self.browser.implicitly_wait(0)
        try:
            return bool(self.find(label))
        except NoSuchElementException:
            return False
        finally:
            self.browser.implicitly_wait(TIMEOUT)

    def click_in_dialog(self, label):
        self.until(lambda: self.dialog_is_open())
        self.click(label, inside="dialog[@open]")

    def dialog_is_open(self):
        return self.browser.execute_script("return document.getElementById('dialog').open")

    def sees(self, *texts):
        return sees(self.browser, *texts)

    def text(self):
        return text(self.browser)

    def until(self, condition):
        ignored = [StaleElementReferenceException]
        return WebDriverWait(self.browser, TIMEOUT, 0.1, ignored_exceptions=ignored).until(lambda _: condition())


@pytest.fixture
def desk(browser, live_server, make_member):
    make_member()
    desk = Desk(browser, live_server)
    desk.sign_in("support-sam@northlight.example")
    return desk


SEARCH_TEXTS = {
    "order number": "A0012345678",
    "order number without letters and zeros": "12345678",
    "e-mail address": "ada@example.com",
    "part of an e-mail address": "da@exam",
    "name": "Byron",
    "license text": "AAAA-BBBB-CCCC-7Q2M",
    "last four characters": "7Q2M",
    "SKU": "PHOTO-PRO",
}


def test_support_finds_an_order_by_each_kind_of_text_and_opens_it(desk, order):
    for search_text in SEARCH_TEXTS.values():
        desk.open("/attention/")
        desk.search(search_text)

        desk.sees("Order A0012345678", "Activation code 1", "••••7Q2M", "History")
        assert "AAAA" not in desk.browser.current_url


def test_several_order_numbers_find_several_orders(desk, order):
    desk.open("/attention/")
    desk.search("12345678 B99")
    desk.sees("A0012345678", "B99")

    desk.open("/orders/")
    field = desk.browser.find_element(By.CSS_SELECTOR, "main [name=search]")
    field.send_keys("12345678 B99" + Keys.ENTER)
    desk.sees("A0012345678", "B99", "Found by order number")


def test_an_order_is_chosen_among_hits_with_the_arrow_keys(desk, order):
    desk.browser.set_window_size(1280, 900)  # phones have a page for the search
    desk.open("/attention/")
    ActionChains(desk.browser).key_down(Keys.CONTROL).send_keys("k").key_up(Keys.CONTROL).perform()
    desk.browser.switch_to.active_element.send_keys("12345678 B99")
    desk.until(lambda: len(desk.browser.find_elements(By.CSS_SELECTOR, "#found a")) == 2)
    check(desk.browser)

    ActionChains(desk.browser).send_keys(Keys.DOWN, Keys.DOWN, Keys.UP, Keys.ENTER).perform()
    desk.sees("Order B99", "Activation code 1")


@pytest.fixture
def order_of_two(mail_server, pay, make_product, make_pool, work):
    pool = make_pool()
    import_keys(pool, ["AAAA-BBBB-CCCC-7Q2M", "AAAA-BBBB-CCCC-8X9Y"], actor="test")
    pay(make_product(pool=pool, name="Photo Pro"), order="A2", quantity=2)
    work()
    mail_server.messages.clear()
    return Order.objects.get(number="A2")


def enter_address(desk, address):
    desk.until(desk.dialog_is_open)
    field = desk.browser.find_element(By.CSS_SELECTOR, "dialog [name=email]")
    field.clear()
    field.send_keys(address)


@pytest.mark.parametrize("bounced", [True, False])
def test_an_address_is_fixed_and_two_codes_are_resent_to_it(desk, order_of_two, mail_server, work, bounced):
    """Clicks: 7 → 2. Before, the address was corrected first, and each code was resent in an e-mail of its own."""
    if bounced:
        Delivery.objects.update(status="bounced", reason="The mailbox is full.")
    desk.open("/orders/A2/")
    desk.sees("2 licenses sent to ada@example.com just now" + bounced * "; the e-mail bounced: The mailbox is full.")
    check(desk.browser)

    desk.clicks = 0
    desk.click("Fix address and resend")
    enter_address(desk, "ada@byron.example")
    check(desk.browser)
    desk.click_in_dialog("Fix address and resend")
    desk.sees("2 codes are on their way to ada@byron.example, in one e-mail.")
    assert desk.clicks == 2
    work()

    desk.sees("2 licenses sent to ada@byron.example just now")  # the page polls
    wait_until(lambda: mail_server.messages)
    (message,) = mail_server.messages
    assert message["To"] == "ada@byron.example"
    text = message.get_body(("plain",)).get_content()
    assert "AAAA-BBBB-CCCC-7Q2M" in text and "AAAA-BBBB-CCCC-8X9Y" in text


def test_two_codes_are_resent_in_one_email(desk, order_of_two, mail_server, work):
    """Clicks: 4 → 2. The button is at the top or, on a phone, at the bottom of the screen."""
    desk.open("/orders/A2/")
    button = desk.find("Resend all", inside="section[@id='headline']")
    assert desk.browser.execute_script("return arguments[0].getBoundingClientRect().bottom <= innerHeight", button)
    button.click()
    desk.until(desk.dialog_is_open)
    assert desk.browser.switch_to.active_element.text == "Cancel"
    assert "all 2 activation codes of this order to ada@example.com" in desk.browser.find_element(By.ID, "dialog").text
    ActionChains(desk.browser).double_click(desk.find("Resend all", inside="dialog[@open]")).perform()
    desk.sees("2 codes are on their way to ada@example.com")
    work()

    desk.sees("2 activation codes resent to ada@example.com, by Sam")
    wait_until(lambda: mail_server.messages)
    assert len(mail_server.messages) == 1


def test_an_order_is_found_and_its_address_fixed_by_keyboard_only(desk, order_of_two, mail_server, work):
    desk.open("/attention/")
    desk.search("A2")
    desk.sees("Order A2")
    tab_to(desk, "Fix address and resend")
    desk.browser.switch_to.active_element.send_keys(Keys.ENTER)
    desk.until(desk.dialog_is_open)
    desk.until(lambda: desk.browser.switch_to.active_element.get_attribute("name") == "email")
    keys = ActionChains(desk.browser).key_down(Keys.CONTROL).send_keys("a").key_up(Keys.CONTROL)
    keys.send_keys("ada@byron.example", Keys.ENTER).perform()

    desk.sees("2 codes are on their way to ada@byron.example")
    work()
    wait_until(lambda: mail_server.messages)
    assert [message["To"] for message in mail_server.messages] == ["ada@byron.example"]


def tab_to(desk, label):
    for _ in range(40):
        ActionChains(desk.browser).send_keys(Keys.TAB).perform()
        if desk.browser.switch_to.active_element.text == label:
            return
    raise AssertionError(f"{label} can't be reached with the Tab key")


def test_support_corrects_the_address_and_resends_the_code(desk, order, mail_server, work):
    desk.open("/orders/A0012345678/")
    desk.browser.find_element(By.ID, "customer-more").click()
    desk.click("Correct address only")
    enter_address(desk, "ada@byron.example")
    desk.click_in_dialog("Correct address")
    desk.sees("The address is now ada@byron.example", "Address corrected from ada@example.com")

    desk.click("Resend")
    desk.click_in_dialog("Cancel")
    desk.until(lambda: not desk.dialog_is_open())
    assert not Delivery.objects.filter(kind="resend").exists()

    desk.click("Resend")
    desk.until(desk.dialog_is_open)
    assert desk.browser.switch_to.active_element.text == "Cancel"
    assert "ada@byron.example" in desk.browser.find_element(By.ID, "dialog").text
    resend = desk.find("Resend", inside="dialog[@open]")
    ActionChains(desk.browser).double_click(resend).perform()
    desk.sees("on its way to ada@byron.example", "being resent to ada@byron.example")
    work()

    # The page polls.
    desk.sees("Code ••••7Q2M resent to ada@byron.example, by Sam (support-sam@northlight.example)")
    assert desk.text().count("Code ••••7Q2M resent to") == 1
    wait_until(lambda: mail_server.messages)
    (message,) = mail_server.messages
    assert message["To"] == "ada@byron.example"
    assert "AAAA-BBBB-CCCC-7Q2M" in message.get_body(("plain",)).get_content()


def test_escape_closes_the_dialog_and_restores_the_focus(desk, order):
    desk.open("/orders/A0012345678/")
    desk.click("Resend")
    desk.until(desk.dialog_is_open)

    ActionChains(desk.browser).send_keys(Keys.ESCAPE).perform()

    desk.until(lambda: not desk.dialog_is_open())
    assert desk.browser.switch_to.active_element.text == "Resend"
    assert not Delivery.objects.filter(kind="resend").exists()


def focused(desk):
    return desk.browser.execute_script(
        "return document.activeElement.getAttribute('hx-get') || document.activeElement.id"
    )


def test_the_focus_returns_to_a_button_that_was_replaced(desk, order_of_two):
    desk.open("/orders/A2/")
    desk.click("Fix address and resend")
    desk.until(desk.dialog_is_open)
    replace = "const old = arguments[0], fresh = old.cloneNode(true); old.replaceWith(fresh)"
    desk.browser.execute_script(replace, desk.browser.find_element(By.ID, "customer"))

    desk.click_in_dialog("Cancel")

    desk.until(lambda: focused(desk) == "/orders/A2/address/resend/")


def test_the_focus_returns_to_the_menu_that_a_dialog_was_opened_from(desk, order_of_two):
    desk.open("/orders/A2/")
    desk.browser.find_element(By.ID, "customer-more").click()
    check(desk.browser)
    desk.click("Renew link")
    desk.click_in_dialog("Cancel")

    desk.until(lambda: focused(desk) == "customer-more")


def test_after_an_action_the_focus_is_on_its_button_and_back_leads_to_the_list(desk, order_of_two):
    desk.open("/orders/")
    desk.open("/orders/A2/")
    desk.click("Resend all codes of Photo Pro")
    desk.click_in_dialog("Resend all")
    desk.sees("on their way to ada@example.com")
    desk.until(lambda: focused(desk).startswith("/orders/A2/items/"))

    # Past the page as it was before.
    desk.browser.back()
    desk.until(lambda: desk.browser.current_url.endswith("/orders/"))


def test_an_email_is_viewed_as_the_customer_got_it(desk, order_of_two):
    desk.open("/orders/A2/")
    desk.click("View e-mail")
    desk.sees("Your license for Photo Pro", "Sent to ada@example.com just now")
    check(desk.browser)
    desk.browser.switch_to.frame(desk.browser.find_element(By.CSS_SELECTOR, "iframe.preview"))
    desk.browser.switch_to.frame(desk.browser.find_element(By.TAG_NAME, "iframe"))
    desk.until(lambda: "••••7Q2M" in desk.browser.find_element(By.TAG_NAME, "body").text)
    desk.browser.switch_to.default_content()

    desk.browser.back()
    desk.sees("Order A2")


@pytest.fixture
def order_of_many(mail_server, pay, make_product, work):
    pay(make_product(keys=40, name="Photo Pro"), order="MANY", quantity=40)
    work()
    return Order.objects.get(number="MANY")


def test_many_codes_take_one_line_each(desk, order_of_many, work):
    """Clicks to resend one of many codes: 2 → 3, because Resend is in the line's menu. For all of them: 80 → 2."""
    code = order_of_many.codes().get(unit=7)
    desk.open("/orders/MANY/")
    check(desk.browser)
    line = desk.browser.find_element(By.ID, f"code-{code.pk}")
    assert line.rect["height"] < 80
    reveal = line.find_element(By.TAG_NAME, "button")
    desk.browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", reveal)
    reveal.click()
    desk.sees(code.code)

    summary = desk.browser.find_element(By.CSS_SELECTOR, f"#code-{code.pk} summary")
    summary.click()
    check(desk.browser)
    desk.browser.find_element(By.CSS_SELECTOR, f"#code-{code.pk} details a").click()
    desk.click_in_dialog("Resend")
    desk.sees("The code is on its way to ada@example.com")


def test_it_prints_without_buttons(desk, order_of_two):
    desk.open("/orders/A2/")
    desk.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})

    assert not desk.find("Resend all").is_displayed()
    assert not desk.browser.find_element(By.CSS_SELECTOR, "header.bar").is_displayed()
    desk.sees("2 licenses sent to ada@example.com", "Photo Pro × 2", "EUR 59.98", "Activation code 2")
    desk.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


def test_after_a_refund_a_reason_replaces_the_resend_button(desk, order):
    desk.open("/orders/A0012345678/")
    desk.click("Refund…")
    desk.click_in_dialog("Refund")

    desk.sees("Nothing is left, so the order is deleted", "Can’t resend: The order is deleted, not paid.")
    assert not desk.has_button("Resend")


def test_without_allowed_delivery_a_reason_replaces_the_resend_button(desk, order):
    CheckoutPage.objects.update(delivery_allowed=False)
    desk.open("/orders/A0012345678/")

    desk.sees("Can’t resend: Delivery isn’t allowed for the checkout page “main”. Ask support to allow it.")
    assert not desk.has_button("Resend")


def test_without_a_code_a_reason_replaces_the_resend_button(desk, pay, make_product):
    pay(make_product(keys=0), order="A1")
    desk.open("/orders/A1/")

    desk.sees("Can’t resend: There are no activation codes yet.")
    assert not desk.has_button("Resend")


def test_it_shows_an_error_when_the_order_was_refunded_in_another_tab(desk, order):
    desk.open("/orders/A0012345678/")
    Order.objects.update(status="deleted")

    desk.click("Resend")

    desk.sees("The order is deleted, not paid.")
    assert not desk.has_button("Resend")


def test_a_code_can_be_revealed_and_hidden_again(desk, order):
    desk.open("/orders/A0012345678/")
    desk.click("Reveal code 1 (recorded in the history)")

    desk.sees("AAAA-BBBB-CCCC-7Q2M", "Code ••••7Q2M shown, by Sam")
    assert desk.has_button("Copy")

    desk.click("Hide")

    desk.until(lambda: "AAAA-BBBB" not in desk.text())


def test_a_click_after_signing_out_elsewhere_shows_the_sign_in_page(desk, order):
    desk.open("/orders/A0012345678/")
    desk.browser.delete_all_cookies()

    desk.click("Resend")

    desk.sees("Sign in", "Forgot your password?")


def test_polling_after_signing_out_elsewhere_shows_the_sign_in_page(desk, order):
    desk.open("/orders/A0012345678/")
    desk.click("Resend")
    desk.click_in_dialog("Resend")
    desk.sees("being resent")

    desk.browser.delete_all_cookies()

    desk.sees("Sign in", "Forgot your password?")


def test_a_copied_code_is_exactly_the_code(desk, order):
    desk.browser.execute_cdp_cmd(
        "Browser.grantPermissions", {"permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    )
    for code in ActivationCode.objects.filter(item__order=order):
        code.code = "line 1\nline 2"
        code.save()
    desk.open("/orders/A0012345678/")
    desk.click("Reveal code 1 (recorded in the history)")
    desk.sees("line 1")

    desk.click("Copy")

    desk.sees("Copied")
    assert desk.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])") == "line 1\nline 2"


@pytest.fixture
def without_javascript(browser):
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    yield
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_everything_works_without_javascript(desk, order, mail_server, work, without_javascript):
    desk.open("/orders/")
    field = desk.browser.find_element(By.CSS_SELECTOR, "main [name=search]")
    field.send_keys("7Q2M" + Keys.ENTER)
    desk.sees("A0012345678")
    desk.click_without_scrolling("A0012345678")
    desk.click_without_scrolling("Reveal code 1 (recorded in the history)")
    desk.sees("AAAA-BBBB-CCCC-7Q2M")

    desk.click_without_scrolling("Resend")
    desk.sees(", to ada@example.com")
    desk.click_without_scrolling("Cancel")
    desk.sees("History")
    desk.click_without_scrolling("Resend")
    desk.sees(", to ada@example.com")
    desk.click_without_scrolling("Resend")
    desk.sees("on its way to ada@example.com")
    work()

    wait_until(lambda: mail_server.messages)
    assert [message["To"] for message in mail_server.messages] == ["ada@example.com"]


def test_support_staff_can_do_the_same_in_the_admin(browser, live_server, order, mail_server, work):
    User.objects.create_superuser("stella@keywell.example", "correct horse", first_name="Sam")
    desk = Desk(browser, live_server)
    desk.browser.get(f"{live_server}/admin/")
    desk.browser.find_element(By.NAME, "login").send_keys("stella@keywell.example")
    desk.browser.find_element(By.NAME, "password").send_keys("correct horse" + Keys.ENTER)
    desk.sees("Keywell support")
    desk.open("/admin/orders/order/")
    desk.browser.find_element(By.ID, "searchbar").send_keys("AAAA-BBBB-CCCC-7Q2M" + Keys.ENTER)
    desk.sees("Order A0012345678", "••••7Q2M")

    desk.click("Resend")
    desk.click_in_dialog("Cancel")
    desk.until(lambda: not desk.dialog_is_open())
    desk.click("Resend")
    desk.click_in_dialog("Resend")
    desk.sees("being resent to ada@example.com")
    work()

    desk.sees("resent to ada@example.com, by Sam (stella@keywell.example), support staff")
    wait_until(lambda: mail_server.messages)
    assert len(mail_server.messages) == 1

    desk.click("Refund…")
    desk.click_in_dialog("Refund")
    desk.sees("Can’t resend: The order is deleted, not paid.")
    assert not desk.has_button("Resend")
