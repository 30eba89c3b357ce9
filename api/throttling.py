import logging
import time

from django.conf import settings
from redis.exceptions import RedisError
from rest_framework.throttling import BaseThrottle

from work.valkey import valkey

logger = logging.getLogger(__name__)


class ApiKeyThrottle(BaseThrottle):
    """Allows API_REQUESTS_PER_MINUTE per key and calendar minute.

    DRF's own throttle rewrites a list of timestamps at every request; a counter is enough.
    """

    def allow_request(self, request, view):
        if request.auth is None:
            return True

        name = f"keywell:requests:{request.auth.pk}:{int(time.time()) // 60}"
        try:
            with valkey().pipeline(transaction=False) as pipeline:
                pipeline.incr(name)
                pipeline.expire(name, 120)
                count, _ = pipeline.execute()
        except RedisError as error:
            # A shop's payment is more important than the limit.
            logger.warning("Can't count API requests, so the rate limit is off: %s", error)
            return True
        return count <= settings.API_REQUESTS_PER_MINUTE

    def wait(self):
        return 60 - time.time() % 60
