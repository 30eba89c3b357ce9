from contextlib import suppress

from django.contrib import admin

from fulfillment.chains import wake_waiting
from fulfillment.models import (
    Callout,
    Delivery,
    Fulfillment,
    FulfillmentMethod,
    MerchantNotice,
    WebhookEndpoint,
    WebhookMessage,
)
from fulfillment.services import RetryRefused, retry
from merchants.admin import NarrowSave, ReadOnly
from merchants.models import EmailTemplate, Product


class FulfillmentMethodInline(admin.TabularInline):
    model = FulfillmentMethod
    autocomplete_fields = ["pool"]
    extra = 0


@admin.register(Product)
class ProductAdmin(NarrowSave, admin.ModelAdmin):
    list_display = ["name", "sku", "merchant", "quantity_rule"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    search_fields = ["name", "sku"]
    autocomplete_fields = ["merchant"]
    inlines = [FulfillmentMethodInline]

    def get_readonly_fields(self, request, obj=None):
        return ["merchant"] if obj else []

    def save_related(self, request, form, formsets, change):
        super().save_related(request, form, formsets, change)
        if any(formset.has_changed() for formset in formsets):
            wake_waiting(form.instance)


@admin.register(EmailTemplate)
class EmailTemplateAdmin(ReadOnly, admin.ModelAdmin):
    """Versions are added, with who did it, and never changed."""

    list_display = ["merchant", "product", "language", "subject", "saved_by", "saved_at"]
    list_filter = ["merchant", "language"]
    list_select_related = ["merchant", "product"]
    fields = ["merchant", "product", "language", "subject", "body"]
    autocomplete_fields = ["merchant", "product"]

    def has_add_permission(self, request, obj=None):
        return admin.ModelAdmin.has_add_permission(self, request)

    def save_model(self, request, obj, form, change):
        obj.body = obj.body.replace("\r\n", "\n")
        obj.saved_by = f"{request.user}, support staff"
        obj.save()


class RetryableAdmin(ReadOnly, admin.ModelAdmin):
    show_full_result_count = False


@admin.register(Fulfillment)
class FulfillmentAdmin(RetryableAdmin):
    list_display = ["item", "status", "reason", "attempts", "due_at"]
    list_filter = ["status"]
    list_select_related = ["item__order"]
    actions = ["try_again"]

    def has_try_again_permission(self, request):
        return request.user.has_perm("fulfillment.change_fulfillment")

    @admin.action(description="Try again at once", permissions=["try_again"])
    def try_again(self, request, fulfillments):
        count = 0
        for fulfillment in fulfillments.unfinished().select_related("item__order"):
            with suppress(RetryRefused):
                retry(fulfillment.item, by=f"{request.user}, support staff")
                count += 1
        self.message_user(request, f"{count} will be tried again within seconds.")


@admin.register(Delivery)
class DeliveryAdmin(RetryableAdmin):
    list_display = ["order", "kind", "status", "recipient", "reason", "attempts", "due_at", "sent_at"]
    list_filter = ["status", "kind"]
    list_select_related = ["order"]
    fields = ["order", "kind", "status", "recipient", "message_id", "reason", "attempts", "due_at", "sent_at"]


@admin.register(MerchantNotice)
class MerchantNoticeAdmin(RetryableAdmin):
    list_display = ["merchant", "kind", "pool", "item", "endpoint", "created_at", "sent_at", "reason"]
    list_filter = ["kind"]
    list_select_related = ["merchant", "pool", "item__order", "endpoint"]


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["merchant", "url", "state", "failing_since", "disabled_at", "disabled_reason"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    # All but the secrets.
    fields = [
        *("merchant", "url", "description", "events", "created_at", "rotated_at"),
        *("state", "failing_since", "disabled_at", "disabled_reason"),
    ]


@admin.register(WebhookMessage)
class WebhookMessageAdmin(RetryableAdmin):
    list_display = ["endpoint", "event", "event_id", "status", "reason", "attempts", "created_at", "due_at"]
    list_filter = ["status", "event"]
    list_select_related = ["endpoint"]


@admin.register(Callout)
class CalloutAdmin(ReadOnly, admin.ModelAdmin):
    list_display = ["merchant", "called_at", "method", "url", "attempt", "status_code", "milliseconds", "error"]
    list_filter = ["merchant"]
    list_select_related = ["merchant"]
    show_full_result_count = False
