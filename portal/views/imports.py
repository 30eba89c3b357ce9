from django.http import Http404


def add(request, pk):
    raise Http404


def batches(request, pk):
    raise Http404
