from celery import shared_task

from fulfillment.sources.netlicensing import deactivation


@shared_task
def deactivate(pk):
    deactivation.deactivate(pk)
