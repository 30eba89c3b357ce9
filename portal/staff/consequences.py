"""What changes and actions of support staff do, in sentences with numbers."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext, ngettext

from delivery.models import Delivery
from fulfillment.models import Fulfillment, SetupRequest
from merchants.models import ApiKey, CheckoutPage, Member, Merchant, Product, User
from orders.models import Order
from outbound.models import Upstream
from pools.models import LicenseKey, LicensePool
from portal.templatetags.portal import format_distance
from work.stored_texts import in_english

MAX_COUNTED = 10_000


def count(rows: QuerySet) -> int:
    return rows.order_by()[:MAX_COUNTED].count()


def number(rows: QuerySet) -> str:
    """A count as a text; empty if there are no rows."""
    found = count(rows)
    return spell(found) if found else ""


def spell(found: int) -> str:
    return f"{intcomma(found)}{'+' if found == MAX_COUNTED else ''}"


def sentences(*texts: str) -> list[str]:
    return [text for text in texts if text]


def counted(found: int, text: str) -> str:
    """The text with the number in place of {count}; empty if it is 0."""
    return text.format(count=spell(found)) if found else ""


# Checkout pages and members of a merchant


def forbid_delivery(page: CheckoutPage) -> list[str]:
    orders = Order.objects.filter(checkout_page=page, status=Order.Status.PAID)
    waiting = count(
        orders.filter(items__fulfillment__isnull=False).exclude(items__fulfillment__status="done").distinct()
    )
    queued = count(Delivery.objects.filter(order__checkout_page=page, status=Delivery.Status.QUEUED))
    paid = count(orders)
    return sentences(
        gettext("Customers who order from “{page}” get no e-mails with codes until delivery is allowed again.").format(
            page=page
        ),
        counted(
            paid,
            ngettext(
                "Codes of {count} paid order of this page can’t be sent again.",
                "Codes of {count} paid orders of this page can’t be sent again.",
                paid,
            ),
        ),
        counted(
            queued,
            ngettext("{count} queued e-mail is canceled.", "{count} queued e-mails are canceled.", queued),
        ),
        counted(
            waiting,
            ngettext(
                "{count} order that waits for codes gets them, but no e-mail.",
                "{count} orders that wait for codes get them, but no e-mail.",
                waiting,
            ),
        ),
    )


def change_members(merchant: Merchant, removed: Iterable[Member], changed: Iterable[Member]) -> list[str]:
    removed, changed = list(removed), list(changed)
    gone = {member.pk for member in removed} | {member.pk for member in changed if member.role != Member.Role.OWNER}
    is_without_owner = (
        bool(gone)
        and not merchant.members.filter(role=Member.Role.OWNER).exclude(pk__in=gone).exists()
        and not any(member.role == Member.Role.OWNER for member in changed)
    )
    return sentences(
        *(
            gettext("{user} loses access to {merchant}.").format(user=member.user, merchant=merchant)
            for member in removed
        ),
        *(
            gettext("{user} becomes {role} of {merchant}.").format(
                user=member.user, role=member.get_role_display(), merchant=merchant
            )
            for member in changed
        ),
        gettext("{merchant} has no owner left.").format(merchant=merchant) if is_without_owner else "",
    )


def require_second_factor(merchant: Merchant, required: bool) -> list[str]:
    if not required:
        return [gettext("Members of {merchant} can sign in with only a password.").format(merchant=merchant)]
    without = count(merchant.members.filter(user__authenticator=None).distinct())
    return sentences(
        gettext("Members of {merchant} need a second factor from their next page on.").format(merchant=merchant),
        counted(
            without,
            ngettext(
                "{count} member has none and must set one up first.",
                "{count} members have none and must set one up first.",
                without,
            ),
        ),
    )


def change_slug(merchant: Merchant, old: str) -> list[str]:
    return [
        gettext("Links to {old} stop working, such as the shop’s link to /lost/{slug}/.").format(
            old=merchant, slug=old
        )
    ]


# API keys


def revoke_api_key(key: ApiKey) -> list[str]:
    month_ago = timezone.now() - timedelta(days=30)
    with in_english():
        actor = str(key)
    orders = count(Order.objects.filter(merchant=key.merchant_id, reported_at__gt=month_ago, reported_by=actor))
    used = key.last_used_at and format_distance(key.last_used_at - timezone.now())
    return sentences(
        gettext("Software that uses “{key}” loses access. You can’t undo this.").format(key=key.name),
        gettext("It was last used {ago}.").format(ago=used) if used else gettext("It has never been used."),
        counted(
            orders,
            ngettext(
                "It reported {count} order in the last 30 days.",
                "It reported {count} orders in the last 30 days.",
                orders,
            ),
        ),
        gettext("The owners of {merchant} get an e-mail.").format(merchant=key.merchant),
    )


def restrict_api_key(key: ApiKey) -> list[str]:
    if not key.allowed_networks:
        return [gettext("The key can be used from any address.")]
    used = key.last_used_at and format_distance(key.last_used_at - timezone.now())
    return sentences(
        gettext("Requests from other addresses than {addresses} are refused.").format(
            addresses=", ".join(key.allowed_networks)
        ),
        gettext("The key was last used {ago}.").format(ago=used) if used else "",
    )


# Stock


def withdraw_keys(keys: QuerySet[LicenseKey]) -> list[str]:
    own = LicenseKey.objects.filter(pk__in=keys.order_by().values("pk"))
    chosen, left = count(own), count(own.in_stock())
    pools = LicensePool.objects.filter(pk__in=own.in_stock().values("pool")).with_stock().select_related("merchant")
    rests = [
        gettext("“{pool}” of {merchant} has {count} available keys now.").format(
            pool=pool, merchant=pool.merchant, count=intcomma(pool.available)
        )
        for pool in pools.order_by("name")[:20]
    ]
    other = chosen - left
    return sentences(
        ngettext(
            "{count} key will never be issued. You can’t undo this.",
            "{count} keys will never be issued. You can’t undo this.",
            left,
        ).format(count=spell(left)),
        counted(
            other,
            ngettext(
                "{count} other key was issued or withdrawn before, and stays as it is.",
                "{count} other keys were issued or withdrawn before, and stay as they are.",
                other,
            ),
        ),
        *rests,
    )


def withdraw_batches(batches: QuerySet) -> list[str]:
    return withdraw_keys(LicenseKey.objects.filter(batch__in=batches.values("pk")))


def change_reserve(pool: LicensePool) -> list[str]:
    held = count(pool.keys.reserved())
    if pool.reserve > held:
        return [
            gettext("Up to {count} more keys are held back. Only people can issue them.").format(
                count=intcomma(pool.reserve - held)
            )
        ]
    freed = held - pool.reserve
    waiting = count(Fulfillment.objects.waiting_for(pool))
    return sentences(
        counted(
            freed,
            ngettext(
                "{count} key leaves the reserve and is issued automatically.",
                "{count} keys leave the reserve and are issued automatically.",
                freed,
            ),
        ),
        counted(waiting, ngettext("{count} item waits for it.", "{count} items wait for them.", waiting)),
    )


# Sources


def change_server(server: Upstream) -> list[str]:
    waiting = count(Fulfillment.objects.waiting().filter(server.serves()))
    return sentences(
        gettext("Orders of {merchant} get their codes from the new address, which gets the customers’ data.").format(
            merchant=server.merchant
        ),
        counted(
            waiting,
            ngettext(
                "{count} item that waits for it is requested again immediately.",
                "{count} items that wait for it are requested again immediately.",
                waiting,
            ),
        ),
    )


def remove_sources(product: Product, removed: Iterable[Any]) -> list[str]:
    names = [str(method.kind.name) for method in removed]
    if not names:
        return []
    waiting = count(Fulfillment.objects.waiting().filter(item__product=product))
    return sentences(
        gettext("Orders of “{product}” get no more codes from: {sources}.").format(
            product=product, sources=", ".join(names)
        ),
        counted(waiting, ngettext("{count} item of it waits.", "{count} items of it wait.", waiting)),
    )


# People


def change_user(user: User, changed: list[str]) -> list[str]:
    merchants = [str(member.merchant) for member in user.memberships.select_related("merchant")]
    texts = []
    if "is_active" in changed and not user.is_active:
        texts.append(gettext("{user} can no longer sign in.").format(user=user))
        if merchants:
            texts.append(gettext("Member of: {merchants}.").format(merchants=", ".join(merchants)))
    if "email" in changed:
        texts.append(gettext("From now on, {email} signs in and gets the e-mails.").format(email=user.email))
    if "is_superuser" in changed and user.is_superuser:
        texts.append(gettext("{user} can do everything, for all merchants.").format(user=user))
    elif {"is_staff", "groups", "user_permissions", "is_superuser"} & set(changed):
        texts.append(gettext("The rights of {user} change for all merchants.").format(user=user))
    return texts


def remove_second_factors(users: QuerySet[User]) -> list[str]:
    return [
        gettext("{user} can sign in with only the password, until a new factor is set up.").format(user=user)
        for user in users
    ]


def resend_invitations(invitations: QuerySet) -> list[str]:
    return [
        gettext("{email} gets another e-mail, and the earlier link stops working.").format(email=invitation.email)
        for invitation in invitations
    ]


# Work


def retry_items(fulfillments: Any) -> list[str]:
    unfinished = count(fulfillments.unfinished())
    done = count(fulfillments) - unfinished
    return sentences(
        ngettext(
            "{count} item is tried immediately. No customer gets a second code.",
            "{count} items are tried immediately. No customer gets a second code.",
            unfinished,
        ).format(count=spell(unfinished)),
        counted(done, ngettext("{count} other item is done.", "{count} other items are done.", done)),
    )


def process_events(events: QuerySet) -> list[str]:
    found = count(events)
    return [
        ngettext(
            "{count} event is processed again. What became an order stays the same order.",
            "{count} events are processed again. What became an order stays the same order.",
            found,
        ).format(count=spell(found))
    ]


def apply_request(wanted: SetupRequest) -> list[str]:
    skus = [product["sku"] for product in wanted.products]
    known = set(Product.objects.filter(merchant=wanted.merchant, sku__in=skus).values_list("sku", flat=True))
    added = len(set(skus) - known)
    pool = LicensePool.objects.filter(merchant=wanted.merchant, name=wanted.pool_name).first()
    keys = wanted.preview.get("keys", 0)
    waiting = count(
        Fulfillment.objects.waiting().filter(item__product__merchant=wanted.merchant, item__product__sku__in=skus)
    )
    return sentences(
        counted(added, ngettext("{count} product is created.", "{count} products are created.", added)),
        counted(
            len(known),
            ngettext(
                "{count} product that exists gets the pool as a source and the quantity rule of the request.",
                "{count} products that exist get the pool as a source and the quantity rule of the request.",
                len(known),
            ),
        ),
        gettext("The pool “{pool}” gets the threshold and the recipients of the request.").format(pool=pool)
        if pool
        else gettext("The pool “{pool}” is created.").format(pool=wanted.pool_name),
        counted(keys, ngettext("Up to {count} key is imported.", "Up to {count} keys are imported.", keys)),
        counted(
            waiting,
            ngettext(
                "{count} item that waits gets its codes, and its customer an e-mail.",
                "{count} items that wait get their codes, and their customers an e-mail.",
                waiting,
            ),
        ),
        gettext("{merchant} gets an e-mail, the request is closed, and its license file is deleted.").format(
            merchant=wanted.merchant
        ),
    )


# Licensing


def deactivate_in_catalog(row: Any, licensees: QuerySet) -> list[str]:
    found = count(licensees)
    return sentences(
        gettext("“{name}” grants nothing new. Existing licenses stay valid.").format(name=row.name),
        counted(
            found,
            ngettext("{count} licensee uses it.", "{count} licensees use it.", found),
        ),
    )


def deactivate_licensee(licensee: Any) -> list[str]:
    found = count(licensee.licenses.filter(active=True))
    return sentences(
        gettext("The customer’s software stops working at its next validation."),
        counted(found, ngettext("It has {count} active license.", "It has {count} active licenses.", found)),
    )


def deactivate_license(license: Any) -> list[str]:
    return [
        gettext("The software of {licensee} stops getting what this license grants.").format(licensee=license.licensee)
    ]


def end_access(name: str, last_used_at: Any) -> list[str]:
    used = last_used_at and format_distance(last_used_at - timezone.now())
    return sentences(
        gettext("Software that uses {name} loses access. You can’t undo this.").format(name=name),
        gettext("It was last used {ago}.").format(ago=used) if used else gettext("It has never been used."),
    )
