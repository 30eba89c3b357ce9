"""Fills the disk for half a minute while payments are reported.

The installation uses a separate file system in memory, which needs a mount namespace: root's or a user's own.
"""

import contextlib
import http.client
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks.harness import Env, ask, install, installation, payment, post
from runtime.tests.installation import Keywell, wait_until
from runtime.tests.sink import Sink

SIZE = 600 * 1024 * 1024  # bytes
FULL_FOR = 30  # seconds
RECOVERY = 30

numbers = itertools.count(int(time.time()))


class FaultShop(threading.Thread):
    """Reports payments one at a time, each until it is accepted."""

    def __init__(self, env: Env) -> None:
        super().__init__(daemon=True)
        self.env = env
        self.is_open = True
        self.taken: list[tuple[float, str]] = []
        self.refused = 0

    def run(self) -> None:
        while self.is_open:
            order = f"B{next(numbers)}"
            body = payment(order, email=address_of(order))
            while self.is_open and not self.report(body):
                self.refused += 1
                time.sleep(0.2)
            self.taken.append((time.monotonic(), order))
            time.sleep(0.1)

    def report(self, body: str) -> bool:
        try:
            return post(self.env, "payments/", body) in (200, 201)
        except (OSError, http.client.HTTPException):
            return False


def main() -> int:
    if not os.environ.get("FAULTS_MOUNTED"):
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        command = ["unshare", *user, "--mount", sys.executable, "-m", "faults.full_disk"]
        return subprocess.run(command, env=os.environ | {"FAULTS_MOUNTED": "1"}).returncode
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder], check=True)
        # The mail server, this program's output and the mount point are outside the disk that fills up.
        output = Path(tempfile.mkstemp()[1])
        try:
            with installation(Path(folder)) as (keywell, sink):
                keywell.output = output
                return fill_and_free(Path(folder), keywell, install(keywell, sink), sink)
        finally:
            output.unlink()
            subprocess.run(["umount", "--lazy", folder], check=True)


def fill_and_free(disk: Path, keywell: Keywell, env: Env, sink: Sink) -> int:
    shop = FaultShop(env)
    shop.start()
    wait_until(lambda: len(shop.taken) >= 10 and len(sink.messages) >= 5)
    fill(disk / "filler")
    time.sleep(FULL_FOR)
    told = healthz(keywell)
    during = shop.refused
    (disk / "filler").unlink()
    freed_at = time.monotonic()
    wait_until(lambda: shop.taken[-1][0] > freed_at, timeout=300)
    paid_after = time.monotonic() - freed_at
    order = shop.taken[-1][1]
    wait_until(lambda: sink.texts(address_of(order)), timeout=300)
    mailed_after = time.monotonic() - freed_at
    wait_until(lambda: "200" in healthz(keywell), timeout=300)
    healthy_after = time.monotonic() - freed_at
    shop.is_open = False
    shop.join(30)
    audit = keywell.run("manage", "audit")

    print(f"full for {FULL_FOR} s: {during} reports rejected; /healthz: {told}")
    for line in keywell.printed().splitlines():
        if "restarting" in line:
            print(f"  {line}")
    print(
        f"with room again: a payment accepted after {paid_after:.1f} s, its e-mail sent after {mailed_after:.1f} s,"
        f" /healthz healthy after {healthy_after:.1f} s"
    )
    print(f"audit: {audit.stdout.strip().splitlines()[-1] if audit.stdout.strip() else audit.stderr[-300:]}")
    return 0 if max(paid_after, mailed_after) <= RECOVERY and audit.returncode == 0 else 1


def address_of(order: str) -> str:
    return f"{order.lower()}@example.com"


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(64 * 1024))
    with path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0")


def healthz(keywell: Keywell) -> str:
    try:
        status, text, _ = ask(keywell.port, "GET", "/healthz", timeout=30)
        return f"{status} {text}"
    except (OSError, http.client.HTTPException) as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main())
