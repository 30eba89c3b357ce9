"""Pictures that merchants upload: looked at, and drawn anew, so that nothing but pixels of theirs is ever served.

A small file can take minutes and gigabytes to decode. So merchants/decoder.py does it in a process with limits, one at
a time in the whole installation: however many are uploaded, they cost at most one web process and one processor.
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
from django.db import connection

from merchants.decoder import REFUSED
from merchants.models import Logo

MAX_BYTES = 2 * 1024 * 1024
TIMEOUT = 10  # seconds: the decoder gets less of a busy machine than others do
DECODER = Path(__file__).with_name("decoder.py")


def draw_logo(file: BinaryIO) -> Logo:
    """Return a file's picture as an unsaved Logo, made smaller if need be. Raises ValidationError if it is none."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValidationError("The picture has more than 2 MB.")
    with _one_at_a_time():
        image = _draw(content)
    width, height = struct.unpack(">II", image[16:24])  # where a PNG has them
    return Logo(image=image, digest=hashlib.sha256(image).hexdigest()[:32], width=width, height=height)


def _draw(content: bytes) -> bytes:
    # Without the environment: what reads a stranger's file needs none of our secrets.
    command = [sys.executable, "-I", str(DECODER)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=TIMEOUT, env={}, check=False)
    except subprocess.TimeoutExpired:
        done = None
    if done and done.returncode == 0:
        return done.stdout
    if done and done.returncode == REFUSED:
        raise ValidationError(done.stdout.decode())
    raise ValidationError("This picture takes too much work to read. Save it again as a plain PNG or JPEG, please.")


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Hold an advisory lock of the session, which ends with this process if that is killed."""
    lock = "hashtext('merchants.logos'), 0"
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({lock})")  # noqa: S608 (our own text)
        if not cursor.fetchone()[0]:
            raise ValidationError("Another picture is being read. Please try again in a few seconds.")
        try:
            yield
        finally:
            cursor.execute(f"SELECT pg_advisory_unlock({lock})")  # noqa: S608
