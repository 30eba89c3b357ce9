"""Where activation codes come from: an application a kind, and a line in INSTALLED_APPS."""
