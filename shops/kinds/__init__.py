"""The kinds of shops, in the order in which the portal offers them."""

from shops.kinds.base import Kind
from shops.kinds.fastspring import FastSpring
from shops.kinds.gumroad import Gumroad
from shops.kinds.lemonsqueezy import LemonSqueezy
from shops.kinds.noventiq import Noventiq
from shops.kinds.shopify import Shopify
from shops.kinds.standard_webhooks import StandardWebhooks
from shops.kinds.stripe import Stripe
from shops.kinds.woocommerce import WooCommerce

KINDS: dict[str, type[Kind]] = {
    kind.code: kind
    for kind in (
        WooCommerce,
        Shopify,
        Stripe,
        FastSpring,
        LemonSqueezy,
        Gumroad,
        Noventiq,
        StandardWebhooks,
    )
}
