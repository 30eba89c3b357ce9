"""Statements written in SQL insert complete rows: a new column can't be forgotten in them."""

import re
from pathlib import Path

import pytest
from django.apps import apps
from django.db.models import NOT_PROVIDED

ROOT = Path(__file__).resolve().parent.parent.parent
INSERT = re.compile(r"INSERT INTO (\w+)(?: AS \w+)? \(([^)]*)\)")
# Imported keys are in stock: nothing has happened to them.
EMPTY = {"pools_licensekey": {"item_id", "unit", "issued_at", "withdrawn_at"}}
MODELS = {model._meta.db_table: model for model in apps.get_models()}


def inserts():
    for path in sorted(ROOT.glob("[a-z]*/**/*.py")):
        if not {"migrations", "tests", "benchmarks", "faults"} & set(path.parts):
            for table, columns in INSERT.findall(path.read_text()):
                yield pytest.param(table, re.split(r",\s*", columns.strip()), id=f"{path.relative_to(ROOT)} {table}")


def missing_columns(model, named):
    return {
        field.column
        for field in model._meta.concrete_fields
        if not (field.primary_key or field.generated or field.db_default is not NOT_PROVIDED)
    } - set(named)


@pytest.mark.parametrize(("table", "named"), list(inserts()))
def test_an_insert_names_every_column_without_a_default_of_the_database(table, named):
    model = MODELS[table]
    columns = {field.column for field in model._meta.concrete_fields if not field.generated}

    assert missing_columns(model, named) == EMPTY.get(table, set())
    assert set(named) <= columns and len(named) == len(set(named))


def test_the_hot_path_is_among_them():
    tables = {parameter.values[0] for parameter in inserts()}

    assert {"orders_order", "orders_orderitem", "orders_activationcode", "delivery_delivery"} <= tables
    assert missing_columns(MODELS["orders_otheritem"], ["order_id"])
