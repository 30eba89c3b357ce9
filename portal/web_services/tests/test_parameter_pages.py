"""The page on which members choose the parameters of a web service."""

import pytest

from fulfillment.sources.web_service.models import RequestParameter
from fulfillment.sources.web_service.parameters import ParametersRefused, set_parameters
from portal.web_services.tests.conftest import PUBLIC, address, page_text, sent_parameters, service_page


def rows(service, **changes):
    """Form data of the parameters page: the current parameters with these changes."""
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


def save(manager, service, **changes):
    return manager.post(address("parameters", service), rows(service, **changes), follow=True)


def test_it_shows_the_whole_catalog_with_examples(manager, service):
    text = page_text(manager.get(address("parameters", service)))

    assert "Order=A0012345678&amp;Item=4711&amp;ID=PHOTO-PRO&amp;Quantity=2" in text
    assert "Subscription_period" in text and "P1Y" in text
    assert text.count("Contact support to add it") == 7
    assert 'name="Key_first_renew' not in text and 'name="referer7' not in text


def test_parameters_can_be_switched_on_and_off_renamed_and_reordered(manager, service):
    save(
        manager, service, Item__on=None, Order__name="order_no", Email__on="on", Email__position="1", ID__position="1"
    )

    assert list(sent_parameters(service).items()) == [
        ("ID", "ID"),
        ("Email", "Email"),
        ("order_no", "Order"),
        ("Quantity", "Quantity"),
    ]
    assert list(service.parameters.values_list("position", flat=True)) == [1, 2, 3, 4]
    assert "order_no=A0012345678" in service_page(manager, service)


def test_a_parameter_moved_down_comes_after_the_one_at_its_new_position(manager, service):
    save(manager, service, Order__position="3")

    assert list(sent_parameters(service)) == ["Item", "ID", "Order", "Quantity"]


def test_two_parameters_can_swap_names(manager, service):
    save(manager, service, Order__name="Item", Item__name="Order")

    assert sent_parameters(service) == {"Item": "Order", "Order": "Item", "ID": "ID", "Quantity": "Quantity"}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"Order__name": "Item"}, "Another parameter has this name."),
        ({"new__1__name": "Order", "new__1__value": "x"}, "Another parameter has this name."),
        ({"Order__name": "a&b"}, "Use only letters, digits"),
        ({"Order__name": "x" * 65}, "at most 64"),
        ({"Order__position": "0"}, "greater than or equal to 1"),
        ({"new__1__value": "x"}, "Enter a name."),
    ],
)
def test_invalid_parameters_are_rejected_and_nothing_is_saved(manager, service, changes, error):
    before = sent_parameters(service)

    response = save(manager, service, **changes)

    assert error in page_text(response) and "Nothing was saved" in page_text(response)
    assert sent_parameters(service) == before


def test_a_merchant_can_add_change_and_remove_constants(manager, service):
    save(manager, service, new__1__name="shop", new__1__value="7", new__1__position="1", new__2__name="empty")
    assert list(sent_parameters(service).items())[0] == ("shop", "7")
    assert "shop=7" in service_page(manager, service)
    pk = service.parameters.get(name="shop").pk

    save(manager, service, **{f"constant__{pk}__value": "8"})
    assert sent_parameters(service)["shop"] == "8"
    pk = service.parameters.get(name="shop").pk
    save(manager, service, **{f"constant__{pk}__remove": "on"})

    assert "shop" not in sent_parameters(service) and sent_parameters(service)["empty"] == ""


def test_a_secret_constant_is_saved_and_never_shown(manager, service):
    save(manager, service, new__1__name="token", new__1__value="s3cr3t-t0ken", new__1__is_secret="on")
    parameter = service.parameters.get(name="token")
    text = page_text(manager.get(address("parameters", service))) + service_page(manager, service)
    assert "token=••••" in text and "s3cr3t" not in text

    save(manager, service, **{f"constant__{parameter.pk}__name": "key"})
    assert sent_parameters(service)["key"] == "s3cr3t-t0ken"
    parameter = service.parameters.get(name="key")
    response = save(manager, service, **{f"constant__{parameter.pk}__is_secret": None})

    assert "Enter the value again" in page_text(response)
    assert "s3cr3t" not in page_text(response)
    assert service.parameters.get(name="key").is_secret


def test_saving_from_two_windows_loses_no_constants(manager, service):
    own = service.parameters.create(position=5, name="shop", constant="12")
    service.parameters.create(position=6, name="token", constant="s3cr3t", is_secret=True)
    second = rows(service, new__1__name="b", new__1__value="2", **{f"constant__{own.pk}__value": "13"})

    save(manager, service, new__1__name="a", new__1__value="1")
    manager.post(address("parameters", service), second)

    constants = service.parameters.filter(parameter="")
    saved = {constant.name: (constant.constant, constant.is_secret) for constant in constants}
    assert saved == {"shop": ("13", False), "token": ("s3cr3t", True), "a": ("1", False), "b": ("2", False)}


@pytest.mark.parametrize("name", ["Key_first_renew", "referer7", "referer12"])
def test_members_cant_change_parameters_that_support_adds(manager, service, name):
    forged = {f"{name}__on": "on", f"{name}__name": name, f"{name}__position": "1"}
    save(manager, service, **forged)
    assert name not in sent_parameters(service)

    RequestParameter.objects.create(service=service, parameter=name, name="old", position=5)
    text = page_text(manager.get(address("parameters", service)))
    assert "Contact support to change or remove it" in text and f'name="{name}' not in text
    # Members can't remove it, rename it or reuse its name.
    save(manager, service, **{f"{name}__on": None, f"{name}__name": "new", f"{name}__remove": "on"})
    refused = save(manager, service, Order__name="old")

    assert sent_parameters(service)["old"] == name and "new" not in sent_parameters(service)
    assert "Another parameter has this name." in page_text(refused)


def test_setting_restricted_parameters_directly_is_rejected(service):
    with pytest.raises(ParametersRefused, match="Only support staff"):
        set_parameters(service, [RequestParameter(parameter="Key_first_renew", name="x", position=1)])


def test_concurrent_saves_leave_one_set_of_parameters(make_service, in_threads, transactional_db):
    service = make_service(url=PUBLIC)

    def save(name):
        set_parameters(service, [RequestParameter(parameter="Order", name=name, position=1)])

    in_threads(save, ["one", "two"] * 5, threads=5)

    assert service.parameters.count() == 1
