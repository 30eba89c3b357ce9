"""A sent e-mail can be viewed as the customer got it, with codes and link masked."""

import re

import pytest

from delivery import resending
from delivery.models import Delivery
from delivery.recomposition import recomposable, recompose
from fulfillment.actions import enter_codes, replace
from fulfillment.personal_data import PersonalData
from merchants.models import EmailTemplate
from orders.models import Order
from orders.services import correct_email, renew_link, revoke_link

pytestmark = pytest.mark.django_db


def masked(order, text):
    """The text of an e-mail, with the order's codes and links masked."""
    for code in order.codes():
        text = text.replace(code.code, f"••••{code.hint}")
    return re.sub(r"/o/[^/\"]+/", "/o/••••/", text)


def check_same(message, sent, order):
    assert (message.subject, message.to, message.from_email) == (sent.subject, sent.to, sent.from_email)
    assert message.body == masked(order, sent.body)
    assert message.alternatives[0][0] == masked(order, sent.alternatives[0][0])


@pytest.mark.parametrize("language", ["en", "de"])
def test_it_is_the_email_that_was_sent(pay, make_product, work, mailoutbox, language):
    pay(make_product(name="Pro"), make_product(keys=1, name="Lite"), quantity=2, language=language)
    work()
    order, delivery = Order.objects.get(), Delivery.objects.get()
    (sent,) = mailoutbox

    # What happens afterward doesn't change it.
    correct_email(order, "right@example.com", actor="Sam")
    renew_link(order, actor="Sam")
    EmailTemplate.objects.create(merchant=order.merchant, language=language, body="New text {KEY}")

    check_same(recompose(delivery), sent, order)


def test_it_uses_the_text_of_that_time(pay, product, merchant, work, mailoutbox):
    EmailTemplate.objects.create(merchant=merchant, language="en", subject="Old", body="Old text {KEY} {ORDER_URL}")
    pay(product)
    work()
    EmailTemplate.objects.create(merchant=merchant, language="en", subject="New", body="New text {KEY}")

    message = recompose(Delivery.objects.get())

    check_same(message, mailoutbox[0], Order.objects.get())
    assert message.subject == "Old" and "Old text ••••" in message.body


def test_it_counts_the_licenses_of_that_time(pay, make_product, work, mailoutbox):
    pay(make_product(keys=1), quantity=2)
    work()
    order, delivery = Order.objects.get(), Delivery.objects.get()
    enter_codes(order.items.get(), {2: "SECOND"}, actor="Sam")
    work()

    message = recompose(delivery)

    assert "This is license 1 of 2." in message.body and "1 of 2\n" in message.body
    assert "as soon as they’re ready" in message.body
    assert "as soon as they’re ready" not in recompose(Delivery.objects.latest("pk")).body
    assert len(mailoutbox) == 2


def test_it_shows_a_code_that_was_replaced_later(pay, product, work, mailoutbox):
    pay(product)
    work()
    order = Order.objects.get()
    code = order.codes().get()
    replacement, _ = replace(code, actor="Sam")
    work()
    first, second = Delivery.objects.order_by("pk")

    assert f"••••{code.hint}" in recompose(first).body
    assert f"••••{replacement.hint}" in recompose(second).body and f"ending in {code.hint}" in recompose(second).body


def test_a_revoked_link_is_missing_only_from_later_emails(pay, product, work):
    pay(product)
    work()
    order = Order.objects.get()
    revoke_link(order, actor="Sam")
    resending.resend_all(order, actor="Sam")
    work()
    first, second = Delivery.objects.order_by("pk")

    assert "/o/••••/" in recompose(first).body
    assert "/o/" not in recompose(second).body


def test_a_renewal_shows_the_masked_license_of_its_parent(pay, product, make_payment, merchant, work):
    EmailTemplate.objects.create(merchant=merchant, language="en", body="{KEY} renews {PARENT_KEY}")
    for number, parent in (("P1", None), ("R1", "P1")):
        subscription = {"id": "S-77", "type": "AR", "period": "P1Y", "parent_order": parent}
        item = make_payment(product)["items"][0] | {"subscription": subscription}
        pay(product, order=number, items=[item])
        work()
    codes = {number: Order.objects.get(number=number).codes().get() for number in ("P1", "R1")}

    body = recompose(Delivery.objects.get(order__number="R1")).body

    assert f"••••{codes['R1'].hint} renews ••••{codes['P1'].hint}" in body


def test_no_code_is_decrypted_and_nothing_is_saved(pay, product, work, django_assert_max_num_queries):
    pay(product)
    work()
    order, delivery = Order.objects.get(), Delivery.objects.get()

    with django_assert_max_num_queries(6) as queries:
        recompose(delivery)

    assert not any(query["sql"].startswith(("UPDATE", "INSERT")) for query in queries)
    assert not any('"orders_activationcode"."code"' in query["sql"] for query in queries)
    assert Order.objects.get().link_token == order.link_token


def test_only_what_was_sent_can_be_viewed(pay, product, work):
    pay(product)
    assert not recomposable(Delivery.objects.all())

    work()

    assert recomposable(Delivery.objects.all())


def test_after_erasing_the_customer_it_cannot_be_viewed(pay, product, work, support):
    pay(product, order="A1")
    work()
    delivery = Delivery.objects.get()
    pages = [f"/orders/A1/emails/{delivery.pk}/", f"/orders/A1/emails/{delivery.pk}/frame/"]
    assert [support.get(page).status_code for page in pages] == [200, 200]
    assert pages[0] in support.get("/orders/A1/").content.decode()

    PersonalData("ada@example.com").erase(actor="Stella")

    assert [support.get(page).status_code for page in pages] == [404, 404]
    assert pages[0] not in support.get("/orders/A1/").content.decode()


def test_an_address_that_was_corrected_is_erased_from_its_email(pay, product, work, support):
    pay(product, order="A1")
    work()
    delivery = Delivery.objects.get()
    correct_email(Order.objects.get(), "right@example.com", actor="Sam")

    PersonalData("ada@example.com").erase(actor="Stella")

    assert support.get(f"/orders/A1/emails/{delivery.pk}/").status_code == 404


def test_the_email_of_another_order_is_a_404(pay, product, work, support):
    pay(product, order="A1")
    pay(product, order="B2")
    work()
    other = Delivery.objects.get(order__number="B2")

    assert support.get(f"/orders/A1/emails/{other.pk}/").status_code == 404
    assert support.get(f"/orders/A1/emails/{other.pk}/frame/").status_code == 404


def test_it_is_shown_in_a_frame_without_scripts(pay, product, work, support):
    pay(product, order="A1")
    work()
    code = Order.objects.get().codes().get()
    page = f"/orders/A1/emails/{Delivery.objects.get().pk}/"

    frame = support.get(f"{page}frame/")

    assert f"••••{code.hint}" in frame.content.decode() and code.code not in frame.content.decode()
    assert "script-src 'none'" in frame["Content-Security-Policy"] and frame["X-Frame-Options"] == "SAMEORIGIN"
    assert f'src="{page}frame/"' in support.get(page).content.decode()
