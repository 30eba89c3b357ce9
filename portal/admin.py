"""Django imports this module automatically. Admin pages are in portal/staff and the sections' `admin` modules."""

from importlib import import_module
from pathlib import Path

from portal.staff import fulfillment, incidents, licensing, merchants, orders, pools, shops

for path in sorted(Path(__file__).parent.glob("*/admin.py")):
    import_module(f"portal.{path.parent.name}.admin")
