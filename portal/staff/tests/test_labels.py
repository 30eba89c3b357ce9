"""Every field of the admin's forms has a name, and a new row shows nothing that it doesn't have yet."""

from html.parser import HTMLParser

import pytest
from django.contrib import admin
from django.urls import reverse

from merchants.models import User

pytestmark = pytest.mark.django_db

UNNAMED = {"hidden", "submit", "button", "reset"}


class FieldCollector(HTMLParser):
    """Collects the fields with a name of their own, those without, and the ids that labels name."""

    def __init__(self):
        super().__init__()
        self.fields, self.labeled = {}, set()

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if tag == "label":
            self.labeled.add(values.get("for"))
        if tag in {"input", "select", "textarea"} and values.get("type") not in UNNAMED:
            self.fields[values.get("id") or values["name"]] = "aria-label" in values

    def without_name(self):
        return [name for name, is_named in self.fields.items() if not is_named and name not in self.labeled]


@pytest.fixture
def staff(client):
    client.force_login(User.objects.create_superuser("stella@keywell.example", "correct horse"))
    return client


def pages(staff, model):
    """The pages that add a row and change one, as far as staff may."""
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
    row = model.objects.first()
    addresses = [reverse(f"{name}_add"), *([reverse(f"{name}_change", args=[row.pk])] if row else [])]
    responses = [staff.get(address) for address in addresses]
    return [response.content.decode() for response in responses if response.status_code == 200]


@pytest.mark.parametrize("model", admin.site._registry, ids=lambda model: model._meta.label)
def test_every_field_has_a_name(staff, pay, make_product, model):
    pay(make_product(keys=1))
    for page in pages(staff, model):
        collector = FieldCollector()
        collector.feed(page)
        assert collector.without_name() == []
        assert "DatabaseDefault" not in page
