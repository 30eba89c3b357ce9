import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "portal.settings")

app = Celery("keywell")
app.config_from_object("django.conf:settings", namespace="CELERY")
# Tasks share one connection to the database. Celery does not find this setting under the namespace.
app.conf.CELERY_DB_REUSE_MAX = 1000
app.autodiscover_tasks()
