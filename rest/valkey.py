from functools import cache

from django.conf import settings
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry


@cache
def valkey() -> Redis:
    """Valkey, for those whom somebody waits for: it answers within half a second, or raises a RedisError.

    Celery's connection, and a client of redis-py as it comes, try again for seconds.
    """
    return Redis.from_url(**settings.VALKEY, retry=Retry(NoBackoff(), 0))
