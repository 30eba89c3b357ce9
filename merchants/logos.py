"""Logos that merchants upload. We re-encode every image, so we never serve anything but its pixels.

A small file can take minutes and gigabytes to decode. So merchants/decoder.py decodes it in a process with limits, and
only one runs at a time in the whole installation: uploads use at most one web process and one CPU.
"""

import hashlib
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from django.core.exceptions import ValidationError
from django.utils.translation import gettext

from merchants.decoder import TOO_LARGE, UNREADABLE
from merchants.models import Logo
from work.locks import advisory_lock

MAX_BYTES = 2 * 1024 * 1024
DECODER_TIMEOUT = 10  # seconds; more than its CPU time, because it runs at low priority
DECODER = Path(__file__).with_name("decoder.py")


def draw_logo(file: BinaryIO) -> Logo:
    """Return the image as an unsaved Logo, scaled down if necessary. Raises ValidationError if it isn't an image."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValidationError(gettext("The image is larger than 2 MB."))
    with _one_at_a_time():
        image = _draw(content)
    width, height = struct.unpack(">II", image[16:24])  # from the PNG header
    return Logo(image=image, digest=hashlib.sha256(image).hexdigest()[:32], width=width, height=height)


def _draw(content: bytes) -> bytes:
    # An empty environment: code that reads untrusted files must not have our secrets.
    command = [sys.executable, "-I", str(DECODER)]
    try:
        done = subprocess.run(
            command, input=content, capture_output=True, timeout=DECODER_TIMEOUT, env={}, check=False
        )
    except subprocess.TimeoutExpired:
        done = None
    if done and done.returncode == 0:
        return done.stdout
    if done and done.returncode == TOO_LARGE:
        raise ValidationError(gettext("The image has more than 4 million pixels."))
    if done and done.returncode == UNREADABLE:
        raise ValidationError(gettext("Can’t read this file. Upload a PNG, JPEG, GIF or WebP image."))
    raise ValidationError(gettext("This image takes too long to read. Save it again as a plain PNG or JPEG."))


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    with advisory_lock("logo", 0) as locked:
        if not locked:
            raise ValidationError(gettext("Another image is being processed. Try again in a few seconds."))
        yield
