"""The addresses and networks from which an API key may be used."""

import pytest
from django.core.exceptions import ValidationError

from merchants.networks import MAX_NETWORKS, allows, read_networks


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("", []),
        (" \n,; ", []),
        ("192.0.2.10", ["192.0.2.10"]),
        ("192.0.2.10/32, 10.0.0.0/8\n2001:DB8:0:0::/32;::1/128", ["192.0.2.10", "10.0.0.0/8", "2001:db8::/32", "::1"]),
        ("192.0.2.0/255.255.255.0", ["192.0.2.0/24"]),
        ("10.0.0.1 10.0.0.1/32 ::ffff:10.0.0.1", ["10.0.0.1"]),
        ("::ffff:10.0.0.0/104", ["10.0.0.0/8"]),
        ("128.0.0.0/1", ["128.0.0.0/1"]),
    ],
)
def test_it_reads_and_normalizes_entries(text, networks):
    assert read_networks(text) == networks


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("1.2.3.4/8", "“1.2.3.4/8” is an address within a network. Enter 1.2.3.4 or 1.0.0.0/8."),
        ("2001:db8::1/32", "Enter 2001:db8::1 or 2001:db8::/32."),
        ("::ffff:10.1.0.0/104", "Enter 10.1.0.0 or 10.0.0.0/8."),
        ("0.0.0.0/0", "“0.0.0.0/0” allows every address. To allow all, leave the field empty."),
        ("1.2.3.4/0", "allows every address"),
        ("::/0", "allows every address"),
        ("::ffff:0:0/96", "allows every address"),
        ("shop.example", "“shop.example” is not an IP address or network"),
        ("1.2.3", "is not an IP address"),
        ("1.2.3.4/33", "is not an IP address"),
        ("1.2.3.4/", "is not an IP address"),
        ("010.0.0.1", "is not an IP address"),
        ("fe80::1%eth0", "is not an IP address"),
        ("１.2.3.4", "is not an IP address"),
        ("<script>", "“<script>” is not an IP address"),
        ("x" * 10_000, "“" + "x" * 50 + "” is not an IP address"),
    ],
)
def test_it_refuses_what_is_no_network_and_says_why(entry, error):
    with pytest.raises(ValidationError) as raised:
        read_networks(f"192.0.2.1 {entry}")

    (message,) = raised.value.messages
    assert error in message


def test_each_invalid_entry_has_its_own_error():
    with pytest.raises(ValidationError) as raised:
        read_networks("foo 192.0.2.1 bar")

    assert [message.partition("”")[0] for message in raised.value.messages] == ["“foo", "“bar"]


def test_it_refuses_long_lists_without_reading_them():
    with pytest.raises(ValidationError) as raised:
        read_networks("1.2.3.4 " * 10_000)

    assert raised.value.messages == [f"Enter at most {MAX_NETWORKS} addresses and networks, not 10,000."]


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("192.0.2.10", True),
        ("192.0.2.11", False),
        ("10.200.0.1", True),
        ("::ffff:10.200.0.1", True),
        ("::ffff:11.200.0.1", False),
        ("2001:db8:ffff::1", True),
        ("2001:db9::1", False),
        ("::10.200.0.1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_an_address_is_allowed_in_one_of_the_networks(address, allowed):
    assert allows(["192.0.2.10", "10.0.0.0/8", "2001:db8::/32"], address) == allowed
