"""Images of a few hundred kilobytes that take far more work to decode than to send."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO

from PIL import Image

SIDE = 2000  # pixels: four million, the maximum that is decoded
SCANS = 6000


def jpeg_of_many_scans() -> bytes:
    """Return a progressive JPEG that repeats its second scan, each time over all blocks."""
    buffer = BytesIO()
    Image.new("L", (SIDE, SIDE), 128).save(buffer, "JPEG", progressive=True, quality=1)
    content = buffer.getvalue()
    starts = [at for at in range(len(content) - 1) if content[at : at + 2] == b"\xff\xda"]
    # From one scan header to the next: an AC band of empty blocks.
    last = content[starts[-1] : -2]
    tables = content.rfind(b"\xff\xc4", 0, starts[-1])
    scan = content[tables : starts[-1]] + last if tables > starts[-2] else last
    return content[:-2] + scan * (min(SCANS, 1_900_000 // len(scan))) + b"\xff\xd9"


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_with(*chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", SIDE, SIDE, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((SIDE + 1) * SIDE), 9))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def png_of_long_texts() -> bytes:
    return png_with(chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(900_000), 9)) * 1000)


def png_of_long_profiles() -> bytes:
    return png_with(chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000), 9)) * 30)


def gif_of_many_frames() -> bytes:
    """Alternate two frames: Pillow would compare all frames and merge equal ones."""
    content = saved("GIF", 3, palette=[0, 0, 0, 255, 255, 255])
    frames = [at for at in range(len(content)) if content[at : at + 3] == b"\x21\xf9\x04"]
    return content[:-1] + content[frames[1] : -1] * 29 + content[-1:]


def saved(kind: str, count: int, palette: list[int]) -> bytes:
    first, *others = (Image.new("P", (SIDE, SIDE), number % 2) for number in range(count))
    for frame in (first, *others):
        frame.putpalette(palette)
    buffer = BytesIO()
    first.save(buffer, kind, save_all=True, append_images=others, duration=20)
    return buffer.getvalue()


def png_too_large() -> bytes:
    """Return a PNG that declares 400 megapixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


BOMBS: dict[str, Callable[[], bytes]] = {
    "JPEG, thousands of scans": jpeg_of_many_scans,
    "PNG, zTXt chunks": png_of_long_texts,
    "PNG, iCCP chunks": png_of_long_profiles,
    "PNG, 400 megapixels": png_too_large,
    "GIF, many frames": gif_of_many_frames,
    "WebP, many frames": lambda: saved("WEBP", 10, palette=[0, 0, 0, 255, 255, 255]),
}
