"""The kinds of shops, in the order in which the portal offers them."""

from shops.kinds.base import Kind
from shops.kinds.generic import Generic, Make, N8n, Zapier
from shops.kinds.paddle import Paddle
from shops.kinds.paypal import PayPal
from shops.kinds.stripe import Stripe
from shops.kinds.woocommerce import WooCommerce

KINDS: dict[str, type[Kind]] = {
    kind.code: kind for kind in (WooCommerce, Stripe, Paddle, PayPal, Zapier, N8n, Make, Generic)
}
