"""“Lost your license?” and “Forgot your password?”: e-mails that anybody can request without signing in.

The response never reveals whether an address is known: it is the same for every address, after the same work.
Only a worker looks for orders, and only the mailbox gets the result.
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
from merchants.languages import offered
from merchants.models import Merchant, User
from orders.localization import format_day, get_locale
from orders.models import Order, OrderItem
from outbound.mail import compose_plain, mark_subject, send_email, set_sender
from outbound.models import MailAccount
from vault.fingerprints import fingerprint
from work.attempts import Policy

# Limits per period: for one address across all merchants, and from one network.
THROTTLE_PERIOD = timedelta(hours=1)
MAX_PER_ADDRESS, MAX_PER_SOURCE = 3, 10

RETENTION = timedelta(days=1)
MAX_ORDERS = 100  # per e-mail


@transaction.atomic
def request_mail(merchant: Merchant | None, email: str, *, language: str = "en", source: str) -> None:
    """Queue an e-mail with the links to a customer's orders; without a merchant, with a password reset link.

    Does nothing above the limits. `source` is the IP address of the request.
    """
    email = _canonical(email)
    network = fingerprint(f"source {_network(source)}")
    _serialize_counting(fingerprint(f"address {email}"), network)
    recent = LinkRequest.objects.filter(created_at__gt=Now() - THROTTLE_PERIOD, merchant__isnull=merchant is None)
    too_many = [
        recent.filter(email=email).count() >= MAX_PER_ADDRESS,
        recent.filter(source=network).count() >= MAX_PER_SOURCE,
    ]
    with transaction.atomic():
        request = LinkRequest.objects.create(merchant=merchant, email=email, language=language, source=network)
        # Above a limit only the row is rolled back. The rest runs as usual, so the response time reveals nothing.
        transaction.set_rollback(any(too_many))
    request.nudge()


def _network(source: str) -> str:
    """Return the network of one subscriber: an IPv4 address, or an IPv6 /64."""
    address = ip_address(source)
    address = getattr(address, "ipv4_mapped", None) or address
    return str(ip_network((address, 64 if address.version == 6 else 32), strict=False))


def _serialize_counting(*digests: bytes) -> None:
    """Serialize transactions that count requests for the same digests. Pass digests in a fixed order."""
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
        # Not retried if the e-mail may have arrived: the person can simply ask again.
        if getattr(failure, "may_have_arrived", False):
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
    context = {"user": user, "password_reset_url": reset_url(user)}
    with translation.override(offered(user.language)):
        return compose_plain("emails/password_reset_key.txt", [user.email], context)


def reset_url(user: User) -> str:
    """Return a link to set a new password, which works once, for PASSWORD_RESET_TIMEOUT."""
    # allauth's token and page: setting a new password invalidates the link.
    arguments = [user_pk_to_url_str(user), default_token_generator.make_token(user)]
    return settings.BASE_URL + reverse("account_reset_password_from_key", args=arguments)


def _orders(merchant: Merchant, email: str) -> list[Order]:
    paid = merchant.orders.filter(Exists(OrderItem.objects.filter(order=OuterRef("pk"))))
    paid = paid.filter(status=Order.Status.PAID, link_token__isnull=False)
    newest = paid.with_email(email).order_by("-paid_at", "-pk")[: MAX_ORDERS + 1]
    # The database compares in upper case, where different mailboxes can be equal, such as s and the long ſ.
    return [order for order in newest if _canonical(order.email) == email]


def _canonical(address: str) -> str:
    """Return the address with an ASCII domain and ASCII letters in lower case."""
    return to_ascii_domain(address).encode().lower().decode()


def compose_links(request: LinkRequest, merchant: Merchant, orders: list[Order]) -> EmailMessage:
    lines = [
        (order, format_day(order.paid_by_shop_clock, get_locale(request.language, order.country)))
        for order in orders[:MAX_ORDERS]
        if order.paid_by_shop_clock
    ]
    context = {"merchant": merchant.vendor, "lines": lines, "is_cut": len(orders) > MAX_ORDERS}
    # Send to the address in the order, not to the one typed in the form.
    address = orders[0].email
    with translation.override(request.language):
        recipients = merchant.test_recipients(address) if merchant.is_test else [address]
        message = compose_plain("emails/lost_key.txt", recipients, context)
        if merchant.is_test:
            message.subject = mark_subject(message.subject)
    set_sender(message, merchant.vendor)
    return message


def delete_old_requests() -> None:
    LinkRequest.objects.filter(created_at__lt=Now() - RETENTION).delete()
