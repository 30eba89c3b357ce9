from collections.abc import Callable

from django.db import IntegrityError, transaction
from django.forms import ModelForm


def save_once(form: ModelForm, write: Callable[[], object]) -> bool:
    """Call `write`; return whether it worked. After an IntegrityError, as on a second click, the form has errors."""
    try:
        with transaction.atomic():
            write()
    except IntegrityError:
        form.full_clean()
        return False
    return True
