from celery import shared_task

from delivery import link_requests, sending
from delivery.models import Delivery, LinkRequest
from work.tasks import requeue_misplaced, work_off


@shared_task(bind=True)
def deliver(task, pk):
    if not requeue_misplaced(task, Delivery, pk):
        work_off(task, Delivery.objects.due().filter(order__merchant__mail_account=None), sending.deliver, pk)


@shared_task(bind=True)
def send_links(task, pk):
    if not requeue_misplaced(task, LinkRequest, pk):
        work_off(task, LinkRequest.objects.due().filter(merchant__mail_account=None), link_requests.send_links, pk)
