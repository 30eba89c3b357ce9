"""Take the screenshots in docs/screenshots: .venv/bin/python -m docs.screenshots [FOLDER]

Starts a demo of its own, reports payments and photographs pages at 1280 and 390 pixels. Needs Chromium and its
driver, and the packages that `python3 run.py test` installs.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from runtime.tests.installation import Keywell, wait_until

FOLDER = Path(__file__).parent / "screenshots"
WIDTHS = {"": 1280, "-phone": 390}
MAX_HEIGHT = 1400
ORDERS = 300

# The name of each picture, its page, and the XPath of a link on that page to follow.
PAGES = {
    "home": ("/", ""),
    "orders": ("/orders/", ""),
    "order": ("/orders/", "//main//table//a[starts-with(@href, '/orders/')]"),
    "attention": ("/orders/attention/", ""),
    "pools": ("/pools/", ""),
    "pool": ("/pools/", "//main//a[.='Photo Pro']"),
    "web-service": ("/web-services/add/", ""),
    "email": ("/emails/texts/all/en/", ""),
    "setup": ("/setup/", ""),
}


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        keywell = Keywell(Path(temporary) / "var")
        keywell.start()
        try:
            keywell.run("manage", "demo", "--orders", str(ORDERS))
            keywell.report_payment(order="A0099000001")
            browser = start_browser()
            try:
                sign_in(browser, keywell)
                for name, (path, link) in PAGES.items():
                    photograph(browser, folder, name, f"http://127.0.0.1:{keywell.port}{path}", link)
            finally:
                browser.quit()
        finally:
            keywell.stop()


def start_browser() -> Chrome:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    browser.implicitly_wait(30)
    return browser


def sign_in(browser: Chrome, keywell: Keywell) -> None:
    lines = (keywell.var / "demo.env").read_text().splitlines()
    demo = dict(line.split("=", 1) for line in lines if "=" in line)
    browser.get(f"http://127.0.0.1:{keywell.port}/accounts/login/")
    browser.find_element(By.NAME, "login").send_keys(demo["OWNER_LOGIN"].strip("'\""))
    browser.find_element(By.NAME, "password").send_keys(demo["OWNER_PASSWORD"].strip("'\""))
    browser.find_element(By.CSS_SELECTOR, "main form button").click()
    wait_until(lambda: "/accounts/login/" not in browser.current_url)


def photograph(browser: Chrome, folder: Path, name: str, url: str, link: str) -> None:
    browser.get(url)
    if link:
        browser.get(browser.find_element(By.XPATH, link).get_attribute("href") or url)
    for suffix, width in WIDTHS.items():
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False},
        )
        height = min(browser.execute_script("return document.documentElement.scrollHeight"), MAX_HEIGHT)
        browser.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
        )
        browser.save_screenshot(str(folder / f"{name}{suffix}.png"))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
