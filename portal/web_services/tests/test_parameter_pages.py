"""What a web service is told, as members choose it."""

import pytest

from fulfillment.sources.web_service.models import RequestParameter
from fulfillment.sources.web_service.parameters import ParametersRefused, set_parameters
from portal.web_services.tests.conftest import PUBLIC, address, said, sent, shown


def rows(service, **changes):
    """What the parameters' page posts: what there is, but for these changes."""
    data: dict = {}
    for parameter in service.parameters.all():
        prefix = parameter.parameter or f"constant-{parameter.pk}"
        data |= {f"{prefix}-on": "on", f"{prefix}-name": parameter.name, f"{prefix}-position": parameter.position}
        if not parameter.parameter and not parameter.is_secret:
            data[f"{prefix}-value"] = parameter.constant
        if parameter.is_secret:
            data[f"{prefix}-is_secret"] = "on"
    data |= {name.replace("__", "-"): value for name, value in changes.items()}
    return {name: value for name, value in data.items() if value is not None}


def save(page, service, **changes):
    return page.post(address("parameters", service), rows(service, **changes), follow=True)


def test_the_whole_catalog_is_shown_with_examples(page, service):
    text = said(page.get(address("parameters", service)))

    assert "Order=A0012345678&amp;Item=4711&amp;ID=PHOTO-PRO&amp;Quantity=2" in text
    assert "Subscription_period" in text and "P1Y" in text
    assert text.count("Contact support to add it") == 7
    assert 'name="Key_first_renew' not in text and 'name="referer7' not in text


def test_parameters_are_switched_on_off_renamed_and_ordered(page, service):
    save(page, service, Item__on=None, Order__name="order_no", Email__on="on", Email__position="1", ID__position="1")

    assert list(sent(service).items()) == [
        ("ID", "ID"),
        ("Email", "Email"),
        ("order_no", "Order"),
        ("Quantity", "Quantity"),
    ]
    assert list(service.parameters.values_list("position", flat=True)) == [1, 2, 3, 4]
    assert "order_no=A0012345678" in shown(page, service)


def test_one_that_is_moved_down_comes_after_the_one_whose_place_it_takes(page, service):
    save(page, service, Order__position="3")

    assert list(sent(service)) == ["Item", "ID", "Order", "Quantity"]


def test_two_swap_their_names(page, service):
    save(page, service, Order__name="Item", Item__name="Order")

    assert sent(service) == {"Item": "Order", "Order": "Item", "ID": "ID", "Quantity": "Quantity"}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"Order__name": "Item"}, "Another parameter has this name."),
        ({"new__1__name": "Order", "new__1__value": "x"}, "Another parameter has this name."),
        ({"Order__name": "a&b"}, "Use only letters, digits"),
        ({"Order__name": "x" * 65}, "at most 64"),
        ({"Order__position": "0"}, "greater than or equal to 1"),
        ({"new__1__value": "x"}, "Enter a name."),
    ],
)
def test_what_cannot_be_sent_is_refused_and_nothing_saved(page, service, changes, why):
    before = sent(service)

    response = save(page, service, **changes)

    assert why in said(response) and "Nothing was saved" in said(response)
    assert sent(service) == before


def test_a_merchant_adds_changes_and_removes_texts_of_their_own(page, service):
    save(page, service, new__1__name="shop", new__1__value="7", new__1__position="1", new__2__name="empty")
    assert list(sent(service).items())[0] == ("shop", "7")
    assert "shop=7" in shown(page, service)
    pk = service.parameters.get(name="shop").pk

    save(page, service, **{f"constant__{pk}__value": "8"})
    assert sent(service)["shop"] == "8"
    pk = service.parameters.get(name="shop").pk
    save(page, service, **{f"constant__{pk}__remove": "on"})

    assert "shop" not in sent(service) and sent(service)["empty"] == ""


def test_a_secret_text_is_kept_and_never_shown(page, service):
    save(page, service, new__1__name="token", new__1__value="s3cr3t-t0ken", new__1__is_secret="on")
    parameter = service.parameters.get(name="token")
    text = said(page.get(address("parameters", service))) + shown(page, service)
    assert "token=••••" in text and "s3cr3t" not in text

    save(page, service, **{f"constant__{parameter.pk}__name": "key"})
    assert sent(service)["key"] == "s3cr3t-t0ken"
    parameter = service.parameters.get(name="key")
    response = save(page, service, **{f"constant__{parameter.pk}__is_secret": None})

    assert "Enter the value again" in said(response)
    assert "s3cr3t" not in said(response)
    assert service.parameters.get(name="key").is_secret


def test_a_page_that_is_open_in_two_windows_loses_no_text_of_either(page, service):
    own = service.parameters.create(position=5, name="shop", constant="12")
    service.parameters.create(position=6, name="token", constant="s3cr3t", is_secret=True)
    second = rows(service, new__1__name="b", new__1__value="2", **{f"constant__{own.pk}__value": "13"})

    save(page, service, new__1__name="a", new__1__value="1")
    page.post(address("parameters", service), second)

    constants = service.parameters.filter(parameter="")
    kept = {one.name: (one.constant, one.is_secret) for one in constants}
    assert kept == {"shop": ("13", False), "token": ("s3cr3t", True), "a": ("1", False), "b": ("2", False)}


@pytest.mark.parametrize("name", ["Key_first_renew", "referer7", "referer12"])
def test_what_support_adds_is_beyond_members(page, service, name):
    forged = {f"{name}__on": "on", f"{name}__name": name, f"{name}__position": "1"}
    save(page, service, **forged)
    assert name not in sent(service)

    RequestParameter.objects.create(service=service, parameter=name, name="old", position=5)
    text = said(page.get(address("parameters", service)))
    assert "Contact support to change or remove it" in text and f'name="{name}' not in text
    # Neither taken away, nor renamed, nor its name taken.
    save(page, service, **{f"{name}__on": None, f"{name}__name": "new", f"{name}__remove": "on"})
    refused = save(page, service, Order__name="old")

    assert sent(service)["old"] == name and "new" not in sent(service)
    assert "Another parameter has this name." in said(refused)


def test_the_rule_holds_beneath_the_page(service):
    with pytest.raises(ParametersRefused, match="Only support staff"):
        set_parameters(service, [RequestParameter(parameter="Key_first_renew", name="x", position=1)])


def test_two_who_save_at_the_same_time_leave_one_of_both(make_service, in_threads, transactional_db):
    service = make_service(url=PUBLIC)

    def save(name):
        set_parameters(service, [RequestParameter(parameter="Order", name=name, position=1)])

    in_threads(save, ["one", "two"] * 5, threads=5)

    assert service.parameters.count() == 1
