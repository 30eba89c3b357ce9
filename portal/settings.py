"""Settings of one Keywell installation.

Deployment values come from the environment or from a file `.env` next to manage.py (runtime/configuration.py); see
`.env.example`. Secrets have no default. `run.py` generates them for the demo.
"""

from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from licensing.cors import read_origins
from runtime.configuration import (
    Settings,
    check_required,
    read_base_url,
    read_broker_url,
    read_database_url,
    read_networks,
    read_settings_file,
)
from version import version

BASE_DIR = Path(__file__).resolve().parent.parent
read_settings_file()
env = Settings()
check_required(env, ("SECRET_KEY",), ("VAULT_KEYS",), ("DATABASE_URL",), ("BROKER_URL",), ("EMAIL_URL", "ANYMAIL_ESP"))

# The installation

DEBUG = env.flag("DJANGO_DEBUG", default=False)
SECRET_KEY = env("SECRET_KEY")
VAR = Path(env("KEYWELL_VAR", default=str(BASE_DIR / "var"))).resolve()
BASE_URL = env.parse("BASE_URL", read_base_url, "like https://keys.example.com", default="http://127.0.0.1:8000")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["localhost", "127.0.0.1", "[::1]", urlsplit(BASE_URL).hostname])
CSRF_TRUSTED_ORIGINS = [BASE_URL]

# AES-256 keys for activation codes at rest, base64; the first encrypts, all decrypt (vault/ciphers.py).
VAULT_KEYS = env.list("VAULT_KEYS")

# Applications

INSTALLED_APPS = [
    "portal.staff.apps.AdminConfig",
    *("django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages"),
    *("django.contrib.staticfiles", "django.contrib.postgres", "django.contrib.humanize"),
    *("rest_framework", "drf_spectacular"),
    *("allauth", "allauth.account", "allauth.mfa", "django_htmx", "anymail"),
    *("vault", "work", "merchants", "orders", "pools", "outbound", "notices", "webhooks", "delivery", "fulfillment"),
    # The kinds of sources, in the order in which products list them.
    "fulfillment.sources.pool",
    "fulfillment.sources.web_service",
    "fulfillment.sources.netlicensing",
    "fulfillment.sources.manual",
    *("shops", "licensing", "portal.apps.PortalConfig", "demo", "runtime"),
]

MIDDLEWARE = [
    "runtime.health.Probes",
    "portal.observation.Observation",
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
    "portal.languages.LanguageAndTime",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "portal.urls"
FORM_RENDERER = "portal.forms.Renderer"
WSGI_APPLICATION = "portal.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["django.templatetags.i18n", "portal.templatetags.forms"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.navigation.navigation",
            ],
        },
    }
]

# Database: PostgreSQL only (docs/decisions/0001-postgresql-only.md). Connections are persistent: opening one for
# each request would cost more than the dozen rows that a payment writes. They are checked after a pause.

DATABASES = {
    "default": env.parse("DATABASE_URL", read_database_url, "like postgresql://user:password@host/name", default="")
}
DATABASES["default"].update(ENGINE="runtime.postgresql", CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)
# Such a cursor outside a transaction would need a session, which PgBouncer doesn't keep in transaction mode.
DATABASES["default"]["DISABLE_SERVER_SIDE_CURSORS"] = True
# The statements that run most often are prepared once per connection (runtime/postgresql/).
PREPARED_STATEMENTS = env.flag("PREPARED_STATEMENTS", default=True)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Broker and cache. Database rows are the queue (work/models.py), so flushing the broker loses nothing. The cache
# counts failed sign-ins. It is in the database, so that people can sign in while the broker is down.

BROKER_URL = env.parse("BROKER_URL", read_broker_url, "like redis://host:6379/0 or redis+socket:///path", default="")
# For requests that people wait for (work/valkey.py). Timeouts are in seconds.
VALKEY = {
    "url": BROKER_URL.replace("redis+socket://", "unix://"),
    "socket_connect_timeout": 0.5,
    "socket_timeout": 0.5,
}
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.db.DatabaseCache",
        "LOCATION": "portal_cache",
        # Far more than the live counters need: a full cache drops a third of its entries.
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
# Has to be shorter than work.models.LEASE, or a second worker takes over from one that is still running.
CELERY_TASK_TIME_LIMIT = 50
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 20
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    # Interval in seconds between starts; beat runs these tasks itself (runtime/beat.py).
    "sweep": {"task": "fulfillment.tasks.sweep", "schedule": 10},
    "shops": {"task": "shops.tasks.sweep", "schedule": 10},
    "purge": {"task": "fulfillment.tasks.purge_parameters", "schedule": 600},
    "heartbeat": {"task": "runtime.tasks.record_beat", "schedule": 15},
    "audit": {"task": "runtime.tasks.begin_audit", "schedule": 600},
}

# E-mail. Either EMAIL_URL for SMTP (smtp+tls://user:password@host:587), or ANYMAIL_ESP, a module of
# anymail.backends, with its settings in ANYMAIL (POSTMARK_SERVER_TOKEN=...,...).

MAIL_FORM = "like smtp+tls://user:password@host:587, or smtp+ssl://…, or smtp://… without TLS (see .env.example)"
vars().update(env.parse("EMAIL_URL", env.email_url_config, MAIL_FORM, default="dummymail://"))
if vars()["EMAIL_BACKEND"] == "django.core.mail.backends.smtp.EmailBackend":
    EMAIL_BACKEND = "outbound.mail_servers.InstallationServer"
if vars()["EMAIL_BACKEND"] == "django.core.mail.backends.filebased.EmailBackend":
    EMAIL_BACKEND = "outbound.mail_files.MailFolder"
# Seconds, for each response of the mail server. Generous, because some servers scan an e-mail before they accept it,
# and a retry would send it again.
EMAIL_TIMEOUT = 30
DEFAULT_FROM_EMAIL = env("DEFAULT_FROM_EMAIL", default="keywell@localhost")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
# Recipients of merchants' requests to set up automatic sending, and of the nightly audit's findings.
SUPPORT_EMAIL = env.list("SUPPORT_EMAIL", default=[])
ANYMAIL = env.dict("ANYMAIL", default={})
if ANYMAIL_ESP := env("ANYMAIL_ESP", default=""):
    EMAIL_BACKEND = f"anymail.backends.{ANYMAIL_ESP}.EmailBackend"

# Requests to URLs of merchants (outbound/address_guard.py): our own networks that they may reach anyway, even over
# http://.

CALLOUT_NETWORKS = env.parse("CALLOUT_NETWORKS", read_networks, "a list of networks such as 10.1.2.0/24", default="")
# HTTP proxy for requests to all other networks, http://user:password@host:port. Ignores the environment's proxies.
CALLOUT_PROXY = env("CALLOUT_PROXY", default="")

# The URL at which this installation reaches its own licensing service.

LICENSING_URL = env("LICENSING_URL", default="") or f"{BASE_URL}/core/v2/rest"

# Origins of web pages that may call the licensing API from browsers. None by default.

LICENSING_CORS_ORIGINS = read_origins("LICENSING_CORS_ORIGINS", env.list("LICENSING_CORS_ORIGINS", default=[]))

# Retention of orders' additional parameters in days (fulfillment/retention.py), counted from the payment, or from when
# an order was deleted or terminated. Unpaid orders keep theirs.

ADDITIONAL_PARAMETERS_KEPT_PAID = env.number("ADDITIONAL_PARAMETERS_KEPT_PAID", default=365)
ADDITIONAL_PARAMETERS_KEPT_ENDED = env.number("ADDITIONAL_PARAMETERS_KEPT_ENDED", default=120)

# Days after which test orders are deleted (fulfillment/sandbox.py).

TEST_DATA_RETENTION = env.number("TEST_DATA_RETENTION", default=30)

# Days for which events of mail providers (delivery/tracking.py) and notices to merchants (notices/sending.py) stay.

MAIL_EVENT_RETENTION = env.number("MAIL_EVENT_RETENTION", default=365)
NOTICE_RETENTION = env.number("NOTICE_RETENTION", default=365)

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
# Per API key. Far above what a shop needs, but low enough to stop a runaway loop.
API_REQUESTS_PER_MINUTE = env.number("API_REQUESTS_PER_MINUTE", default=20_000)
API_BODY_LIMIT = 1024 * 1024

SPECTACULAR_SETTINGS = {
    "TITLE": "Keywell API",
    "DESCRIPTION": "Report payments, read orders and their activation codes, fill pools.",
    "VERSION": version(),
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_AUTHENTICATION": [],
    "SERVE_PERMISSIONS": ["rest_framework.permissions.AllowAny"],
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
AUTHENTICATION_BACKENDS = ["portal.account.backend.MemberBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"

# django-allauth handles signing in, by e-mail address. Users can't change their address. There is no sign-up; members
# are invited (merchants/team.py).
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
# Failed sign-ins (portal/account/adapter.py): 5 lock an account for their device or network, 50 from unknown devices
# lock it for all unknown devices, and 30 lock an IP address, which an office may share. Password resets are counted in
# delivery/link_requests.py, which always responds the same.
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

# Support staff have to set up a second factor before they can use the admin.
STAFF_SECOND_FACTOR_REQUIRED = env.flag("STAFF_SECOND_FACTOR_REQUIRED", default=True)
MFA_ADAPTER = "portal.account.adapter.SecondFactorAdapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_ALLOW_UNVERIFIED_EMAIL = True
MFA_TOTP_ISSUER = "Keywell"
MFA_TOTP_TOLERANCE = 1  # steps of 30 seconds, to allow time for typing
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = BASE_URL.startswith("http://")
MFA_FORMS = {
    "authenticate": "portal.account.forms.AuthenticateForm",
    "reauthenticate": "portal.account.forms.ReauthenticateByCodeForm",
    "activate_totp": "portal.account.forms.ActivateTOTPForm",
    "add_webauthn": "portal.account.forms.AddPasskeyForm",
}

# Security

BEHIND_PROXY = env.flag("BEHIND_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_PROXY else None
# Failed sign-ins count for the last address in X-Forwarded-For, which the proxy adds.
ALLAUTH_TRUSTED_PROXY_COUNT = 1 if BEHIND_PROXY else 0
SECURE_REFERRER_POLICY = "same-origin"
SESSION_ENGINE = "portal.account.sessions"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")
# With this prefix, browsers accept the cookie only from this host, not from other hosts of its domain.
COOKIE_PREFIX = "__Host-" if SESSION_COOKIE_SECURE else ""
SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = f"{COOKIE_PREFIX}sessionid", f"{COOKIE_PREFIX}csrftoken"
LANGUAGE_COOKIE_NAME, LANGUAGE_COOKIE_AGE = f"{COOKIE_PREFIX}language", 365 * 24 * 3600
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"
SECURE_HSTS_SECONDS = 31_536_000 if BASE_URL.startswith("https://") else 0
X_FRAME_OPTIONS = "DENY"
# Key files stay in memory and never reach a temporary file. Larger uploads are refused.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.MemoryFileUploadHandler"]
FILE_UPLOAD_MAX_MEMORY_SIZE = DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024 * 1024
DEFAULT_EXCEPTION_REPORTER_FILTER = "portal.errors.DiscreetReporterFilter"

# Language and time. Customers get pages and e-mails in LANGUAGES (orders/localization.py, locale/). Members and
# support staff choose among MEMBER_LANGUAGES, for which `run.py manage translations --check` requires every text.

LANGUAGE_CODE = "en-us"
LANGUAGES = [("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español"), ("ru", "Русский")]
MEMBER_LANGUAGES = ["en", "de", "fr", "es", "ru"]
LOCALE_PATHS = [BASE_DIR / "locale", BASE_DIR / "locale/members"]
FORMAT_MODULE_PATH = "portal.formats"
TIME_ZONE = "UTC"
USE_TZ = True

# Static files, served by whitenoise straight from the applications' folders

STATIC_URL = "static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
WHITENOISE_USE_FINDERS = True

# Logs go to standard error

LOG_LEVEL = env("LOG_LEVEL", default="INFO")
LOG_FORMAT = env("LOG_FORMAT", default="line")
if LOG_FORMAT not in {"line", "json"}:
    raise ImproperlyConfigured(f"LOG_FORMAT must be line or json, not {LOG_FORMAT!r}.")
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "portal.logs.LineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "portal.logs.JsonFormatter"},
    },
    "filters": {"discreet": {"()": "portal.errors.DiscreetLogFilter"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
    "loggers": {
        "django": {"handlers": [], "level": LOG_LEVEL},
        "django.request": {"filters": ["discreet"]},
        # Logs what was purged, although Celery workers don't log successful tasks.
        "fulfillment.retention": {"level": LOG_LEVEL},
        "runtime.auditing": {"level": LOG_LEVEL},
        # Likewise, logs each attempt at a row of work.
        "work.attempts": {"level": LOG_LEVEL},
        # Logs a warning for each request that waits for a thread.
        "waitress.queue": {"level": "ERROR"},
        # Its warnings and debug messages contain URLs with customer data.
        "urllib3": {"level": "ERROR"},
        # At DEBUG it logs template variables, including codes and links.
        "django.template": {"level": "INFO"},
    },
}

# Monitoring (docs/monitoring.md). Without a token, only programs on this machine read /metrics.

METRICS_TOKEN = env("METRICS_TOKEN", default="")
METRICS_FOLDER = VAR / "metrics"
# Unexpected errors are reported to this address, without any values (portal/sentry.py).
SENTRY_DSN = env("SENTRY_DSN", default="")
