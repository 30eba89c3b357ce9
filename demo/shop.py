"""Generates the payments of the demo's shop: customers from many countries and their purchases."""

import unicodedata
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from random import Random

from fulfillment.models import FulfillmentMethod
from merchants.models import CheckoutPage, Product
from pools.models import LicensePool

FIRST_NAMES = """
    Ada Aiko Alice Amara Amélie Anders Andrea Anna Antonio Astrid Ben Björn Carla Carlos Chiara Chloé Clara
    Daniel Diego Elena Elias Emil Emma Erik Eva Felix Fiona François Frida George Giulia Grace Hana Hannah Hugo
    Ines Isabel Ivan Jack Jakob James Jan Jens Jonas José Julia Jürgen Kaito Karin Kim Laura Lea Leo Liam Lina
    Lucas Lucía Luis Maria Marie Marta Matteo Maya Mia Miguel Nadia Nina Noah Olga Oliver Oscar Paul Paula Pedro
    Petra Pia Rafael Rosa Ruth Sara Sofia Stefan Sven Thomas Tom Vera Viktor William Yara Yuki Zoë
"""
# Combined, they make two thousand last names.
BEGINNINGS = """
    Ahl Alder Ash Bach Berg Birk Black Blom Brand Brook Carl Clay Dahl Eich Eller Fair Falk Fern Gold Grün Hart
    Haw Holm Kess Kirch König Lang Lind Mar Mill Mont Moor North Öst Pal Rosen Sand Schön Stein Stern Summer
    Thorn Wald West Win
"""
ENDINGS = """
    a aldi au ard bach bauer beck berg berger by croft dahl dale e ell en er feld field ford gren hagen ham heim
    hof holm ier ini lund man mann mark mayer more ner quist rup sen son stad strand strom ston ström thal ton
    well wood worth
"""
COMPANIES = ["{} GmbH", "{} Ltd.", "{} & Partners", "Studio {}", "Atelier {}", "{} Photography", "{} Media", "{} AG"]
MAIL_DOMAINS = ["mail.example", "post.example", "inbox.example", "example.com", "example.net", "example.org"]
# Country, language and currency of a hundred customers.
ORIGINS = [
    *24 * [("US", "en", "USD")],
    *22 * [("DE", "de", "EUR")],
    *12 * [("GB", "en", "GBP")],
    *9 * [("FR", "fr", "EUR")],
    *6 * [("NL", "nl", "EUR")],
    *6 * [("IT", "it", "EUR")],
    *5 * [("ES", "es", "EUR")],
    *4 * [("SE", "sv", "SEK")],
    *4 * [("CH", "de", "CHF")],
    *3 * [("AT", "de", "EUR")],
    *3 * [("CA", "en", "CAD")],
    *1 * [("BR", "pt-BR", "BRL")],
    *1 * [("JP", "ja", "USD")],
]

ITEM_COUNTS = [*15 * [1], *4 * [2], 3]
QUANTITIES = [*16 * [1], *3 * [2], 3]
NEW_CUSTOMERS = 0.85  # the others are returning customers
KNOWN_CUSTOMERS = 5000  # the number of customers remembered


@dataclass(frozen=True, eq=False)
class Article:
    product: Product
    method: FulfillmentMethod
    price: Decimal
    popularity: int

    @cached_property
    def pool(self) -> LicensePool | None:
        place = self.method.kind.place
        return place if isinstance(place, LicensePool) else None


class DemoShop:
    """Generates payments; the same random numbers give the same payments."""

    def __init__(self, articles: list[Article], pages: list[CheckoutPage], rng: Random):
        self.articles = articles
        self.pages = pages
        self.rng = rng
        self.known: deque[tuple[dict[str, str], str, str]] = deque(maxlen=KNOWN_CUSTOMERS)
        self._first_names = FIRST_NAMES.split()
        self._beginnings, self._endings = BEGINNINGS.split(), ENDINGS.split()
        self._popular = [article for article in articles for _ in range(article.popularity)]

    def payment(self, number: str, paid_at: datetime, articles: Iterable[Article]) -> dict:
        """Return the validated data of a PaymentSerializer."""
        customer, language, currency = self._customer(int(number[1:]))
        return {
            "order": number,
            "paid_at": paid_at,
            "currency": currency,
            "language": language,
            "checkout_page": self.rng.choice(self.pages),
            "customer": customer,
            "items": [self._item(position, article) for position, article in enumerate(articles, start=1)],
            "additional_parameters": {},
        }

    def basket(self) -> list[Article]:
        count = self.rng.choice(ITEM_COUNTS)
        return list({self.rng.choice(self._popular): None for _ in range(count)})

    def _item(self, position: int, article: Article) -> dict:
        quantity = self.rng.choice(QUANTITIES)
        return {
            "item": str(position),
            "product": article.product,
            "sku": article.product.sku,
            "quantity": quantity,
            "total_price": str(quantity * article.price),
            "subscription": None,
        }

    def _customer(self, number: int) -> tuple[dict[str, str], str, str]:
        """Return a customer with a language and a currency; the number makes a new customer's address unique."""
        if self.known and self.rng.random() > NEW_CUSTOMERS:
            return self.rng.choice(self.known)

        first_name = self.rng.choice(self._first_names)
        last_name = self.rng.choice(self._beginnings) + self.rng.choice(self._endings)
        country, language, currency = self.rng.choice(ORIGINS)
        customer = {
            "email": f"{plain(first_name)}.{plain(last_name)}{number}@{self.rng.choice(MAIL_DOMAINS)}",
            "first_name": first_name,
            "last_name": last_name,
            "company": self.rng.choice(COMPANIES).format(last_name) if self.rng.random() < 0.3 else "",
            "country": country,
        }
        self.known.append((customer, language, currency))
        return self.known[-1]


def plain(name: str) -> str:
    """Return a name as used in e-mail addresses: Zoë becomes zoe."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
