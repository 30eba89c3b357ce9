"""Sends bodies in every charset that Python can decode, and form parts that name their own charset."""

import statistics
import sys
from encodings.aliases import aliases

from benchmarks.harness import ask, installation
from runtime.tests.installation import Keywell

PLACES = ["/lost/northlight/", "/accounts/login/", "/api/v1/payments/", "/core/v2/rest/licensee", "/healthz"]
MEGABYTE = 1024 * 1024
# Seconds. Before the fix a megabyte of punycode took 39.
SLOW = 5
OURS = {"utf_8", "ascii"}


def main() -> int:
    with installation() as (keywell, _):
        keywell.start()
        return 0 if refuses_codecs(keywell) & bounds_parts(keywell) else 1


def refuses_codecs(keywell: Keywell) -> bool:
    codecs = sorted({*aliases.values(), "punycode", "idna", "undefined", "unicode_escape", "utf_8_sig", "x"} - OURS)
    body = b"--x\r\ncontent-disposition: form-data; name=a\r\n\r\n" + b"a-" * (MEGABYTE // 2 - 50) + b"\r\n--x--"
    seconds, wrong = [], []
    for place in PLACES:
        for codec in codecs:
            for content_type in (
                f"multipart/form-data; boundary=x; charset={codec}",
                f"application/x-www-form-urlencoded; charset={codec}",
            ):
                status, took = post(keywell, place, body, content_type)
                seconds.append(took)
                if status != 415:
                    wrong.append((place, content_type, status))
    print(
        f"{len(seconds)} bodies of 1 MiB in {len(codecs)} charsets: median {1000 * statistics.median(seconds):.0f} ms,"
        f" slowest {1000 * max(seconds):.0f} ms; not refused: {wrong or 'none'}"
    )
    return not wrong and max(seconds) < SLOW


def bounds_parts(keywell: Keywell) -> bool:
    """Send 900 file names in punycode, each of which takes Python a millisecond to decode."""
    part = f"--x\r\ncontent-disposition: form-data; name=a; filename*=punycode''{'a' * 900}\r\n\r\n\r\n"
    body = (part * 900).encode() + b"--x--"
    ours, plain = [], []
    for _ in range(5):
        ours.append(post(keywell, PLACES[0], body, "multipart/form-data; boundary=x")[1])
        same = body.replace(b"*=punycode''", b"=")
        plain.append(post(keywell, PLACES[0], same, "multipart/form-data; boundary=x")[1])
    ratio = statistics.median(ours) / statistics.median(plain)
    print(f"900 names in punycode: {1000 * statistics.median(ours):.0f} ms; the same in ASCII: ratio {ratio:.2f}")
    return statistics.median(ours) < SLOW


def post(keywell: Keywell, place: str, body: bytes, content_type: str) -> tuple[int, float]:
    status, _, seconds = ask(keywell.port, "POST", place, body, {"Content-Type": content_type}, timeout=120)
    return status, seconds


if __name__ == "__main__":
    sys.exit(main())
