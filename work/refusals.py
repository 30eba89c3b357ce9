class Refused(Exception):
    """An action was refused. The message tells the user why. The API answers 409, and pages show the message."""

    code: str  # stable, for API clients
    errors: list[dict[str, str]] = []  # the fields concerned, as JSON pointers
