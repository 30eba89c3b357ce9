"""The transfer of docs/netlicensing.md, call by call as it stands there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from licensing.models import LicenseTemplate, LicensingProduct, ProductModule, Role, Token, VendorLogin

PAGE = (Path(__file__).parents[2] / "docs/netlicensing.md").read_text()
SECTION = PAGE.partition("## Transfer licenses")[2].partition("\n## ")[0]
# Each command with its answer. The first block says where to and as whom, which is ours to say here.
CALLS = re.findall(r"```sh\n(curl .*?)```\n\n```\w+\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
def curl(live_server, merchant):
    if not shutil.which("curl"):
        assert not os.environ.get("CI"), "curl is missing."
        pytest.skip("curl is missing.")
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


def shape(answer):
    """An answer as the page has it: without breaks between elements, and any time like any other."""
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", re.sub(r">\s+<", "><", answer.strip()))


@pytest.mark.django_db(transaction=True)
def test_each_call_is_answered_as_the_page_says(curl, offer):
    assert len(CALLS) == 7

    for command, answer in CALLS:
        assert shape(curl(command)) == shape(answer), command
