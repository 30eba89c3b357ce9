"""A separate process, started by logos.py: reads an image from stdin and writes it to stdout as a logo-sized PNG.

It is limited to two seconds of CPU time and 512 MiB of memory, and can't write files. If it refuses the image, it
exits with TOO_LARGE or UNREADABLE.
"""

import os
import resource
import sys
from io import BytesIO

from PIL import Image

FORMATS = ["PNG", "JPEG", "GIF", "WEBP"]
MAX_PIXELS = 4_000_000
MAX_SIZE = 480, 160  # pixels; e-mails show it at half this size, so it stays sharp on high-density screens
MAX_CPU_SECONDS = 2
MAX_MEMORY = 512 * 1024 * 1024
# Exit statuses.
TOO_LARGE, UNREADABLE = 3, 4


def limit_resources() -> None:
    for kind, value in (
        (resource.RLIMIT_CPU, MAX_CPU_SECONDS),
        (resource.RLIMIT_AS, MAX_MEMORY),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    os.nice(10)  # payments come first


def draw(content: bytes) -> bytes:
    """Return the image as a PNG. Exits with TOO_LARGE or UNREADABLE."""
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as source:
            if source.width * source.height > MAX_PIXELS:
                sys.exit(TOO_LARGE)
            picture = source.convert("RGBA")
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):
        sys.exit(UNREADABLE)
    picture.thumbnail(MAX_SIZE)
    drawn = BytesIO()
    picture.save(drawn, "PNG", optimize=True)
    return drawn.getvalue()


def main() -> None:
    limit_resources()
    sys.stdout.buffer.write(draw(sys.stdin.buffer.read()))


if __name__ == "__main__":
    main()
