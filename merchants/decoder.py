"""Run by itself, by logos.py: reads a picture from standard input, and writes it as a PNG of a logo's size.

It has two seconds of processor time and little memory, and writes no files. What it refuses, it says.
"""

import os
import resource
import sys
from io import BytesIO

from PIL import Image

FORMATS = ["PNG", "JPEG", "GIF", "WEBP"]
MAX_PIXELS = 4_000_000
MAX_SIZE = 480, 160  # pixels; in an e-mail it takes half of that, for it to be sharp
CPU_SECONDS = 2
MEMORY = 512 * 1024 * 1024
REFUSED = 3  # exit status


class ImageRefused(Exception):
    pass


def limit() -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_AS, MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    os.nice(10)  # payments first


def draw(content: bytes) -> bytes:
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                raise ImageRefused("The picture has more than 4 million pixels.")
            picture = source.convert("RGBA")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ImageRefused("This is no picture in PNG, JPEG, GIF or WebP that can be read.") from error
    picture.thumbnail(MAX_SIZE)
    drawn = BytesIO()
    picture.save(drawn, "PNG", optimize=True)
    return drawn.getvalue()


def main() -> int:
    limit()
    try:
        sys.stdout.buffer.write(draw(sys.stdin.buffer.read()))
    except ImageRefused as error:
        sys.stdout.buffer.write(str(error).encode())
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
