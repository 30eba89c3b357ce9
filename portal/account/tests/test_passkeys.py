"""Passkeys, invitations and the accessibility of the account and team pages, in a real browser."""

import pytest
from allauth.mfa.models import Authenticator
from django.urls import reverse
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions
from selenium.webdriver.support.wait import WebDriverWait

from merchants.models import Member, User
from merchants.team import invite
from portal.tests.browsing import check, sees
from runtime.tests.installation import TIMEOUT

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def owner(merchant):
    return merchant.members.get().user


@pytest.fixture
def device(browser):
    """A device that stores passkeys and verifies its owner."""
    options = VirtualAuthenticatorOptions(
        protocol=VirtualAuthenticatorOptions.Protocol.CTAP2,
        transport=VirtualAuthenticatorOptions.Transport.INTERNAL,
        has_resident_key=True,
        has_user_verification=True,
        is_user_verified=True,
    )
    browser.add_virtual_authenticator(options)
    yield
    browser.remove_virtual_authenticator()


def sign_in(browser, live_server, email="owner@northlight.example"):
    browser.get(f"{live_server}{reverse('account_login')}")
    fill(browser, login=email, password="correct horse")
    follow(browser, "Sign in")


def fill(browser, **fields):
    for name, text in fields.items():
        field = browser.find_element(By.NAME, name)
        field.clear()
        field.send_keys(text)


def click(browser, label):
    page = "//*[self::main or self::dialog[@open]]"
    path = f"({page}//*[self::a or self::button][normalize-space()='{label}'])[last()]"
    thing = browser.find_element(By.XPATH, path)
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", thing)
    thing.click()


def follow(browser, label):
    """Click, and wait for the next page."""
    browser.execute_script("window.isTheOldPage = true")
    click(browser, label)
    WebDriverWait(browser, TIMEOUT).until(lambda _: browser.execute_script("return !window.isTheOldPage"))


def add_passkey(browser, live_server, *, passwordless=True):
    browser.get(f"{live_server}{reverse('mfa_add_webauthn')}")
    fill(browser, password="correct horse")
    follow(browser, "Confirm")
    fill(browser, name="Laptop")
    if not passwordless:
        browser.find_element(By.NAME, "passwordless").click()
    click(browser, "Add passkey")
    assert sees(browser, "Passkey added.", "Recovery codes")


def sign_out(browser):
    browser.delete_all_cookies()


def test_an_added_passkey_signs_in_without_a_password(browser, live_server, owner, device):
    sign_in(browser, live_server)
    add_passkey(browser, live_server)
    assert Authenticator.objects.filter(user=owner, type="webauthn").count() == 1
    sign_out(browser)

    browser.get(f"{live_server}/team/")
    click(browser, "Sign in with a passkey")

    assert sees(browser, "Team", "owner@northlight.example (you)")


def test_a_passkey_may_be_only_a_second_factor(browser, live_server, owner, device):
    sign_in(browser, live_server)
    add_passkey(browser, live_server, passwordless=False)
    sign_out(browser)
    sign_in(browser, live_server)
    assert sees(browser, "Two-factor authentication", "Use your passkey", "Lost your device?")

    click(browser, "Use your passkey")

    assert sees(browser, "Nothing right now")


def test_a_passkey_confirms_a_sensitive_action(browser, live_server, owner, device):
    sign_in(browser, live_server)
    add_passkey(browser, live_server)
    sign_out(browser)
    browser.get(f"{live_server}/team/")
    click(browser, "Sign in with a passkey")
    assert sees(browser, "Team")

    browser.get(f"{live_server}{reverse('mfa_view_recovery_codes')}")
    follow(browser, "Use a passkey")
    click(browser, "Use a passkey")

    assert sees(browser, "you can sign in once with each code")


def test_a_passkey_is_removed(browser, live_server, owner, device):
    sign_in(browser, live_server)
    add_passkey(browser, live_server)
    browser.get(f"{live_server}{reverse('mfa_index')}")
    click(browser, "Remove")
    assert sees(browser, "Remove this passkey?", "“Laptop”")

    click(browser, "Remove passkey")

    assert sees(browser, "Passkey removed.")
    assert not Authenticator.objects.exists()


def test_it_shows_an_error_if_there_is_no_passkey(browser, live_server, owner):
    options = VirtualAuthenticatorOptions(has_resident_key=True, has_user_verification=True, is_user_verified=False)
    browser.add_virtual_authenticator(options)
    browser.get(f"{live_server}{reverse('account_login')}")

    click(browser, "Sign in with a passkey")

    assert sees(browser, "The passkey didn’t work")
    browser.remove_virtual_authenticator()


def test_an_invitation_is_accepted(browser, live_server, merchant, owner):
    _, token = invite(merchant, "ada@example.com", Member.Role.MANAGER, actor=owner)
    browser.get(f"{live_server}{reverse('open-invitation', args=[token])}")
    assert sees(browser, "Join Northlight", "ada@example.com")
    assert token not in browser.current_url

    fill(browser, first_name="Ada", last_name="Byron", password="battery staple")
    click(browser, "Create account and join")

    assert sees(browser, "Welcome to Northlight! Your role: Manager.")


def test_a_member_is_removed_after_confirmation(browser, live_server, merchant, owner):
    bob = User.objects.create_user("bob@northlight.example", "correct horse")
    Member.objects.create(merchant=merchant, user=bob, role=Member.Role.SUPPORT)
    sign_in(browser, live_server)
    browser.get(f"{live_server}/team/")
    remove = browser.find_element(By.CSS_SELECTOR, "[aria-label='Remove bob@northlight.example']")
    remove.click()
    assert sees(browser, "Remove bob@northlight.example?")
    assert browser.switch_to.active_element.text == "Cancel"

    click(browser, "Cancel")
    assert merchant.members.count() == 2

    remove.click()
    assert sees(browser, "Remove bob@northlight.example?")
    click(browser, "Remove member")
    assert sees(browser, "is no longer a member of Northlight.")
    assert merchant.members.count() == 1


def test_a_role_is_changed_in_the_dialog(browser, live_server, merchant, owner):
    bob = User.objects.create_user("bob@northlight.example", "correct horse")
    Member.objects.create(merchant=merchant, user=bob, role=Member.Role.SUPPORT)
    sign_in(browser, live_server)
    browser.get(f"{live_server}/team/")
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Change role of bob@northlight.example']").click()
    assert sees(browser, "Change role of bob@northlight.example")

    browser.find_element(By.CSS_SELECTOR, "dialog [value=manager]").click()
    click(browser, "Change role")

    assert sees(browser, "bob@northlight.example’s role is now Manager.")


def test_the_pages_before_signing_in_are_accessible(browser, live_server, merchant, owner):
    _, token = invite(merchant, "ada@example.com", Member.Role.MANAGER, actor=owner)
    for address in [
        reverse("account_login"),
        reverse("account_reset_password"),
        reverse("account_reset_password_done"),
        reverse("account_reset_password_from_key_done"),
        reverse("account_reset_password_from_key", args=["1", "gone"]),
        reverse("account_inactive"),
        reverse("open-invitation", args=[token]),
        reverse("open-invitation", args=["unknown"]),
    ]:
        browser.get(f"{live_server}{address}")
        check(browser)


def test_a_form_with_errors_is_accessible(browser, live_server, owner):
    sign_in(browser, live_server, "nobody@northlight.example")
    assert sees(browser, "Wrong e-mail address or password")

    check(browser)


def test_the_account_pages_are_accessible(browser, live_server, owner, device):
    sign_in(browser, live_server)
    browser.get(f"{live_server}{reverse('mfa_index')}")
    check(browser)
    browser.get(f"{live_server}{reverse('mfa_add_webauthn')}")
    check(browser)
    add_passkey(browser, live_server, passwordless=False)
    for name in [
        "mfa_view_recovery_codes",
        "mfa_generate_recovery_codes",
        "mfa_index",
        "mfa_add_webauthn",
        "mfa_list_webauthn",
        "mfa_activate_totp",
        "mfa_reauthenticate",
        "mfa_reauthenticate_webauthn",
        "account_change_password",
        "account_logout",
    ]:
        browser.get(f"{live_server}{reverse(name)}")
        check(browser)
    for name in ["mfa_edit_webauthn", "mfa_remove_webauthn"]:
        browser.get(f"{live_server}{reverse(name, args=[Authenticator.objects.filter(type='webauthn').get().pk])}")
        check(browser)
    sign_out(browser)
    sign_in(browser, live_server)
    assert sees(browser, "Use your passkey")
    check(browser)


def test_the_team_pages_are_accessible(browser, live_server, merchant, owner):
    bob = User.objects.create_user("bob@northlight.example", "correct horse", first_name="Bob", last_name="Baker")
    member = Member.objects.create(merchant=merchant, user=bob, role=Member.Role.SUPPORT)
    invite(merchant, "ada@example.com", Member.Role.MANAGER, actor=owner)
    sign_in(browser, live_server)
    for address in [
        reverse("team"),
        reverse("team-invite"),
        reverse("member-role", args=[member.pk]),
        reverse("member-remove", args=[member.pk]),
        reverse("second-factor-on"),
    ]:
        browser.get(f"{live_server}{address}")
        check(browser)
    browser.get(f"{live_server}/team/")
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Change role of bob@northlight.example']").click()
    assert sees(browser, "Change role of Bob Baker")
    check(browser)
