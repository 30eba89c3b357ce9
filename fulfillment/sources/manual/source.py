from django.utils.translation import gettext, gettext_noop, ngettext
from django.utils.translation import gettext_lazy as _

from fulfillment.item_notices import CodeWanted, notify_item
from fulfillment.sources.base import Source


class ManualSource(Source):
    """A person at the merchant, who gets an e-mail and enters the codes (fulfillment.actions.enter_codes)."""

    code, name, origin = "manual", _("Manual"), _("entered by hand")
    immediate = True
    remedy = "codes"
    waiting_rank = 2
    waiting = gettext_noop("Being prepared by %(merchant)s.")

    @classmethod
    def describe_origin(cls, saved_by):
        return gettext("entered by {saved_by}").format(saved_by=saved_by) if saved_by else str(cls.origin)

    @property
    def choice(self):
        return gettext("Manual: we e-mail your team, and a person enters the codes")

    def for_test(self, order):
        return self

    def issue(self, item, units, *, attempt):
        notify_item(item, CodeWanted)
        return ()

    item_fix = (_("Enter codes"), "codes")

    def describe_stuck(self, orders):
        return ngettext(
            "{count:,} order waits for a person to enter codes",
            "{count:,} orders wait for a person to enter codes",
            orders,
        ).format(count=orders)

    def shortage(self):
        return gettext("Waiting for a person to enter the activation code.")
