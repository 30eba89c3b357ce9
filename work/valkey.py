from functools import cache
from time import monotonic
from typing import Any

from django.conf import settings
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

# Seconds without further tries after Valkey didn't answer.
PAUSE = 5


class Breaker(Retry):
    """Never retries. After a failure, fails fast for PAUSE seconds so that callers don't wait half a second each."""

    # Shared by all connections of the process, because redis-py copies this object for each of them.
    closed_until = 0.0

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 0)

    def call_with_retry(self, *args: Any, **kwargs: Any) -> Any:
        if monotonic() < Breaker.closed_until:
            raise ConnectionError("Valkey did not answer a moment ago.")
        try:
            return super().call_with_retry(*args, **kwargs)
        except (ConnectionError, TimeoutError):
            Breaker.closed_until = monotonic() + PAUSE
            raise


@cache
def valkey() -> Redis:
    """Valkey client for code that must not wait: answers within half a second or raises a RedisError.

    Celery's own connection and redis-py's default client retry for seconds.
    """
    # `cache` can run this in several threads at once. A client that owns its pool, as from Redis.from_url(), closes
    # the pool’s connections when it is collected, even those in use.
    return Redis(connection_pool=ConnectionPool.from_url(**settings.VALKEY, retry=Breaker()))
