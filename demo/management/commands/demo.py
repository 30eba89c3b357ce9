import secrets
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connection, transaction
from django.utils import timezone

from demo.licensing import make_licensing
from demo.orders import add_orders
from fulfillment.payments import validate_payment
from fulfillment.sources.pool.models import PoolMethod
from merchants.models import ApiKey, CheckoutPage, Member, Merchant, Product, User
from orders.placing import place_order
from pools.detection import parse_keys
from pools.imports import import_keys
from pools.models import LicensePool

SLUG = "northlight"  # of the demo's merchant
DEMO_FILES = Path(__file__).resolve().parent.parent.parent
PRODUCTS = [("PHOTO-PRO", "Photo Pro", "photo-pro-keys.txt"), ("PHOTO-LITE", "Photo Lite", "photo-lite-keys.txt")]


class Command(BaseCommand):
    help = (
        "Fill an empty database with a merchant, its team, two products in stock, one with licensees, an API key and "
        "one payment. With --orders, add that many past orders to the demo merchant, now or later."
    )

    def add_arguments(self, parser):
        parser.add_argument("--if-empty", action="store_true", help="do nothing if there is data already")
        parser.add_argument("--orders", type=int, metavar="N", help="add N orders of the last two years")

    def handle(self, *, if_empty, orders, **options):
        if orders is not None and orders < 1:
            raise CommandError("--orders needs a number from 1.")
        if not connection.introspection.table_names():
            call_command("migrate", verbosity=0, interactive=False)
        if Merchant.objects.exists() or User.objects.exists():
            if if_empty:
                return
            if orders is None:
                raise CommandError("The database isn't empty. Demo data needs an empty one.")
        else:
            with transaction.atomic():
                path = write_credentials(make_demo())
            self.stdout.write(f"Demo data created. The credentials are in {path}.")

        if orders is not None:
            merchant = Merchant.objects.filter(slug=SLUG).first()
            if merchant is None:
                raise CommandError("The database has data but no demo merchant to add orders to.")
            add_orders(merchant, orders, progress=self.stdout.write)


def make_demo() -> dict[str, str]:
    """Create the demo's data; return the credentials by their names in demo.env."""
    merchant = Merchant.objects.create(name="Northlight Software", slug=SLUG, reply_to="help@northlight.example")
    CheckoutPage.objects.create(merchant=merchant, code="main", name="Main shop")
    credentials = {"BASE_URL": settings.BASE_URL} | make_people(merchant)
    _, credentials["API_KEY"] = ApiKey.objects.create_key(
        merchant=merchant, name="demo shop", scopes=ApiKey.Scope.values
    )
    for sku, name, file_name in PRODUCTS:
        make_product(merchant, sku, name, file_name)
    report_payment(merchant)
    return credentials | make_licensing(merchant)


def make_people(merchant: Merchant) -> dict[str, str]:
    credentials: dict[str, str] = {}
    for role, first_name in [("owner", "Olivia"), ("manager", "Max"), ("support", "Sam"), ("staff", "Stella")]:
        email, password = f"{role}@keywell.example", secrets.token_urlsafe(12)
        user = User.objects.create_user(email, password, first_name=first_name)
        credentials |= {f"{role.upper()}_LOGIN": email, f"{role.upper()}_PASSWORD": password}
        if role == "staff":
            user.is_staff = user.is_superuser = True
            user.save(update_fields=["is_staff", "is_superuser"])
        else:
            Member.objects.create(merchant=merchant, user=user, role=role)
    return credentials


def make_product(merchant: Merchant, sku: str, name: str, file_name: str) -> None:
    pool = LicensePool.objects.create(merchant=merchant, name=name, threshold=100)
    product = Product.objects.create(merchant=merchant, sku=sku, name=name)
    PoolMethod.objects.create(product=product, pool=pool)
    import_keys(pool, parse_keys((DEMO_FILES / file_name).read_bytes()), actor="demo", file_name=file_name)


def report_payment(merchant: Merchant) -> None:
    reported = {
        "order": "A0012345678",
        "paid_at": timezone.now(),
        "currency": "EUR",
        "customer": {"email": "ada@example.com", "first_name": "Ada", "last_name": "Byron", "country": "GB"},
        "items": [{"item": "1", "product": "PHOTO-PRO", "quantity": 2, "total_price": "59.98"}],
    }
    place_order(merchant, validate_payment(merchant, reported))


def write_credentials(credentials: dict[str, str]) -> Path:
    settings.VAR.mkdir(parents=True, exist_ok=True)
    path = settings.VAR / "demo.env"
    path.touch(mode=0o600)
    path.write_text("".join(f"{name}={value}\n" for name, value in credentials.items()))
    return path
