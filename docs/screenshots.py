"""Take screenshots of a demo: .venv/bin/python -m docs.screenshots [FOLDER]

Without a folder, it updates the pictures that the documentation shows. With one, it takes every page in PAGES at 1280
and 390 pixels. Needs Chromium and its driver, and the packages that `python3 run.py test` installs.
"""

import json
import shutil
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.by import By

from runtime.tests.installation import Keywell, wait_until
from shops.tests.senders import make_order, sign

FOLDER = Path(__file__).parent / "screenshots"
IN_DOCS = {"desk", "emails", "order", "orders", "pool", "shop", "shop-products"}
WIDTHS = {"": 1280, "-phone": 390}
MAX_HEIGHT = 1400
COLORS = 64  # of pictures of text
ORDERS = 300

# The name of each picture, its page, and the XPath of a link on that page to follow.
PAGES = {
    "home": ("/", ""),
    "orders": ("/orders/", ""),
    "order": ("/orders/", "//main//table//a[starts-with(@href, '/orders/')]"),
    "attention": ("/attention/", ""),
    "pools": ("/pools/", ""),
    "pool": ("/pools/", "//main//a[.='Photo Pro']"),
    "web-service": ("/web-services/add/", ""),
    "emails": ("/emails/", ""),
    "email": ("/emails/texts/all/en/", ""),
    "email-versions": ("/emails/texts/all/en/versions/", ""),
    "setup": ("/setup/add/", ""),
    "test-order": ("/test-order/", ""),
    "api-keys": ("/api-keys/", ""),
    "product-add": ("/products/add/", ""),
    "checkout-pages": ("/checkout-pages/", ""),
    "shop-kinds": ("/shops/connect/", ""),
    "shop-start": ("/shops/2/start/", ""),
    "shops": ("/shops/", ""),
    "shop": ("/shops/", "//main//a[.='WooCommerce']"),
    "shop-products": ("/shops/1/products/", ""),
}
FOR_STAFF = {"desk": ("/admin/", ""), "admin-orders": ("/admin/orders/order/", "")}


def main(folder: Path | None) -> None:
    widths = WIDTHS if folder else {"": 1280}
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        keywell = Keywell(Path(temporary) / "var")
        keywell.start()
        try:
            keywell.run("manage", "demo", "--orders", str(ORDERS))
            keywell.report_payment(order="A0099000001")
            connect_shops(keywell)
            browser = start_browser()
            try:
                for person, pages in (("STAFF", FOR_STAFF), ("OWNER", PAGES)):
                    sign_in(browser, keywell, person)
                    for name, (path, link) in pages.items():
                        if folder == FOLDER and name not in IN_DOCS:
                            continue
                        open_page(browser, f"http://127.0.0.1:{keywell.port}{path}", link)
                        for suffix, width in widths.items():
                            photograph(browser, folder / f"{name}{suffix}.png", width)
                connect_each_kind(browser, keywell, folder)
            finally:
                browser.quit()
        finally:
            keywell.stop()


def connect_shops(keywell: Keywell) -> None:
    """Connect two shops, of which the first reports a sale and one of an unknown product."""
    url, secret = keywell.run("manage", "shop", "add", "woocommerce", "--merchant", "northlight").stdout.split()[-2:]
    keywell.run("manage", "shop", "add", "stripe", "--merchant", "northlight")
    line = make_order()["line_items"][0]
    for number, sku in [(727, "PHOTO-PRO"), (728, "PHOTO-BOX")]:
        lines = [line | {"sku": sku, "name": sku.replace("-", " ").title(), "quantity": 1}]
        body = json.dumps(make_order(id=number, number=str(number), line_items=lines)).encode()
        headers = {"X-WC-Webhook-Topic": "order.updated", "X-WC-Webhook-Signature": sign(body, secret)}
        address = f"http://127.0.0.1:{keywell.port}{urlsplit(url).path}"
        urlopen(Request(address, body, {"Content-Type": "application/json"} | headers)).close()


def connect_each_kind(browser: Chrome, keywell: Keywell, folder: Path) -> None:
    """Connect a shop of each kind, and photograph what the page says to do in it."""
    browser.get(f"http://127.0.0.1:{keywell.port}/shops/connect/")
    for page in [str(link.get_attribute("href")) for link in browser.find_elements(By.CSS_SELECTOR, ".choices a")]:
        browser.get(page)
        browser.find_element(By.CSS_SELECTOR, "main form button").click()
        wait_until(lambda: browser.current_url.endswith("/start/"))
        photograph_steps(browser, folder / f"start-{urlsplit(page).path.split('/')[-2]}.png")


def start_browser() -> Chrome:
    options = ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(flag)
    browser = Chrome(options=options, service=ChromeService(shutil.which("chromedriver")))
    browser.implicitly_wait(30)
    return browser


def sign_in(browser: Chrome, keywell: Keywell, person: str) -> None:
    browser.delete_all_cookies()
    lines = (keywell.var / "demo.env").read_text().splitlines()
    demo = dict(line.split("=", 1) for line in lines if "=" in line)
    browser.get(f"http://127.0.0.1:{keywell.port}/accounts/login/")
    browser.find_element(By.NAME, "login").send_keys(demo[f"{person}_LOGIN"].strip("'\""))
    browser.find_element(By.NAME, "password").send_keys(demo[f"{person}_PASSWORD"].strip("'\""))
    browser.find_element(By.CSS_SELECTOR, "main form button").click()
    wait_until(lambda: "/accounts/login/" not in browser.current_url)


def open_page(browser: Chrome, url: str, link: str) -> None:
    browser.get(url)
    if link:
        browser.get(browser.find_element(By.XPATH, link).get_attribute("href") or url)


def photograph(browser: Chrome, picture: Path, width: int) -> None:
    resize(browser, width, 800)
    resize(browser, width, min(browser.execute_script("return document.documentElement.scrollHeight"), MAX_HEIGHT))
    browser.save_screenshot(str(picture))


def photograph_steps(browser: Chrome, picture: Path) -> None:
    """Photograph a shop's page from the title to the steps: the rest is the same for all kinds."""
    resize(browser, 1280, MAX_HEIGHT)
    top, bottom = browser.execute_script(
        "return ['h1', 'ol'].map((name) => document.querySelector(`main ${name}`).getBoundingClientRect())"
        ".map((box, index) => Math.round(index ? box.bottom + 32 : box.top - 16))"
    )
    with Image.open(BytesIO(browser.get_screenshot_as_png())) as page:
        page.convert("RGB").crop((0, top, page.width, bottom)).quantize(COLORS).save(picture, optimize=True)


def resize(browser: Chrome, width: int, height: int) -> None:
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
