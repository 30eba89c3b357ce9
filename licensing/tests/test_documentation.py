"""Run the calls of the section “Transfer licenses” in docs/netlicensing.md."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from licensing.models import LicenseTemplate, LicensingProduct, ProductModule, Role, Token, VendorLogin
from runtime.tests.programs import need

PAGE = (Path(__file__).parents[2] / "docs/netlicensing.md").read_text()
SECTION = PAGE.partition("## Transfer licenses")[2].partition("\n## ")[0]
# Each command with its response. The first block of the section sets the environment, which `curl` below replaces.
CALLS = re.findall(r"```sh\n(curl .*?)```\n\n```\w+\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def curl(live_server, merchant):
    need("curl")
    login, password = VendorLogin.objects.create_login(merchant, "shop")
    key = Token.objects.create(merchant=merchant, token_type=Token.Type.APIKEY, api_key_role=Role.LICENSEE)
    environment = os.environ | {
        "NETLICENSING": f"{live_server}/core/v2/rest",
        "LOGIN": f"{login.user_name}:{password}",
        "API_KEY": key.number,
    }
    return lambda command: (
        subprocess.run(
            ["bash", "-c", command], env=environment, capture_output=True, text=True, timeout=30, check=True
        ).stdout
    )


@pytest.fixture
def offer(merchant):
    product = LicensingProduct.objects.create(merchant=merchant, number="PQVJQ5F7H", name="Photo")
    module = ProductModule.objects.create(
        merchant=merchant, product=product, number="M1", name="Updates", licensing_model="Subscription"
    )
    LicenseTemplate.objects.create(
        merchant=merchant,
        module=module,
        number="EUJOJ74GS",
        name="A year of updates",
        license_type="TIMEVOLUME",
        time_volume=1,
        time_volume_period="YEAR",
        price=29,
        currency="EUR",
    )


def normalized(answer):
    """A response without whitespace between elements, and with a placeholder for every time."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", re.sub(r">\s+<", "><", answer.strip()))


@pytest.mark.django_db(transaction=True)
def test_each_documented_call_gets_the_documented_response(curl, offer):
    assert len(CALLS) == 7

    for command, answer in CALLS:
        assert normalized(curl(command)) == normalized(answer), command
