from django.http import Http404


def pools(request):
    raise Http404


def pool(request, pk):
    raise Http404
