"""The language of a merchant's e-mail templates: plain text with tags such as {KEY}.

What the tags stand for in a given order is fulfillment's affair (delivery/composition.py).
"""

import re
from difflib import get_close_matches

from django.core.exceptions import ValidationError

TAGS = {
    "KEY": "the activation codes, one a line; required",
    "PARENT_KEY": "renewals: the license of the subscription's first order",
    "ORDER_ID": "the order's number",
    "PROGRAM_NAME": "the product's name",
    "QUANTITY": "how many were bought",
    "PRICE_ALL": "the item's total price with its currency",
    "DATE": "the day of payment",
    "FULLNAME": "the customer's first and last name",
    "FNAME": "the customer's first name",
    "LNAME": "the customer's last name",
    "EMAIL": "the customer's e-mail address",
    "COMPANY": "the customer's company",
    "COUNTRY": "the customer's country",
    "ORDER_URL": "the link to the customer's order page",
    "INSTRUCTIONS": "what customers do with the activation codes, as the product says; else it stands after them",
}

# What differs between the products of an order. A paragraph with one of them is written once for each.
TAGS_OF_ITEM = {"KEY", "INSTRUCTIONS", "PARENT_KEY", "PROGRAM_NAME", "QUANTITY", "PRICE_ALL"}

# Whoever reads one of these has the license.
TAGS_OF_SECRETS = {"KEY", "PARENT_KEY", "ORDER_URL"}

TAG = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# What somebody meant to be one, such as { KEY }, {ORDER-ID} or {ИМЯ}.
LIKE_A_TAG = re.compile(r"\{ *([^\W\d][\w -]{0,39}?) *\}")


def validate_subject(template: str) -> None:
    refuse_unknown_tags(template)
    if secret := TAGS_OF_SECRETS.intersection(TAG.findall(template)):
        tag = min(secret)
        raise ValidationError(f"{{{tag}}} must not stand in the subject: subjects are shown and logged on the way.")
    if "{INSTRUCTIONS}" in template:
        raise ValidationError("{INSTRUCTIONS} may have many lines, and a subject has one.")


def validate_body(template: str) -> None:
    refuse_unknown_tags(template)
    if template and "{KEY}" not in template:
        raise ValidationError("The text lacks the tag {KEY}: the customer would get no activation code.")


def refuse_unknown_tags(template: str) -> None:
    """Raise ValidationError naming line and column of each tag that is not one of TAGS."""
    errors = []
    for match in LIKE_A_TAG.finditer(template):
        if match[0][1:-1] not in TAGS:
            line = template.count("\n", 0, match.start()) + 1
            column = match.start() - template.rfind("\n", 0, match.start())
            similar = get_close_matches(re.sub("[ -]", "_", match[1].upper()), TAGS, n=1)
            hint = f" Do you mean {{{similar[0]}}}?" if similar else ""
            errors.append(f"Line {line}, column {column}: there is no tag {match[0]}.{hint}")
    if errors:
        raise ValidationError(errors)


def fill(template: str, values: dict[str, str]) -> str:
    """Put values in the place of tags, in one pass: a tag inside a value stays what it is, a text."""
    return TAG.sub(lambda match: values.get(match[1], match[0]), template)
