from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.forms import ModelForm


def save_once(form: ModelForm, write: Callable[[], object]) -> bool:
    """Write what the form says, unless the same is written at this moment, as by a second click: then it says so."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        form.full_clean()
        return False
    return True
