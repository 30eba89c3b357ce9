"""Decoding a logo has limits on time and memory, whatever the image contains."""

import resource
import threading
from io import BytesIO

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from PIL import Image

from faults.bombs import BOMBS
from merchants import decoder, logos
from merchants.logos import draw_logo

pytestmark = pytest.mark.django_db


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def make_image(kind, size=(2000, 2000)):
    buffer = BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(buffer, kind, progressive=True)
    return BytesIO(buffer.getvalue())


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_uses_little_cpu_time(name):
    content = BOMBS[name]()
    before = cpu_seconds()

    try:
        draw_logo(BytesIO(content))
    except ValidationError as error:
        assert "Can’t read" in error.message or "takes too long" in error.message or "megapixels" in error.message

    assert cpu_seconds() - before < decoder.MAX_CPU_SECONDS + 1


def test_it_rejects_an_image_that_takes_too_long_and_suggests_a_fix():
    with pytest.raises(ValidationError, match="Save it again as a plain PNG or JPEG"):
        draw_logo(BytesIO(BOMBS["JPEG, thousands of scans"]()))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP"])
def test_it_accepts_four_megapixels(kind):
    logo = draw_logo(make_image(kind, (2500, 1600)))

    assert (logo.width, logo.height) == (250, 160)
    assert Image.open(BytesIO(logo.image)).size == (250, 160)


def test_it_rejects_more_than_four_megapixels():
    with pytest.raises(ValidationError, match="more than 4 million pixels"):
        draw_logo(make_image("PNG", (2001, 2000)))


def test_the_decoder_has_no_secrets_and_limited_resources(monkeypatch, tmp_path):
    spy = tmp_path / "spy.py"
    spy.write_text(
        "import os, runpy, sys, resource\n"
        f"limits = runpy.run_path({str(logos.DECODER)!r})['limit_resources']()\n"
        "names = ['RLIMIT_CPU', 'RLIMIT_AS', 'RLIMIT_FSIZE']\n"
        "sys.stdout.write(repr((sorted(os.environ), [resource.getrlimit(getattr(resource, n))[1] for n in names])))\n"
    )
    monkeypatch.setattr(logos, "DECODER", spy)

    environment, limits = eval(logos._draw(b""))
    assert not [name for name in environment if name in {"SECRET_KEY", "VAULT_KEYS", "DATABASE_URL"}]
    assert limits == [decoder.MAX_CPU_SECONDS, decoder.MAX_MEMORY, 0]


@pytest.mark.django_db(transaction=True)
def test_it_decodes_one_image_at_a_time():
    """In the whole installation. Other uploads fail immediately instead of blocking a web process."""
    reading, done = threading.Event(), threading.Event()

    def read():
        with logos._one_at_a_time():
            reading.set()
            done.wait(60)
        connection.close()

    other = threading.Thread(target=read)
    other.start()
    assert reading.wait(60)
    try:
        with pytest.raises(ValidationError, match="Try again in a few seconds"):
            draw_logo(make_image("PNG", (100, 100)))
    finally:
        done.set()
        other.join()

    assert draw_logo(make_image("PNG", (100, 100))).width == 100
