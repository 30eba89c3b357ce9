"""Django looks for the staff pages here."""

from portal.staff import fulfillment, licensing, merchants, orders, pools

__all__ = ["fulfillment", "licensing", "merchants", "orders", "pools"]
