"""No special-purpose address of the IANA registries is called, in whatever notation."""

from ipaddress import ip_address, ip_network

import pytest

from outbound.address_guard import OutgoingRequestError, check

# The full registries, except for globally reachable blocks outside a larger one: AS112 and AMT anycast
# (192.31.196.0/24, 192.52.193.0/24, 192.175.48.0/24, 2620:4f:8000::/48). November 2026.
IPV4 = """
0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29 192.0.0.8/32
192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.88.99.0/24 192.88.99.2/32 192.168.0.0/16
198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4 255.255.255.255/32 224.0.0.0/4 168.63.129.16/32
"""
IPV6 = """
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16 3fff::/20
5f00::/16 fc00::/7 fe80::/10 fec0::/10 ff00::/8 ::7f00:1/128
"""


def boundaries(networks):
    for network in map(ip_network, networks.split()):
        yield from dict.fromkeys([network[0], network[network.num_addresses // 2], network[-1]])


def equivalent_addresses(address):
    """Yield the IPv6 addresses that embed an IPv4 address, and the address itself."""
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::", "::"):
        yield ip_address(int(ip_address(prefix)) | number)
    yield ip_address(int(ip_address("2002::")) | number << 80)
    yield address


def is_rejected(address):
    host = f"[{address}]" if address.version == 6 else str(address)
    with pytest.raises(OutgoingRequestError):
        check(f"https://{host}/")
    return True


@pytest.mark.parametrize("address", boundaries(IPV4), ids=str)
def test_it_rejects_special_purpose_ipv4_addresses(address):
    assert all(is_rejected(equivalent) for equivalent in equivalent_addresses(address))


@pytest.mark.parametrize("address", boundaries(IPV6), ids=str)
def test_it_rejects_special_purpose_ipv6_addresses(address):
    assert is_rejected(address)


PUBLIC = ["93.184.216.34", "168.63.129.17", "192.88.98.255", "[2606:2800:220:1::1]", "[64:ff9b::5db8:d822]"]


@pytest.mark.parametrize("host", PUBLIC)
def test_it_accepts_neighboring_public_addresses(host):
    check(f"https://{host}/")
