"""“Lost your license?” and “Forgot your password?”: e-mails that anybody may ask for without signing in.

Nobody learns here who bought what. Who asks gets the same answer for each address, after the same work: whether there
are orders is only looked for by a worker, and only the mailbox itself is told.
"""

from datetime import timedelta
from ipaddress import ip_address, ip_network

from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Now
from django.urls import reverse
from django.utils import translation

from delivery.models import LinkRequest
from merchants.addresses import to_ascii_domain
from merchants.models import Merchant, User
from orders.localization import format_day, get_locale
from orders.models import Order, OrderItem
from outbound.mail import compose_plain, send_email, set_sender
from outbound.models import MailAccount
from vault.fingerprints import fingerprint
from work.attempts import Policy

# Requests in a period: for one address, at whatever merchant, and from one network.
THROTTLE_PERIOD = timedelta(hours=1)
PER_ADDRESS, PER_SOURCE = 3, 10

RETENTION = timedelta(days=1)
ORDERS_IN_A_MAIL = 100


@transaction.atomic
def request_mail(merchant: Merchant | None, email: str, *, language: str = "en", source: str) -> None:
    """Have the customer of this address, if there is one, mailed their links; without a merchant, a user a reset link.

    Above the limits it does nothing. `source` is the IP address that asks.
    """
    email = _canonical(email)
    network = fingerprint(f"source {_network(source)}")
    _count_alone(fingerprint(f"address {email}"), network)
    recent = LinkRequest.objects.filter(created_at__gt=Now() - THROTTLE_PERIOD, merchant__isnull=merchant is None)
    too_many = [
        recent.filter(email=email).count() >= PER_ADDRESS,
        recent.filter(source=network).count() >= PER_SOURCE,
    ]
    with transaction.atomic():
        request = LinkRequest.objects.create(merchant=merchant, email=email, language=language, source=network)
        # Above a limit the row is taken back, and all else is done as ever: the time that it takes tells nothing.
        transaction.set_rollback(any(too_many))
    request.nudge()


def _network(source: str) -> str:
    """What one subscriber has: an IPv4 address, or a /64 of IPv6 addresses."""
    address = ip_address(source)
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network((address, 64 if address.version == 6 else 32), strict=False))


def _count_alone(*digests: bytes) -> None:
    """Serialize the transactions that count the same things, which they name in the same order."""
    with connection.cursor() as cursor:
        for digest in digests:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [int.from_bytes(digest[:8], signed=True)])


class LinkRequestPolicy(Policy[LinkRequest]):
    model = LinkRequest

    def attempt(self, request):
        if message := _compose(request):
            account = MailAccount.objects.for_merchant(request.merchant_id) if request.merchant_id else None
            with send_email(message, account):
                request.end(reason="")
        else:
            request.end(reason="")

    def put_off(self, request, failure):
        # One that may have arrived is not sent again and again: who got none asks again.
        if getattr(failure, "perhaps_taken", False):
            self.give_up(request, failure)
        else:
            super().put_off(request, failure)


send_links = LinkRequestPolicy().run


def _compose(request: LinkRequest) -> EmailMessage | None:
    if request.merchant is None:
        user = User.objects.filter(email=request.email, is_active=True).first()
        return compose_reset(user) if user else None
    orders = _orders(request.merchant, request.email)
    return compose_links(request, request.merchant, orders) if orders else None


def compose_reset(user: User) -> EmailMessage:
    # As allauth makes them: its page reads this link, and a new password ends it.
    arguments = [user_pk_to_url_str(user), default_token_generator.make_token(user)]
    url = settings.BASE_URL + reverse("account_reset_password_from_key", args=arguments)
    return compose_plain("emails/password_reset_key.txt", [user.email], {"user": user, "password_reset_url": url})


def _orders(merchant: Merchant, email: str) -> list[Order]:
    paid = merchant.orders.filter(Exists(OrderItem.objects.filter(order=OuterRef("pk"))))
    paid = paid.filter(status=Order.Status.PAID, link_token__isnull=False)
    newest = paid.with_email(email).order_by("-paid_at", "-pk")[: ORDERS_IN_A_MAIL + 1]
    # What is the same to the database, in upper case, may be another mailbox: an s and the long ſ.
    return [order for order in newest if _canonical(order.email) == email]


def _canonical(address: str) -> str:
    """Its domain in ASCII, and all of it in lower case as far as ASCII goes."""
    return to_ascii_domain(address).encode().lower().decode()


def compose_links(request: LinkRequest, merchant: Merchant, orders: list[Order]) -> EmailMessage:
    lines = [
        (order, format_day(order.paid_by_shop_clock, get_locale(request.language, order.country)))
        for order in orders[:ORDERS_IN_A_MAIL]
        if order.paid_by_shop_clock
    ]
    context = {"merchant": merchant, "lines": lines, "is_cut": len(orders) > ORDERS_IN_A_MAIL}
    with translation.override(request.language):
        # To the address as it stands in the order, not as somebody typed it.
        message = compose_plain("emails/lost_key.txt", [orders[0].email], context)
    set_sender(message, merchant)
    return message


def forget_old_requests() -> None:
    LinkRequest.objects.filter(created_at__lt=Now() - RETENTION).delete()
