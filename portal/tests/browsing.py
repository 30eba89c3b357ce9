"""What tests see of a page, and what every page must do for everybody who looks at it."""

from pathlib import Path

from selenium.webdriver.support.wait import WebDriverWait

from runtime.tests.installation import TIMEOUT

AXE = (Path(__file__).parent / "vendor" / "axe-core-4.14.1.min.js").read_text()
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def text(browser):
    """What the page shows. Asked for in one go: elements may be swapped meanwhile."""
    return browser.execute_script("return document.body ? document.body.innerText : ''")


def sees(browser, *texts):
    """Wait until the page shows all of these."""
    return WebDriverWait(browser, TIMEOUT, 0.1).until(lambda _: all(one in text(browser) for one in texts), f"{texts}")


def check(browser, rules=None):
    """The page fits the screen, has no violation of WCAG 2.2 AA, or of these rules of axe, and logs no error."""
    widths = browser.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1], f"{browser.current_url} is {widths[0]} wide in a window of {widths[1]}"
    if browser.execute_script("return !window.axe"):
        browser.execute_script(AXE)
    found = browser.execute_async_script(
        "const done = arguments[1]; axe.run({runOnly: arguments[0], resultTypes: ['violations']})"
        ".then((result) => done(result.violations))",
        rules or RULES,
    )
    assert [(violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found] == []
    errors = [line["message"] for line in browser.get_log("browser") if line["level"] == "SEVERE"]
    assert [error for error in errors if "status of 4" not in error] == []


def look_in(browser, scheme):
    """Ask pages for their light or their dark colors, at once."""
    features = [
        {"name": "prefers-color-scheme", "value": scheme},
        {"name": "prefers-reduced-motion", "value": "reduce"},  # else colors change gradually
    ]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
