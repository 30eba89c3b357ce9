"""Several machines: any of their processes may die, and the previous version may still run on the new schema."""

import subprocess

import pytest

from runtime.installation import new_vault_key
from runtime.tests.groups import Group, Shop, cluster
from runtime.tests.installation import PROJECT
from runtime.tests.programs import need

# The last commit of version 0.1.0.
PREVIOUS = "3283596"


@pytest.fixture
def shared():
    with cluster() as shared:
        yield shared


@pytest.mark.installation
def test_when_a_machine_dies_its_payments_are_accepted_by_another(shared):
    shared.fill(200)
    first, second = groups = [Group(shared, "a"), Group(shared, "b")]
    for group in groups:
        group.start()
    shop = Shop(shared, groups)
    try:
        shop.pay_all("g", 150, then={50: [lambda: first.kill("worker"), lambda: second.kill("web")]})

        shared.check("g", 150)
    finally:
        for group in groups:
            group.stop()


@pytest.mark.installation
def test_the_previous_version_runs_on_the_new_schema_until_the_new_one_takes_over(shared, tmp_path):
    archive = subprocess.run([need("git"), "archive", PREVIOUS], cwd=PROJECT, capture_output=True, check=True).stdout
    previous = tmp_path / "previous"
    previous.mkdir()
    subprocess.run(["tar", "--extract", "--directory", previous], input=archive, check=True)
    shared.fill(200, code=previous)
    old, new = Group(shared, "old", code=previous), Group(shared, "new")
    old.start()
    shop = Shop(shared, [old])

    def switch() -> None:
        new.start()
        shop.ports[:] = [new.port]
        old.stop()

    try:
        shop.pay_all("u", 150, then={20: [lambda: shared.manage("migrate")], 80: [switch]})

        shared.check("u", 150)
        assert not [status for status in shop.statuses if status >= 500], shop.statuses
    finally:
        old.stop()
        new.stop()


@pytest.mark.installation
def test_the_vault_key_is_rotated_while_payments_arrive(shared):
    """In the steps of docs/operating.md, one machine after the other."""
    shared.fill(200)
    old, new = shared.settings["VAULT_KEYS"], new_vault_key()
    groups = [Group(shared, "a"), Group(shared, "b")]

    def restart_all(keys: str) -> None:
        for group in groups:
            group.restart(VAULT_KEYS=keys)
        shared.settings["VAULT_KEYS"] = keys

    for group in groups:
        group.start()
    shop = Shop(shared, groups)
    try:
        steps = {
            20: [lambda: restart_all(f"{old},{new}")],
            50: [lambda: restart_all(f"{new},{old}")],
            80: [lambda: shared.manage("rotate_keys")],
            110: [lambda: restart_all(new)],
        }
        shop.pay_all("r", 150, then=steps)

        shared.check("r", 150)
    finally:
        for group in groups:
            group.stop()
