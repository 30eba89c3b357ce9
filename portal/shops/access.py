"""Which shops a member can see: those of their merchant that aren't removed."""

from portal.access import scoped
from shops.kinds import KINDS
from shops.models import Connection

SHOPS = Connection.objects.kept().filter(kind__in=list(KINDS)).with_health()

for_shop = scoped(SHOPS)
