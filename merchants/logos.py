"""Pictures that merchants upload: looked at, and drawn anew, so that nothing but pixels of theirs is ever served."""

import hashlib
from io import BytesIO
from typing import BinaryIO

from django.core.exceptions import ValidationError
from PIL import Image

from merchants.models import Logo

FORMATS = ["PNG", "JPEG", "GIF", "WEBP"]
MAX_BYTES = 2 * 1024 * 1024
MAX_PIXELS = 16_000_000
MAX_SIZE = 480, 160  # pixels; in an e-mail it takes half of that, for it to be sharp


def draw_logo(file: BinaryIO) -> Logo:
    """Return a file's picture as an unsaved Logo, made smaller if need be. Raises ValidationError if it is none."""
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValidationError("The picture has more than 2 MB.")
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                raise ValidationError("The picture has more than 16 million pixels.")
            picture = source.convert("RGBA")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValidationError("This is no picture in PNG, JPEG, GIF or WebP that can be read.") from error

    picture.thumbnail(MAX_SIZE)
    drawn = BytesIO()
    picture.save(drawn, "PNG", optimize=True)
    image = drawn.getvalue()
    return Logo(image=image, digest=hashlib.sha256(image).hexdigest()[:32], width=picture.width, height=picture.height)
