from celery import shared_task

from notices import sending
from notices.models import MerchantNotice
from work.tasks import work_off


@shared_task(bind=True)
def send_notice(task, pk):
    work_off(task, MerchantNotice.objects.due(), sending.send_notice, pk)
