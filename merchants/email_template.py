"""The language of a merchant's e-mail templates: plain text with tags such as {KEY}.

delivery/composition.py supplies the values of the tags for an order.
"""

import re
from difflib import get_close_matches

from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

TAGS = {
    "KEY": _("the activation codes, one per line; required"),
    "PARENT_KEY": _("for renewals, the license of the subscription’s first order"),
    "ORDER_ID": _("the order’s number"),
    "PROGRAM_NAME": _("the product’s name"),
    "QUANTITY": _("the quantity bought"),
    "PRICE_ALL": _("the item’s total price with its currency"),
    "DATE": _("the payment date"),
    "FULLNAME": _("the customer’s first and last name"),
    "FNAME": _("the customer’s first name"),
    "LNAME": _("the customer’s last name"),
    "EMAIL": _("the customer’s e-mail address"),
    "COMPANY": _("the customer’s company"),
    "COUNTRY": _("the customer’s country"),
    "ORDER_URL": _("the link to the customer’s order page"),
    "INSTRUCTIONS": _("the product’s instructions; without this tag they follow the activation codes"),
}

# These differ between the items of an order. A paragraph that contains one is repeated for each item.
ITEM_TAGS = {"KEY", "INSTRUCTIONS", "PARENT_KEY", "PROGRAM_NAME", "QUANTITY", "PRICE_ALL"}

# Anyone who reads one of these has the license.
SECRET_TAGS = {"KEY", "PARENT_KEY", "ORDER_URL"}

TAG = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
# A likely misspelled tag, such as { KEY }, {ORDER-ID} or {ИМЯ}.
LIKE_A_TAG = re.compile(r"\{ *([^\W\d][\w -]{0,39}?) *\}")


def validate_subject(template: str) -> None:
    refuse_unknown_tags(template)
    if secret := SECRET_TAGS.intersection(TAG.findall(template)):
        tag = min(secret)
        raise ValidationError(
            gettext("The subject can’t contain {{{tag}}}: mail servers log subjects.").format(tag=tag)
        )
    if "{INSTRUCTIONS}" in template:
        raise ValidationError(gettext("The subject can’t contain {INSTRUCTIONS}, which can have several lines."))


def validate_body(template: str) -> None:
    refuse_unknown_tags(template)
    if template and "{KEY}" not in template:
        raise ValidationError(gettext("Add the tag {KEY}. Without it, customers get no activation code."))


def refuse_unknown_tags(template: str) -> None:
    """Raise ValidationError with the line and column of each tag that isn't in TAGS."""
    errors = []
    for match in LIKE_A_TAG.finditer(template):
        if match[0][1:-1] not in TAGS:
            line = template.count("\n", 0, match.start()) + 1
            column = match.start() - template.rfind("\n", 0, match.start())
            similar = get_close_matches(re.sub("[ -]", "_", match[1].upper()), TAGS, n=1)
            text = gettext("Line {line}, column {column}: unknown tag {tag}.")
            if similar:
                text = gettext("Line {line}, column {column}: unknown tag {tag}. Did you mean {similar}?")
            errors.append(
                text.format(line=line, column=column, tag=match[0], similar=f"{{{similar[0]}}}" if similar else "")
            )
    if errors:
        raise ValidationError(errors)


def fill(template: str, values: dict[str, str]) -> str:
    """Replace tags with values in a single pass, so a tag inside a value isn't expanded."""
    return TAG.sub(lambda match: values.get(match[1], match[0]), template)
