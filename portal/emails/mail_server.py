from django.conf import settings
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext
from django.views.decorators.http import require_http_methods

from outbound.mail import MailError, compose_plain, send_test_mail
from outbound.models import MailAccount
from portal.access import Role, member_required
from portal.confirm import Confirmation, Question, confirmed
from portal.emails.forms import MailServerForm


@member_required(Role.MANAGER)
@require_http_methods(["GET", "HEAD", "POST"])
def mail_server(request) -> HttpResponse:
    account = MailAccount.objects.for_merchant(request.merchant)
    form = MailServerForm(request.merchant, account, request.POST or None)
    if form.is_valid() and send_test(request, form):
        form.save_by(str(request.user))
        messages.success(
            request, gettext("Mail server saved. We sent a test e-mail to {email}.").format(email=request.user.email)
        )
        return redirect("mail-server")

    context = {"section": "emails", "account": account, "form": form}
    if account and account.provider:
        path = reverse("tracking-of-merchant", args=[request.merchant.slug, account.provider])
        context["tracking_url"] = settings.BASE_URL + path
    return render(request, "portal/emails/mail_server.html", context)


def send_test(request: HttpRequest, form: MailServerForm) -> bool:
    """Send a test e-mail to the user through the entered server. If it fails, add the reason to the form."""
    account = form.instance
    context = {"account": account, "merchant": account.merchant}
    mail = compose_plain("emails/mail_server_test.txt", [request.user.email], context)  # type: ignore[union-attr]
    try:
        send_test_mail(mail, account.merchant, account)
    except MailError as error:
        form.add_error(
            None, gettext("The test e-mail failed, so nothing was saved. {error}").format(error=error)[:1000]
        )
        return False
    return True


@member_required(Role.MANAGER)
@confirmed
def remove(request) -> Confirmation:
    account = get_object_or_404(MailAccount, merchant=request.merchant)
    yield Question(
        title=gettext("Switch to Keywell’s mail server?"),
        text=gettext(
            "E-mails to your customers will no longer go through {account}. Its password will be deleted."
        ).format(account=account),
        button=gettext("Switch server"),
        danger=True,
        section="emails",
        back="mail-server",
    )
    account.delete()
    return gettext("E-mails to your customers now go through Keywell’s mail server.")
