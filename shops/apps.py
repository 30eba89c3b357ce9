from django.apps import AppConfig


class ShopsConfig(AppConfig):
    name = "shops"

    def ready(self):
        from fulfillment.personal_data import HOLDERS
        from shops.personal_data import ShopEvents

        HOLDERS.append(ShopEvents)
