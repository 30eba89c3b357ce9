"""Django looks for the staff pages here: they are in portal/staff, and in the `admin` of other sections."""

from importlib import import_module
from pathlib import Path

from portal.staff import fulfillment, incidents, licensing, merchants, orders, pools

for path in sorted(Path(__file__).parent.glob("*/admin.py")):
    import_module(f"portal.{path.parent.name}.admin")
