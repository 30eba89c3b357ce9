"""Shops that ask for licenses: each signs its request, and reads the answer."""

import hmac
from base64 import b64encode
from hashlib import md5, sha256
from time import time
from urllib.parse import urlencode, urlsplit
from xml.etree import ElementTree

from django.test import Client

from outbound.signatures import sign
from shops.tests.factories import post
from shops.tests.senders import SECRET

FORM = "application/x-www-form-urlencoded"
SIGNING_SECRET = "whsec_" + b64encode(b"a secret of 24 characters").decode()


def read_lines(response):
    return response.content.decode().split("\n")


def read_xml(response):
    root = ElementTree.fromstring(response.content)  # noqa: S314 (our own answer)
    assert root.tag == "Data"
    return [code.text for code in root.findall("Code")]


# FastSpring


def make_fastspring(order="1001", product="PHOTO-PRO", quantity=1, is_test=False, **changed):
    return {
        "reference": order,
        "internalProductName": product,
        "quantity": str(quantity),
        "email": "ada@example.com",
        "name": "Ada Byron",
        "company": "Engines Ltd",
        "test": "true" if is_test else "",
    } | changed


def ask_fastspring(shop, *, secret=SECRET, **fields):
    form = make_fastspring(**fields)
    values = "".join(form[name] for name in sorted(form))
    form["security_request_hash"] = md5(f"{values}{secret}".encode()).hexdigest()  # noqa: S324
    return post(shop, urlencode(form).encode(), FORM, User_Agent="FS")


# 2Checkout


def make_twocheckout(order="1001", product="PHOTO-PRO", quantity=1, is_test=False, **changed):
    return {
        "PID": "4711",
        "PCODE": product,
        "INFO": "",
        "REFNO": order,
        "REFNOEXT": "",
        "TESTORDER": "YES" if is_test else "NO",
        "QUANTITY": str(quantity),
        "FIRSTNAME": "Ada",
        "LASTNAME": "Byron",
        "COMPANY": "Engines Ltd",
        "EMAIL": "ada@example.com",
        "COUNTRY": "United Kingdom",
        "LANG": "en",
    } | changed


def sign_length_prefixed(values, secret=SECRET, algorithm="sha256"):
    text = "".join(f"{len(value.encode())}{value}" for value in values)
    return hmac.new(secret.encode(), text.encode(), algorithm).hexdigest()


def ask_twocheckout(shop, *, secret=SECRET, algorithm="sha256", **fields):
    form = make_twocheckout(**fields)
    form["HASH"] = sign_length_prefixed(form.values(), secret, algorithm)
    return post(shop, urlencode(form).encode(), FORM)


# PayPro Global


def make_paypro(order="1001", product="PHOTO-PRO", quantity=1, is_test=False, **changed):
    return {
        "IPN_TYPE_ID": "12",
        "IPN_TYPE_NAME": "LicenseRequested",
        "ORDER_ID": order,
        "ORDER_STATUS": "Processed",
        "ORDER_TOTAL_AMOUNT": "59.98",
        "ORDER_CURRENCY_CODE": "EUR",
        "ORDER_ITEM_ID": f"{order}1",
        "ORDER_ITEM_SKU": product,
        "ORDER_ITEM_TOTAL_AMOUNT": "29.99",
        "PRODUCT_ID": "4711",
        "PRODUCT_QUANTITY": str(quantity),
        "CUSTOMER_EMAIL": "ada@example.com",
        "CUSTOMER_FIRST_NAME": "Ada",
        "CUSTOMER_LAST_NAME": "Byron",
        "CUSTOMER_COUNTRY_CODE": "GB",
        "CUSTOMER_LANGUAGE_CODE": "en",
        "COMPANY_NAME": "Engines Ltd",
        "TEST_MODE": str(int(is_test)),
    } | changed


def sign_for_paypro(form, secret=SECRET):
    before = "".join(form[name] for name in ("ORDER_ID", "ORDER_STATUS", "ORDER_TOTAL_AMOUNT", "CUSTOMER_EMAIL"))
    return sha256(f"{before}{secret}{form['TEST_MODE']}{form['IPN_TYPE_NAME']}".encode()).hexdigest()


def ask_paypro(shop, *, secret=SECRET, **fields):
    form = make_paypro(**fields)
    return post(shop, urlencode(form | {"SIGNATURE": sign_for_paypro(form, secret)}).encode(), FORM)


# Noventiq and Keywell


def make_noventiq(order="1001", product="PHOTO-PRO", quantity=1, **changed):
    return {
        "Order": order,
        "Item": f"{order}-{product}",
        "Unit": "1" if quantity == 1 else "1,2",
        "ID": product,
        "Quantity": str(quantity),
        "Order_sum": "59.98",
        "Currency": "EUR",
        "Email": "ada@example.com",
        "First_name": "Ada",
        "Last_name": "Byron",
    } | changed


def ask_noventiq(shop, *, secret=SIGNING_SECRET, message="", is_test=False, method="POST", at=0, **fields):
    form = make_noventiq(**fields)
    content = urlencode(form).encode()
    message = message or f"req_{form['Order']}_{form['ID']}"
    headers = sign([secret], message, at or int(time()), content)
    headers |= {"Keywell-Test": "true"} if is_test else {}
    path = urlsplit(shop.url).path
    if method == "GET":
        return Client().get(f"{path}?{content.decode()}", headers=headers)
    return Client().post(path, content, FORM, headers=headers)


# Plain forms


def make_plain(order="1001", product="PHOTO-PRO", quantity=1, is_test=False, **changed):
    form = {"order": order, "product": product, "quantity": str(quantity), "email": "ada@example.com"}
    return form | ({"test": "1"} if is_test else {}) | changed


def ask_plain(shop, *, secret=SECRET, **fields):
    return post(shop, urlencode(make_plain(**fields)).encode(), FORM, Authorization=f"Bearer {secret}")


# By kind: how it asks, and how it reads codes.
DIALECTS = {
    "fastspring_request": (ask_fastspring, read_lines),
    "twocheckout": (ask_twocheckout, read_xml),
    "paypro": (ask_paypro, read_lines),
    "noventiq_request": (ask_noventiq, read_lines),
    "plain": (ask_plain, read_lines),
}
SECRETS = {"noventiq_request": SIGNING_SECRET}
