def post_confirmed(client, address, data, **options):
    """Post to the admin, and confirm what it asks."""
    asked = client.post(address, data)
    fields = asked.context and asked.context.get("fields")
    answer = {"_confirmed": dict(fields)["_confirmed"]} if fields else {}
    return client.post(address, data | answer, **options)
