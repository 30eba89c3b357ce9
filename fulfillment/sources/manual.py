from fulfillment.models import MerchantNotice
from fulfillment.sources.base import Source


class ManualSource(Source):
    """A person of the merchant, who is asked by e-mail and enters the codes (services.enter_codes)."""

    immediate = True

    def issue(self, item, units, *, attempt):
        notice, created = MerchantNotice.objects.get_or_create(
            kind=MerchantNotice.Kind.CODE_WANTED, item=item, defaults={"merchant": item.order.merchant}
        )
        if created:
            notice.nudge()
        return ()

    def shortage(self):
        return "The merchant has been asked to enter the activation code."
