from outbound.models.callouts import Callout
from outbound.models.mail_accounts import MailAccount
from outbound.models.signed import Signed
from outbound.models.upstreams import Upstream

__all__ = ["Callout", "MailAccount", "Signed", "Upstream"]
