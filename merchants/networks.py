"""The networks from which an API key may be used."""

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface, ip_network

from django.contrib.humanize.templatetags.humanize import intcomma
from django.core.exceptions import ValidationError
from django.utils.translation import gettext

MAX_NETWORKS = 100
MAX_QUOTED = 50  # characters of an invalid entry
MAPPED = 96  # bits of ::ffff:0:0/96, which holds the IPv4 addresses


def read_networks(text: str) -> list[str]:
    """Read addresses and networks, separated by commas or white space. Raises ValidationError for invalid ones."""
    entries = [entry for entry in re.split(r"[\s,;]+", text) if entry]
    if len(entries) > MAX_NETWORKS:
        raise ValidationError(
            gettext("Enter at most {most} addresses and networks, not {count}.").format(
                most=MAX_NETWORKS, count=intcomma(len(entries))
            )
        )

    networks, errors = [], []
    for entry in entries:
        try:
            networks.append(normalize(entry))
        except ValidationError as error:
            errors.append(error)
    if errors:
        raise ValidationError(errors)
    return list(dict.fromkeys(networks))


def normalize(entry: str) -> str:
    """Return the shortest form of an address or network. IPv4-mapped IPv6 becomes IPv4."""
    quoted = entry[:MAX_QUOTED]
    try:
        interface = ip_interface(entry)
    except ValueError:
        interface = None
    if interface is None or "%" in entry:
        raise ValidationError(
            gettext("“{entry}” is not an IP address or network, such as 192.0.2.10 or 192.0.2.0/24.").format(
                entry=quoted
            )
        )

    network = _unmap_network(interface.network)
    if network.prefixlen == 0:
        raise ValidationError(
            gettext("“{entry}” allows every address. To allow all, leave the field empty.").format(entry=quoted)
        )
    if interface.ip != interface.network.network_address:
        raise ValidationError(
            gettext("“{entry}” is an address within a network. Enter {address} or {network}.").format(
                entry=quoted, address=_unmap(interface.ip), network=_shorten(network)
            )
        )
    return _shorten(network)


def allows(networks: Iterable[str], address: str) -> bool:
    client = _unmap(ip_address(address))
    return any(client in ip_network(network) for network in networks)


def _unmap(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address


def _unmap_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    address = _unmap(network.network_address)
    if network.version == address.version or network.prefixlen < MAPPED:
        return network
    return ip_network((address, network.prefixlen - MAPPED))


def _shorten(network: IPv4Network | IPv6Network) -> str:
    return str(network.network_address if network.prefixlen == network.max_prefixlen else network)
