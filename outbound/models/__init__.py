from outbound.models.mail_accounts import MailAccount
from outbound.models.outgoing_requests import OutgoingRequest
from outbound.models.signed import Signed
from outbound.models.upstreams import Upstream

__all__ = ["OutgoingRequest", "MailAccount", "Signed", "Upstream"]
