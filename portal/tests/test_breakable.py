from time import perf_counter

from django.utils.safestring import mark_safe

from portal.templatetags.portal import breakable


def test_only_addresses_break_and_nothing_becomes_markup():
    text = mark_safe('<a href="/a@b.c">x@y.example</a> 1.5 &lt;b@c.d&gt; https://e.f/g')  # noqa: S308

    assert breakable(text) == (
        '<a href="/a@b.c">x@<wbr>y.<wbr>example</a> 1.5 &lt;b@<wbr>c.<wbr>d&gt; https://<wbr>e.<wbr>f/<wbr>g'
    )
    assert breakable("<b>a@b") == "&lt;b&gt;a@<wbr>b"


def test_a_long_word_takes_linear_time():
    began = perf_counter()
    breakable("a" * 100_000)
    assert perf_counter() - began < 1
