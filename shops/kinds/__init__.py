"""The kinds of shops, in the order in which the portal offers them."""

from shops.kinds.base import ShopKind
from shops.kinds.fastspring import FastSpring
from shops.kinds.fastspring_request import FastSpringRequest
from shops.kinds.generic import Generic, Make, N8n, Zapier
from shops.kinds.gumroad import Gumroad
from shops.kinds.lemonsqueezy import LemonSqueezy
from shops.kinds.noventiq import Noventiq
from shops.kinds.noventiq_request import NoventiqRequest
from shops.kinds.paddle import Paddle
from shops.kinds.paypal import PayPal
from shops.kinds.paypro import PayPro
from shops.kinds.plain import Plain
from shops.kinds.shopify import Shopify
from shops.kinds.standard_webhooks import StandardWebhooks
from shops.kinds.stripe import Stripe
from shops.kinds.twocheckout import TwoCheckout
from shops.kinds.woocommerce import WooCommerce

KINDS: dict[str, type[ShopKind]] = {
    kind.code: kind
    for kind in (
        WooCommerce,
        Shopify,
        Stripe,
        Paddle,
        PayPal,
        FastSpring,
        LemonSqueezy,
        Gumroad,
        Noventiq,
        StandardWebhooks,
        Zapier,
        N8n,
        Make,
        Generic,
        # These ask for a license and get it in the answer.
        FastSpringRequest,
        TwoCheckout,
        PayPro,
        NoventiqRequest,
        Plain,
    )
}
