import pytest
from django import forms
from django.contrib.auth.models import AnonymousUser
from django.contrib.messages import get_messages
from django.contrib.messages.storage.cookie import CookieStorage

from portal.confirm import Question, confirmed


class NameForm(forms.Form):
    name = forms.CharField()


@confirmed
def rename(request, names):
    form = NameForm(request.POST or None)
    question = Question(title="Rename it?", button="Rename", form=form, back="/things/1/", then="/things/")
    yield question
    if form.cleaned_data["name"] in names:
        form.add_error("name", "Another has this name.")
        yield question
    names.append(form.cleaned_data["name"])
    return "Renamed."


@pytest.fixture
def visit(rf):
    def visit(names, method="post", **data):
        request = getattr(rf, method)("/things/1/rename/", data)
        request.htmx, request.user, request._messages = False, AnonymousUser(), CookieStorage(request)
        response = rename(request, names)
        return response, [str(message) for message in get_messages(request)]

    return visit


def test_it_asks_before_it_acts(visit):
    names: list[str] = []

    response, _ = visit(names, "get")

    assert names == []
    assert response.status_code == 200
    assert "Rename it?" in response.content.decode()
    assert 'href="/things/1/"' in response.content.decode()


def test_it_acts_after_the_confirmation(visit):
    names: list[str] = []

    response, messages = visit(names, name="Ada")

    assert names == ["Ada"]
    assert response.url == "/things/"
    assert messages == ["Renamed."]


def test_it_asks_again_if_the_form_is_invalid(visit):
    names: list[str] = []

    response, messages = visit(names, name="")

    assert names == messages == []
    assert "This field is required." in response.content.decode()


def test_it_asks_again_if_the_action_finds_an_error(visit):
    names = ["Ada"]

    response, messages = visit(names, name="Ada")

    assert names == ["Ada"] and not messages
    assert "Another has this name." in response.content.decode()


def test_it_accepts_only_get_and_post(visit):
    assert visit([], "put")[0].status_code == 405
