"""Saves codes in the shop's order, so that its thank-you page, account page and e-mails can show them."""

from django.utils.translation import gettext

from orders.models import Order, OrderItem
from shops.changes import Parked
from shops.kinds import KINDS
from shops.models import WriteBack
from work.attempts import Failure, NotNow, Policy


class WriteBackPolicy(Policy[WriteBack]):
    model = WriteBack
    related = ("connection__merchant", "order")

    def attempt(self, row):
        order = row.order
        if order.status != Order.Status.PAID:
            row.end(reason=gettext("The order is no longer paid."))
            return
        if any(units for units in OrderItem.find_missing_units(order.items.all()).values()):
            raise NotNow(gettext("The order doesn’t have all its codes yet."))
        kind = KINDS[row.connection.kind](row.connection)
        try:
            kind.write_back(row.reference, order, [code.code for code in order.codes()])
        except Parked as problem:
            raise Failure(str(problem), permanent=True) from problem
        row.end(reason="")


write_back = WriteBackPolicy().run
