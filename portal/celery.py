import os

from celery import Celery

from runtime.beat import add_beat_thread
from runtime.heartbeats import add_heartbeats

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("keywell")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Tasks reuse their database connection. Celery doesn't read this setting from the namespace.
app.conf.CELERY_DB_REUSE_MAX = 1000
app.autodiscover_tasks()
add_beat_thread(app)
add_heartbeats(app)
