import logging
import time
from collections import Counter
from threading import Lock

from django.conf import settings
from redis.exceptions import RedisError
from rest_framework.throttling import BaseThrottle

from work.valkey import valkey

logger = logging.getLogger(__name__)


class ApiKeyThrottle(BaseThrottle):
    """Allows API_REQUESTS_PER_MINUTE per key and calendar minute.

    DRF's own throttle rewrites a list of timestamps at every request; a counter in Valkey is enough. A process takes
    requests from it in blocks of a thousandth of the limit, so most requests don't ask Valkey. What a process doesn't
    use of its last block, others can't use in that minute.
    """

    BLOCKS = 1000

    lock = Lock()
    minute = 0
    left: Counter[int] = Counter()  # requests of the current blocks, by the primary key of the API key

    def allow_request(self, request, view):
        if request.auth is None:
            return True
        key, minute = request.auth.pk, int(time.time()) // 60
        if self._take(key, minute):
            return True
        limit = settings.API_REQUESTS_PER_MINUTE
        size = max(1, limit // self.BLOCKS)
        try:
            count = self._count(f"keywell:requests:{key}:{minute}", size)
        except RedisError as error:
            # A shop's payment is more important than the limit.
            logger.warning("Can't count API requests, so the rate limit is off: %s", error)
            return True
        allowed = min(size, limit - (count - size))
        self._add(key, minute, allowed - 1)
        return allowed > 0

    def wait(self):
        return 60 - time.time() % 60

    @classmethod
    def _take(cls, key: int, minute: int) -> bool:
        with cls.lock:
            is_left = cls.minute == minute and cls.left[key] > 0
            cls.left[key] -= is_left
            return is_left

    @classmethod
    def _add(cls, key: int, minute: int, count: int) -> None:
        with cls.lock:
            if cls.minute != minute:
                cls.minute, cls.left = minute, Counter()
            cls.left[key] += max(count, 0)

    @staticmethod
    def _count(name: str, size: int) -> int:
        with valkey().pipeline(transaction=False) as pipeline:
            pipeline.incrby(name, size)
            pipeline.expire(name, 120)
            count, _ = pipeline.execute()
        return int(count)
