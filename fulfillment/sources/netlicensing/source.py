from collections.abc import Iterator
from time import monotonic

from django.contrib.humanize.templatetags.humanize import intcomma
from django.db import transaction
from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext, gettext_noop
from django.utils.translation import gettext_lazy as _

from fulfillment.sources.base import Source, SourceBusy, SourceError, SourceNotReady
from fulfillment.sources.netlicensing import deactivation
from fulfillment.sources.netlicensing.client import (
    NetLicensingClient,
    NetLicensingError,
    NetLicensingRefused,
    OutOfTime,
    Properties,
    secret_number,
    visit,
)
from fulfillment.sources.netlicensing.models import Deactivation, IssuedLicense, LicensePackage, LicensePackageMethod
from orders.models import Order, OrderItem
from outbound.outgoing_requests import HostBusy

# Seconds for one attempt. Less than a lease.
ATTEMPT_TIMEOUT = 45
# Per licensee.
MAX_LICENSES = 10_000


class NetLicensingSource(Source):
    """Creates a licensee for each unit, with a package's licenses, and marks it for transfer.

    The licensee's number is the activation code. Like the license numbers, it is derived from the item and the unit,
    so each attempt finds what earlier ones created and adds what is missing.
    """

    code, name, origin = "netlicensing", "NetLicensing", _("from NetLicensing")
    method_model = LicensePackageMethod
    places = ("licensepackagemethod__license_package__account",)
    item_paths = ("deactivation",)
    gives_licensees = True
    instructions = gettext_noop(
        "Enter this license number in the program. If you already have a license, the program adds the new one to it."
    )

    def __init__(self, method):
        super().__init__(method)
        self.package: LicensePackage = self.place
        self.account = self.package.account

    @property
    def upstream(self):
        return self.account

    @classmethod
    def choices(cls, merchant):
        return merchant.license_packages.select_related("account")

    @classmethod
    def servers(cls):
        methods = LicensePackageMethod.objects.filter(product=OuterRef("item__product"))
        return {"licensing_account": Subquery(methods.values("license_package__account")[:1])}

    @classmethod
    def history(cls, item):
        if hasattr(item, "deactivation"):
            yield deactivation.history_line(item.deactivation)

    @classmethod
    def stop(cls, order):
        deactivation.begin(order)

    @classmethod
    def restart(cls, order):
        deactivation.undo(order)

    @classmethod
    def work(cls):
        return [Deactivation.objects.all()]

    def issue(self, item, units, *, attempt):
        if self.account.merchant_id != item.order.merchant_id:
            raise SourceError(
                gettext("The licensing account “{account}” belongs to another merchant.").format(account=self.account),
                permanent=True,
            )
        try:
            yield from self._issue(item, units, attempt)
        except HostBusy as busy:
            raise SourceBusy(str(busy)) from busy
        except OutOfTime as error:
            raise SourceNotReady(str(error)) from error
        except NetLicensingError as error:
            reason = gettext("Licensing account “{account}”: {error}").format(account=self.account, error=error)
            raise SourceError(reason, permanent=not error.temporary, pause=error.pause) from error

    def _issue(self, item: OrderItem, units: list[int], attempt: int) -> Iterator[tuple[int, str]]:
        deadline = monotonic() + ATTEMPT_TIMEOUT
        with visit(self.account):
            for unit in units:
                plan = self._plan(item, unit)
                number = licensee_number(item, unit, plan[0].product_number)
                client = NetLicensingClient(
                    self.account, deadline=deadline, secrets=(number,), item=item, unit=unit, attempt=attempt
                )
                try:
                    self._complete(client, number, plan)
                except NetLicensingRefused:
                    # A person has to fix something, perhaps the package, so plan again next time.
                    item.issued_licenses.filter(unit=unit, account=self.account).update(is_planned=False)
                    raise
                yield unit, number

    @transaction.atomic
    def _plan(self, item: OrderItem, unit: int) -> list[IssuedLicense]:
        """Return a unit's licenses: those an earlier attempt planned, or else new rows, saved before any is added."""
        # Serializes with refunds, which deactivate all planned licenses. After a refund none is added.
        order = Order.objects.select_for_update(no_key=True).get(pk=item.order_id)
        if order.status != Order.Status.PAID:
            raise SourceError(gettext("The order is {status}.").format(status=gettext(order.status)), permanent=True)
        planned = item.issued_licenses.filter(unit=unit, account=self.account, is_planned=True)
        if plan := list(planned):
            return plan

        new = self._wanted(item, unit)
        IssuedLicense.objects.bulk_create(
            new, update_conflicts=True, unique_fields=["account", "number"], update_fields=["is_planned"]
        )
        return list(planned.all())

    def _wanted(self, item: OrderItem, unit: int) -> list[IssuedLicense]:
        product = self.package.product_number
        templates = list(self.package.templates.all())
        # A product with one code per item gets the licenses of all its pieces in one licensee.
        times = item.quantity // item.units
        if not templates:
            raise SourceError(
                gettext("The license package “{package}” has no templates.").format(package=self.package),
                permanent=True,
            )
        if sum(template.quantity for template in templates) * times > MAX_LICENSES:
            raise SourceError(
                gettext("One licensee would get more than {max_licenses} licenses.").format(
                    max_licenses=intcomma(MAX_LICENSES)
                ),
                permanent=True,
            )
        start_date = self.package.get_start_date(item)
        return [
            IssuedLicense(
                item=item,
                unit=unit,
                account=self.account,
                product_number=product,
                template_number=template.number,
                start_date=start_date,
                number=license_number(item, unit, product, template.number, template.position, count),
            )
            for template in templates
            for count in range(1, template.quantity * times + 1)
        ]

    def _complete(self, client: NetLicensingClient, number: str, plan: list[IssuedLicense]) -> None:
        """Make sure that the licensee exists, has exactly the planned licenses of ours and is marked for transfer."""
        first = plan[0]
        licensee = client.get("licensee", number)
        if licensee is None:
            name = f"Order {first.item.order.number}, {first.unit} of {first.item.units}"
            # A licensee created with the mark gets none of the product's automatic licenses.
            new = {"productNumber": first.product_number, "name": name, "markedForTransfer": "true"}
            licensee = client.create("licensee", number, **new)
        check(licensee, first.product_number)

        present = {license.get("number") for license in client.find_all("license", licenseeNumber=number)}
        missing = [license for license in plan if license.number not in present]
        dropped = first.item.issued_licenses.filter(
            unit=first.unit, account=self.account, is_planned=False, number__in=present
        )
        if not missing and not dropped and is_marked(licensee):
            return
        if is_marked(licensee):
            client.update("licensee", number, markedForTransfer="false")
        for license in missing:
            add(client, number, license)
        for license in dropped:
            client.delete("license", license.number)
        licensee = client.update("licensee", number, markedForTransfer="true")
        check(licensee, first.product_number)
        if not is_marked(licensee):
            raise NetLicensingError(gettext("The service didn’t mark the licensee for transfer."))

    def shortage(self):
        return gettext("The licensing account “{account}” returned too few licensees.").format(account=self.account)


def licensee_number(item: OrderItem, unit: int, product: str) -> str:
    return secret_number("KW", f"licensee of {product} for item {item.pk}, unit {unit}")


def license_number(item: OrderItem, unit: int, product: str, template: str, position: int, count: int) -> str:
    """The number of a license. It appears in logs, so the licensee's number can't be derived from it."""
    return secret_number("KL", f"license {position}.{count}, {template} of {product} for item {item.pk}, unit {unit}")


def add(client: NetLicensingClient, licensee: str, license: IssuedLicense) -> None:
    start = {"startDate": license.start_date} if license.start_date else {}
    # An existing license with this number may have been transferred to another licensee.
    made = client.create(
        "license",
        license.number,
        licenseeNumber=licensee,
        licenseTemplateNumber=license.template_number,
        **start,
    )
    if made.get("licenseTemplateNumber") != license.template_number:
        raise NetLicensingError(
            gettext("The answer’s license isn’t from the template “{template_number}”.").format(
                template_number=license.template_number
            )
        )


def check(licensee: Properties, product: str) -> None:
    """Raise NetLicensingRefused if the licensee must not be handed out."""
    if licensee.get("productNumber") != product:
        raise NetLicensingRefused(
            gettext("The licensee belongs to the product “{licensee}”, not to “{product}”.").format(
                licensee=licensee.get("productNumber"), product=product
            )
        )
    if licensee.get("active", "true").lower() != "true":
        raise NetLicensingRefused(gettext("The licensee is inactive."))


def is_marked(licensee: Properties) -> bool:
    return licensee.get("markedForTransfer", "").lower() == "true"
