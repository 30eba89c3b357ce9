"""The page on which members choose the parameters of a web service."""

import re

import pytest

from fulfillment.sources.web_service.models import RequestParameter
from fulfillment.sources.web_service.parameters import ParametersRefused, set_parameters
from portal.web_services.tests.conftest import PUBLIC, address, page_text, sent_parameters, service_page


def rows(service, *, order=None, without=(), do="", **changes):
    """Form data of the parameters page: the current parameters, perhaps in another order, with these changes."""
    saved = {parameter.parameter or f"constant-{parameter.pk}": parameter for parameter in service.parameters.all()}
    data: dict = {"known": list(saved), "row": [key for key in order or saved if key not in without], "do": do}
    for key, parameter in saved.items():
        if parameter.parameter in {"Key_first_renew", "referer7", "referer12"}:
            continue
        data[f"{key}-name"] = parameter.name
        if not parameter.parameter and not parameter.is_secret:
            data[f"{key}-value"] = parameter.constant
        if parameter.is_secret:
            data[f"{key}-is_secret"] = "on"
    changes = {name.replace("__", "-"): value for name, value in changes.items()}
    data["row"] += [
        key for key in dict.fromkeys(re.sub("-[a-z_]+$", "", name) for name in changes) if key not in data["row"]
    ]
    return {name: value for name, value in (data | changes).items() if value is not None}


def save(manager, service, **changes):
    return manager.post(address("parameters", service), rows(service, **changes), follow=True)


def listed(response):
    """The rows of the list, in order."""
    return re.findall(r'name="row" value="([^"]+)"', response.content.decode())


def test_it_shows_only_the_parameters_in_use(manager, service):
    response = manager.get(address("parameters", service))

    assert listed(response) == ["Order", "Item", "ID", "Quantity"]
    text = page_text(response)
    assert text.count("Contact support to add it") == 7
    assert 'name="Key_first_renew' not in text and 'value="add referer7"' not in text


def test_the_preview_is_the_request_that_the_console_shows(manager, service):
    service.parameters.create(position=5, name="token", constant="s3cr3t", is_secret=True)
    preview = page_text(manager.get(address("parameters", service))).partition('id="preview"')[2]
    shown = page_text(manager.get(address("console", service)))

    body = "Order=A0012345678&amp;Item=4711&amp;ID=PHOTO-PRO&amp;Quantity=1&amp;token=" + "%E2%80%A2" * 4
    for part in (body, "webhook-signature", "Idempotency-Key", "Keywell-Test", PUBLIC):
        assert part in preview and part in shown


def test_the_service_of_an_unusable_token_says_so_in_place_of_the_preview(manager, make_service):
    service = make_service(url=PUBLIC, login="bearer", password="")

    assert "is empty or has characters" in page_text(manager.get(address("parameters", service)))
    assert "is empty or has characters" in service_page(manager, service)


@pytest.mark.parametrize(
    ("do", "expected"),
    [
        ("add Email", ["Order", "Item", "ID", "Quantity", "Email"]),
        ("add constant", ["Order", "Item", "ID", "Quantity", "new-0"]),
        ("add Order", ["Order", "Item", "ID", "Quantity"]),
        ("add Key_first_renew", ["Order", "Item", "ID", "Quantity"]),
        ("add new-1000000", ["Order", "Item", "ID", "Quantity"]),
        ("remove Item", ["Order", "ID", "Quantity"]),
        ("remove Unit", ["Order", "Item", "ID", "Quantity"]),
        ("up ID", ["Order", "ID", "Item", "Quantity"]),
        ("up Order", ["Order", "Item", "ID", "Quantity"]),
        ("down Order", ["Item", "Order", "ID", "Quantity"]),
        ("down Quantity", ["Order", "Item", "ID", "Quantity"]),
        ("up", ["Order", "Item", "ID", "Quantity"]),
        ("show", ["Order", "Item", "ID", "Quantity"]),
    ],
)
def test_buttons_change_the_list_without_saving(manager, service, do, expected):
    response = save(manager, service, do=do, Order__name="order_no")

    assert listed(response) == expected
    assert "order_no=A0012345678" in page_text(response)
    assert list(sent_parameters(service)) == ["Order", "Item", "ID", "Quantity"]


def test_what_is_typed_is_kept_and_previewed(manager, service):
    typed = {
        "new__0__name": "shop",
        "new__0__value": "7",
        "new__1__name": "",
        "new__1__value": "x",
        "Order__name": "a&b",
    }
    response = save(manager, service, do="show", **typed)

    text = page_text(response)
    assert "shop=7" in text and 'value="a&amp;b"' in text and 'value="x"' in text
    assert "Nothing was saved" not in text and "errorlist" not in text


@pytest.mark.parametrize("do", ["show", ""])
def test_a_constant_without_a_value_field_is_empty(manager, service, do):
    posted = {"row": ["new-1"], "new-1-name": "x", "new-1-is_secret": "on", "do": do}

    assert manager.post(address("parameters", service), posted).status_code == (200 if do else 302)


def test_a_list_longer_than_the_page_can_make_is_cut(manager, service):
    response = manager.post(address("parameters", service), {"row": [f"new-{n}" for n in range(900)], "do": "show"})

    assert len(listed(response)) < 100


def test_parameters_are_found_by_name_or_meaning(manager, service):
    text = page_text(save(manager, service, do="show", find="E-MAIL"))
    assert re.findall('value="add ([^"]+)"', text) == ["constant", "Email"]
    assert "No parameter matches" in page_text(save(manager, service, do="show", find="<nothing>"))


def test_parameters_are_added_removed_renamed_and_reordered(manager, service):
    response = save(
        manager, service, order=["ID", "Email", "Order", "Quantity"], Order__name="order_no", Email__name=""
    )

    assert response.redirect_chain[0][0] == address("console", service)
    assert list(sent_parameters(service).items()) == [
        ("ID", "ID"),
        ("Email", "Email"),
        ("order_no", "Order"),
        ("Quantity", "Quantity"),
    ]
    assert list(service.parameters.values_list("position", flat=True)) == [1, 2, 3, 4]
    assert "order_no=A0012345678" in service_page(manager, service)


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
        ({f"new__{number}__name": f"c{number}" for number in range(21)}, "the limit of 20 constants"),
        ({"new__1__name": "", "new__1__value": "x"}, "Enter a name."),
    ],
)
def test_invalid_parameters_are_rejected_and_nothing_is_saved(manager, service, changes, error):
    before = sent_parameters(service)

    response = save(manager, service, **changes)

    assert error in page_text(response) and "Nothing was saved" in page_text(response)
    assert sent_parameters(service) == before


def test_a_merchant_can_add_change_and_remove_constants(manager, service):
    save(manager, service, new__1__name="shop", new__1__value="7", new__2__name="empty", new__3__name="")
    assert list(sent_parameters(service).items())[4:] == [("shop", "7"), ("empty", "")]
    assert "shop=7" in service_page(manager, service)
    pk = service.parameters.get(name="shop").pk

    save(manager, service, **{f"constant__{pk}__value": "8"})
    assert sent_parameters(service)["shop"] == "8"
    pk = service.parameters.get(name="shop").pk
    save(manager, service, without=[f"constant-{pk}"])

    assert "shop" not in sent_parameters(service) and sent_parameters(service)["empty"] == ""


def test_a_secret_constant_is_saved_and_never_shown(manager, service):
    save(manager, service, new__1__name="token", new__1__value="s3cr3t-t0ken", new__1__is_secret="on")
    parameter = service.parameters.get(name="token")
    text = page_text(manager.get(address("parameters", service))) + service_page(manager, service)
    assert "token=••••" in text and "s3cr3t" not in text
    assert "s3cr3t" not in page_text(
        save(manager, service, do="show", **{f"constant__{parameter.pk}__is_secret": None})
    )

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
    save(manager, service, **{f"{name}__name": name})
    assert name not in sent_parameters(service)

    RequestParameter.objects.create(service=service, parameter=name, name="old", position=5)
    text = page_text(manager.get(address("parameters", service)))
    assert "Contact support to change or remove it" in text and f'name="{name}' not in text
    # Members can move it, but can't remove it, rename it or reuse its name.
    save(manager, service, order=["Order", name, "Item", "ID", "Quantity"], **{f"{name}__name": "new"})
    assert list(sent_parameters(service)) == ["Order", "old", "Item", "ID", "Quantity"]
    assert name in listed(save(manager, service, do=f"remove {name}"))
    save(manager, service, without=[name])
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
