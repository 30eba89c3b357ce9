"""Settings of one Keywell installation.

What differs between installations comes from the environment or from a file `.env` beside manage.py;
`.env.example` lists it all. Secrets have no default: `run.py` makes them for a demo.
"""

from ipaddress import ip_network
from pathlib import Path

import environ
from django.core.exceptions import ImproperlyConfigured

from licensing.cors import read_origins
from version import version

BASE_DIR = Path(__file__).resolve().parent.parent
environ.Env.read_env(BASE_DIR / ".env")
env = environ.Env()

# The installation

DEBUG = env.bool("DJANGO_DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY")
VAR = Path(env("KEYWELL_VAR", default=str(BASE_DIR / "var"))).resolve()
BASE_URL = env("BASE_URL", default="http://127.0.0.1:8000").rstrip("/")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = [BASE_URL]

# AES-256 keys for activation codes at rest, base64; the first encrypts, all decrypt (vault/ciphers.py).
VAULT_KEYS = env.list("VAULT_KEYS")

# Applications

INSTALLED_APPS = [
    "portal.staff.apps.AdminConfig",
    *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages"),
    *("django.contrib.staticfiles", "django.contrib.postgres", "django.contrib.humanize"),
    *("rest_framework", "drf_spectacular", "drf_spectacular_sidecar"),
    *("allauth", "allauth.account", "allauth.mfa", "django_htmx", "anymail"),
    *("vault", "work", "merchants", "orders", "pools", "outbound", "notices", "webhooks", "delivery", "fulfillment"),
    # The kinds of sources, in the order in which products offer them.
    "fulfillment.sources.pool",
    "fulfillment.sources.web_service",
    "fulfillment.sources.netlicensing",
    "fulfillment.sources.manual",
    *("licensing", "portal", "demo", "runtime"),
]

MIDDLEWARE = [
    "licensing.cors.Cors",
    "portal.middleware.Utf8Only",
    "portal.middleware.BodyLimit",
    "portal.middleware.DatabaseAway",
    "django.middleware.security.SecurityMiddleware",
    "portal.middleware.ContentSecurityPolicy",
    "portal.middleware.CompressedAssets",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.access.navigation",
            ]
        },
    }
]

# Database: PostgreSQL only (docs/decisions/0001-postgresql-only.md). A payment writes a dozen rows; opening a
# connection for each request would cost more than all of them.

DATABASES = {"default": env.db_url("DATABASE_URL")}
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL database: postgresql://user:password@host/name")
DATABASES["default"].update(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Broker and cache. Rows are the queue (work/models.py): flushing the broker loses nothing. The cache counts
# failed attempts to sign in; it is the database's, so that people get in while the broker is gone.

BROKER_URL = env("BROKER_URL")
# For those whom somebody waits for (work/valkey.py): the times, in seconds, are for connecting and for each answer.
VALKEY = {
    "url": BROKER_URL.replace("redis+socket://", "unix://"),
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.5,
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        # Far more than live counters: when it is full, a third of them is forgotten.
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    }
}

CELERY_BROKER_URL = BROKER_URL
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 300,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 30,
    "socket_connect_timeout": 5,
    "health_check_interval": 25,
}
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY = False
# Shorter than work.models.LEASE, or a second worker would take over from a living one.
CELERY_TASK_TIME_LIMIT = 50
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    # Seconds from one start to the next; beat runs them itself (runtime/beat.py).
    "sweep": {"task": "fulfillment.tasks.sweep", "schedule": 10},
    "purge": {"task": "fulfillment.tasks.purge_parameters", "schedule": 600},
}

# Mail. EMAIL_URL for SMTP (smtp+tls://user:password@host:587); or ANYMAIL_ESP, a module of anymail.backends, with
# its settings in ANYMAIL (POSTMARK_SERVER_TOKEN=...,...).

vars().update(env.email_url_config(env("EMAIL_URL", default="") or f"filemail:///{VAR}/mail"))
if vars()["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
    EMAIL_BACKEND = "outbound.mail_servers.InstallationServer"
# Seconds, for each answer of the mail server. One that looks into a mail before it accepts it takes its time, and
# asking again would send the mail again.
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="keywell@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# Who hears of merchants' requests to set up automatic sending; nobody, if empty.
SUPPORT_EMAIL = env.list("SUPPORT_EMAIL", default=[])
ANYMAIL = env.dict("ANYMAIL", default={})
if ANYMAIL_ESP := env("ANYMAIL_ESP", default=""):
    EMAIL_BACKEND = f"anymail.backends.{ANYMAIL_ESP}.EmailBackend"

# Calls to addresses that merchants type in (outbound/address_guard.py): networks of our own that they may reach all
# the same, by http:// too.

CALLOUT_NETWORKS = [ip_network(network) for network in env.list("CALLOUT_NETWORKS", default=[])]
# An HTTP proxy for those calls that leave our networks, http://user:password@host:port; never the environment's.
CALLOUT_PROXY = env("CALLOUT_PROXY", default="")

# Where this installation itself reaches its licensing service, for merchants who have their licenses made there.

LICENSING_URL = env("LICENSING_URL", default="") or f"{BASE_URL}/core/v2/rest"

# Web pages of these origins may call the licensing API from browsers; by default none may.

LICENSING_CORS_ORIGINS = read_origins("LICENSING_CORS_ORIGINS", env.list("LICENSING_CORS_ORIGINS", default=[]))

# Days for which the additional parameters of orders are kept (fulfillment/retention.py): of paid ones from the payment
# on, of deleted and terminated ones from then on. Those of unpaid ones stay.

ADDITIONAL_PARAMETERS_KEPT_PAID = env.int("ADDITIONAL_PARAMETERS_KEPT_PAID", default=365)
ADDITIONAL_PARAMETERS_KEPT_ENDED = env.int("ADDITIONAL_PARAMETERS_KEPT_ENDED", default=120)

# REST API

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["api.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["api.authentication.HasScope"],
    "DEFAULT_THROTTLE_CLASSES": ["api.throttling.ApiKeyThrottle"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["api.parsers.BoundedJSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "api.problems.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
# Requests a minute and API key: far above what one shop does, low enough that a loop gone wild is stopped.
API_REQUESTS_PER_MINUTE = env.int("API_REQUESTS_PER_MINUTE", default=20_000)
API_BODY_LIMIT = 1024 * 1024

SPECTACULAR_SETTINGS = {
    "TITLE": "Keywell API",
    "DESCRIPTION": "Report payments, read orders and their activation codes, fill pools. See docs/api.md.",
    "VERSION": version(),
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {},
}

# People

AUTH_USER_MODEL = "merchants.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "merchants.passwords.NotTheEmailAddress"},
]
PASSWORD_RESET_TIMEOUT = 3 * 60 * 60
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"

# Signing in is django-allauth's: by e-mail address, which is who somebody is and cannot be changed in pages. Nobody
# signs up; members are invited (merchants/team.py).
ACCOUNT_ADAPTER = "portal.account.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_LOGOUT_REDIRECT_URL = LOGIN_URL
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_REAUTHENTICATION_REQUIRED = MFA_REAUTHENTICATION_REQUIRED = True
# Five wrong passwords or codes lock an account for the device or the network they came from; fifty from devices that
# are not known, for all such devices; thirty a network address, which an office may share (portal/account/adapter.py).
# Requests for a new password are counted in delivery/link_requests.py, whose answer is always the same.
ACCOUNT_RATE_LIMITS = {"login_failed": "5/15m/key,30/15m/ip", "reset_password": "20/m/ip"}
LOGIN_FAILED_BY_STRANGERS = "50/15m/key"
ACCOUNT_FORMS = {
    "login": "portal.account.forms.LoginForm",
    "reauthenticate": "portal.account.forms.ReauthenticateForm",
    "change_password": "portal.account.forms.ChangePasswordForm",
    "set_password": "portal.account.forms.SetPasswordForm",
    "reset_password": "portal.account.forms.ResetPasswordForm",
    "reset_password_from_key": "portal.account.forms.ResetPasswordKeyForm",
}

# Support staff without a second factor are led to set one up before they see the admin.
STAFF_SECOND_FACTOR_REQUIRED = env.bool("STAFF_SECOND_FACTOR_REQUIRED", default=True)
MFA_ADAPTER = "portal.account.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Keywell"
MFA_TOTP_TOLERANCE = 1  # steps of 30 seconds: typing takes a while
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = BASE_URL.startswith("http://")
MFA_FORMS = {
    "authenticate": "portal.account.forms.AuthenticateForm",
    "reauthenticate": "portal.account.forms.ReauthenticateByCodeForm",
    "activate_totp": "portal.account.forms.ActivateTOTPForm",
    "add_webauthn": "portal.account.forms.AddPasskeyForm",
}

# Security

BEHIND_PROXY = env.bool("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# Whose address failed attempts are counted for: the last of X-Forwarded-For, which the proxy wrote.
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "portal.account.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")
# With this prefix browsers take a cookie from this host alone, not from another one of its domain.
COOKIE_PREFIX = "__Host-" if SESSION_COOKIE_SECURE else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid", f"{COOKIE_PREFIX}csrftoken"
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SECURE_HSTS_SECONDS = 31_536_000 if BASE_URL.startswith("https://") else 0
X_FRAME_OPTIONS = "DENY"
# Files of keys stay in memory: what is longer is refused, and nothing is spilled to a temporary file.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024 * 1024
DEFAULT_EXCEPTION_REPORTER_FILTER = "portal.errors.DiscreetReporterFilter"

# Language and time. Pages and mails for customers are in these languages (orders/localization.py, locale/); people who
# work here read English.

LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español"), ("ru", "Русский")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_TZ = True

# Static files, served by whitenoise straight from the applications' folders

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

# Logs go to standard error

LOG_LEVEL = env("LOG_LEVEL", default="INFO")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "filters": {"discreet": {"()": "portal.errors.DiscreetLogFilter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL},
        "django.request": {"filters": ["discreet"]},
        # What was purged is in the log, though Celery's workers keep quiet about what goes well.
        "fulfillment.retention": {"level": LOG_LEVEL},
        # It warns of each request that waits for a thread.
        "waitress.queue": {"level": "ERROR"},
        # Its warnings and debug lines hold URLs, with what customers entered.
        "urllib3": {"level": "ERROR"},
        # At DEBUG it writes down what a template was given, codes, links and all.
        "django.template": {"level": "INFO"},
    },
}
