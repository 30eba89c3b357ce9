from django.contrib import admin

from fulfillment.models import Delivery, Fulfillment, FulfillmentMethod, MerchantNotice
from merchants.admin import ReadOnly
from merchants.models import Product


class FulfillmentMethodInline(admin.TabularInline):
    model = FulfillmentMethod
    autocomplete_fields = ["pool"]
    extra = 0


@admin.register(Product)
class ProductAdmin(admin.ModelAdmin):
    list_display = ["name", "sku", "merchant", "quantity_rule"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    search_fields = ["name", "sku"]
    autocomplete_fields = ["merchant"]
    inlines = [FulfillmentMethodInline]


class RetryableAdmin(ReadOnly, admin.ModelAdmin):
    show_full_result_count = False


@admin.register(Fulfillment)
class FulfillmentAdmin(RetryableAdmin):
    list_display = ["item", "status", "reason", "attempts", "due_at"]
    list_filter = ["status"]
    list_select_related = ["item__order"]


@admin.register(Delivery)
class DeliveryAdmin(RetryableAdmin):
    list_display = ["order", "kind", "status", "recipient", "reason", "attempts", "due_at", "sent_at"]
    list_filter = ["status", "kind"]
    list_select_related = ["order"]
    fields = ["order", "kind", "status", "recipient", "message_id", "reason", "attempts", "due_at", "sent_at"]


@admin.register(MerchantNotice)
class MerchantNoticeAdmin(RetryableAdmin):
    list_display = ["merchant", "kind", "pool", "item", "created_at", "sent_at", "reason"]
    list_filter = ["kind"]
    list_select_related = ["merchant", "pool", "item__order"]
