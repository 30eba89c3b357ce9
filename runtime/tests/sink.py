import asyncio
import email
import email.policy
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller


@dataclass
class Sink:
    """A mail server on loopback that keeps what it takes, and can be slow or away."""

    port: int
    delay: float = 0  # seconds before it answers that it has taken a mail
    smtputf8: bool = True  # whether it takes international addresses
    eight_bit: bool = True  # whether it takes bodies that are not ASCII
    breaks_off: bool = False  # whether it closes the connection instead of saying that it has taken a mail
    sessions: int = 0  # the number of connections
    contents: list[bytes] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)  # as they were named to it
    messages: list = field(default_factory=list)
    plain: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def start(self) -> None:
        self.controller = Controller(self, hostname="127.0.0.1", port=self.port, enable_SMTPUTF8=self.smtputf8)
        self.controller.start()

    def stop(self) -> None:
        self.controller.stop()

    async def handle_EHLO(self, server, session, envelope, hostname, responses):
        session.host_name = hostname
        self.sessions += 1
        return responses if self.eight_bit else [line for line in responses if "8BITMIME" not in line]

    async def handle_DATA(self, server, session, envelope):
        message: Any = email.message_from_bytes(envelope.content, policy=email.policy.default)
        self.contents.append(envelope.content)
        self.recipients += envelope.rcpt_tos
        self.plain[str(message["To"])].append(message.get_body(("plain",)).get_content())
        self.messages.append(message)
        if self.breaks_off:
            server.transport.abort()
        await asyncio.sleep(self.delay)
        return "250 OK"

    def texts(self, recipient: str) -> list[str]:
        """The plain-text parts of what came for an address."""
        return self.plain[recipient]

    def received(self) -> Counter:
        """How often each mail came, by Message-ID."""
        return Counter(message["Message-ID"] for message in self.messages)
