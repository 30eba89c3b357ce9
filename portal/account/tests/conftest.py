import time

import pytest
from allauth.mfa.totp.internal.auth import TOTP, format_hotp_value, generate_totp_secret, hotp_value
from django.urls import reverse

from merchants.models import User

LOGIN = reverse("account_login")
RESET = reverse("account_reset_password")
AUTHENTICATE = reverse("mfa_authenticate")


@pytest.fixture
def owner(merchant):
    return merchant.members.get().user


@pytest.fixture
def stella(db):
    return User.objects.create_superuser("stella@keywell.example", "correct horse")


def sign_in(client, email="owner@northlight.example", password="correct horse", **extra):
    return client.post(LOGIN, {"login": email, "password": password, **extra.pop("data", {})}, **extra)


def is_signed_in(client):
    return "_auth_user_id" in client.session


def make_code(secret, *, steps_ago=0):
    return format_hotp_value(hotp_value(secret, int(time.time()) // 30 - steps_ago))


@pytest.fixture
def secret(owner):
    secret = generate_totp_secret()
    TOTP.activate(owner, secret)
    return secret
