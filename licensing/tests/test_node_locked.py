"""The licensing model NodeLocked: a limited number of computers, each identified by a secret."""

import pytest

from licensing.models import License, Licensee
from licensing.tests.conftest import info
from licensing.transfer import transfer

pytestmark = pytest.mark.django_db


@pytest.fixture
def make_nodes(make_module, make_template, make_licensee, make_license):
    """Create a licensee with licenses. Each is a number of computers, followed by the secrets that are known."""

    def make(mode, *licenses):
        module = make_module("NodeLocked", number="M1", node_secret_mode=mode)
        template = make_template("QUANTITY", module=module, quantity=1)
        licensee = make_licensee()
        for quantity, *secrets in licenses:
            properties = {f"nodeSecret{number}": secret for number, secret in enumerate(secrets)}
            make_license(licensee, template, quantity=quantity, properties=properties)
        return licensee

    return make


@pytest.fixture
def start(validate):
    return lambda licensee, secret: validate(licensee, productModuleNumber0="M1", nodeSecret0=secret)["valid"]


def secrets(licensee):
    return [license.properties for license in licensee.licenses.all()]


def test_only_predefined_secrets_are_valid(start, make_nodes):
    licensee = make_nodes("PREDEFINED", (2, "one", "two"), (5, "three"))

    assert [start(licensee, secret) for secret in ("one", "two", "three", "four", "")] == ["true"] * 3 + ["false"] * 2
    assert secrets(licensee) == [{"nodeSecret0": "one", "nodeSecret1": "two"}, {"nodeSecret0": "three"}]


def test_new_secrets_are_saved_while_seats_are_free(start, make_nodes):
    licensee = make_nodes("CLIENT", (1,), (2, "known"))

    answers = [start(licensee, secret) for secret in ("known", "new", "newer", "newest", "new", "")]

    assert answers == ["true", "true", "true", "false", "true", "false"]
    assert secrets(licensee) == [{"nodeSecret0": "new"}, {"nodeSecret0": "known", "nodeSecret1": "newer"}]


def test_deleting_a_secret_frees_its_seat(start, make_nodes, api):
    licensee = make_nodes("CLIENT", (1,))
    start(licensee, "old computer")

    api.post(f"license/{licensee.licenses.get().number}", nodeSecret0="")

    assert (start(licensee, "new computer"), start(licensee, "old computer")) == ("true", "false")


def test_the_quota_is_a_property_of_the_license_or_else_of_its_template(start, make_nodes):
    licensee = make_nodes("CLIENT", (1,))
    license = licensee.licenses.get()
    license.template.properties = {"quota": "2"}
    license.template.save()
    assert [start(licensee, secret) for secret in "abcd"] == ["true", "true", "false", "false"]

    license.refresh_from_db()
    license.properties["quota"] = "3"
    license.save()

    assert [start(licensee, secret) for secret in "abcd"] == ["true", "true", "true", "false"]


def test_nothing_is_saved_without_a_secret(validate, make_nodes):
    licensee = make_nodes("CLIENT", (1,))

    assert validate(licensee)["valid"] == "false"
    assert secrets(licensee) == [{}]


def test_inactive_licenses_do_not_count(start, make_nodes):
    licensee = make_nodes("CLIENT", (5, "known"))
    License.objects.update(active=False)

    assert (start(licensee, "known"), start(licensee, "new")) == ("false", "false")


def test_it_rejects_a_secret_that_is_too_long_without_repeating_it(with_key, make_nodes):
    secret = "x" * 1001
    licensee = make_nodes("CLIENT", (1,))

    form = {"productModuleNumber0": "M1", "nodeSecret0": secret}
    response = with_key().post(f"licensee/{licensee.number}/validate", **form)

    assert (response.status_code, info(response)[0]) == (400, "MalformedRequestException")
    assert "nodeSecret0" in info(response)[1]
    assert secret not in info(response)[1]


def test_saved_secrets_move_with_the_license(start, make_nodes, make_licensee):
    source, target = make_nodes("CLIENT", (1,)), make_licensee()
    start(source, "computer")
    Licensee.objects.filter(pk=source.pk).update(marked_for_transfer=True)

    transfer(target, source, actor="test")

    assert (start(target, "computer"), start(target, "another"), start(source, "computer")) == (
        "true",
        "false",
        "false",
    )


@pytest.mark.parametrize(
    ("total", "taken", "level"), [(0, 0, "RED"), (5, 3, "GREEN"), (5, 5, "YELLOW"), (10, 8, "YELLOW"), (10, 10, "RED")]
)
def test_it_warns_when_few_seats_are_left(validate, make_nodes, total, taken, level):
    licensee = make_nodes("CLIENT", (total, *map(str, range(taken))))

    assert validate(licensee)["warningLevel"] == level


@pytest.mark.django_db(transaction=True)
def test_of_sixteen_concurrent_computers_only_five_get_a_seat(in_threads, start, make_nodes):
    licensee = make_nodes("CLIENT", (2,), (3,))

    answers = in_threads(lambda number: start(licensee, f"computer {number}"), range(16), threads=16)

    assert sorted(answers) == ["false"] * 11 + ["true"] * 5
    assert sorted(map(len, secrets(licensee))) == [2, 3]
