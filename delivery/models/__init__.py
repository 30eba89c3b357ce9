from delivery.models.deliveries import DeliveredCode, Delivery
from delivery.models.link_requests import LinkRequest
from delivery.models.tracking import TrackingEvent

__all__ = ["DeliveredCode", "Delivery", "LinkRequest", "TrackingEvent"]
