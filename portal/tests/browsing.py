"""What a browser shows of a page, and the checks that every page must pass."""

from pathlib import Path

import pytest
from selenium.webdriver.support.wait import WebDriverWait

from runtime.tests.installation import TIMEOUT

AXE = (Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def text(browser):
    """The text of the page, read in one call because elements may be swapped in between."""
    return browser.execute_script("return document.body ? document.body.innerText : ''")


def sees(browser, *texts):
    """Wait until the page shows all of these texts."""
    return WebDriverWait(browser, TIMEOUT, 0.1).until(lambda _: all(one in text(browser) for one in texts), f"{texts}")


# What sticks out of a table or a panel, which may hide it. What scrolls inside doesn't.
STICKING_OUT = """
    const out = [];
    for (const box of document.querySelectorAll("main :is(.rows, .panel, .entries)")) {
        const end = box.getBoundingClientRect().right + 1;
        for (const part of box.querySelectorAll("*")) {
            if (part.getBoundingClientRect().right <= end || !part.checkVisibility()) continue;
            let scroller = part.parentElement;
            const scrolls = (part) => /auto|scroll|hidden/.test(getComputedStyle(part).overflowX);
            while (scroller !== box && !scrolls(scroller)) scroller = scroller.parentElement;
            if (scroller === box) out.push(part.outerHTML.slice(0, 200));
        }
    }
    return out;
"""

BEYOND_THE_WINDOW = """
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), found = [];
    while (texts.nextNode()) {
        const range = document.createRange();
        range.selectNode(texts.currentNode);
        if (range.getBoundingClientRect().right > innerWidth + 1) found.push(texts.currentNode.textContent.trim());
    }
    return found.slice(0, 5);
"""


def check_width(browser):
    """Check that the page doesn't scroll sideways, and that nothing is cut off."""
    widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    if widths[0] > widths[1]:
        parts = browser.execute_script(BEYOND_THE_WINDOW)
        pytest.fail(f"{browser.current_url} is {widths[0]} wide in a window of {widths[1]}: {parts}")
    assert browser.execute_script(STICKING_OUT) == [], browser.current_url


def check(browser, rules=None):
    """Check that the page fits the screen, logs no error and passes WCAG 2.2 AA (or the given axe rules)."""
    check_width(browser)
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    if browser.execute_script("return !window.axe"):
        browser.execute_script(AXE)
    found = browser.execute_async_script(
        "const done = arguments[1]; axe.run({runOnly: arguments[0], resultTypes: ['violations']})"
        ".then((result) => done(result.violations))",
        rules or RULES,
    )
    browser.get_log("browser")  # axe itself adds a style, where a style sheet imports another one
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found] == []
    assert [error for error in errors if "status of 4" not in error] == []


def look_in(browser, scheme):
    """Switch to the light or dark color scheme, without transitions."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # turns off color transitions
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
