from celery import shared_task

from webhooks import sending


@shared_task
def send_webhook(pk):
    sending.send(pk)
