"""Every setting of the project. Everything comes from the environment, with safe defaults for a
laptop.

Names an operator must know: CURATOR_HOME, DATABASE_URL, REDIS_URL, SECRET_KEY, ALLOWED_HOSTS,
CURATOR_HTTPS. All bad or missing names are reported at once.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

from csp.constants import NONE, SELF
from environs import Env, validate

from curator.lib import broker, home, sqlite, uploads

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env(eager=False)
env.read_env(str(BASE_DIR / ".env"), recurse=False)

CURATOR_HOME = home.prepare(env.path("CURATOR_HOME", BASE_DIR / "var"))
STATIC_ROOT = env.path("STATIC_ROOT", CURATOR_HOME / "static")
DATABASE: dict[str, Any] = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": CURATOR_HOME / "curator.sqlite3",
}
if env.str("DATABASE_URL", ""):
    DATABASE = env.dj_db_url("DATABASE_URL", conn_max_age=60, conn_health_checks=True)
REDIS_URL = env.str("REDIS_URL", "")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])
CURATOR_HTTPS = env.bool("CURATOR_HTTPS", False)
SECRET_KEY = env.str("SECRET_KEY", "", validate=validate.Length(max=1000))
LOG_LEVEL = env.str(
    "LOG_LEVEL", "INFO", validate=validate.OneOf(["DEBUG", "INFO", "WARNING", "ERROR"])
)
# what the pages offer; the command line takes any folder or hub id
BACKBONES = env.list("BACKBONES", ["minilm"])
# where folders of reward models must lie that are registered from the browser
CHECKPOINTS_FOLDER = Path(env.str("CHECKPOINTS_FOLDER", "") or CURATOR_HOME / "checkpoints")
# how far workers stand back where processors are short: 0 not at all, 19 as far as can be
WORKER_NICENESS = env.int("WORKER_NICENESS", 5, validate=validate.Range(min=0, max=19))
MAX_UPLOAD_BYTES = env.int("MAX_UPLOAD_BYTES", 4 * 1024**3)
MAX_IMPORT_BYTES = env.int("MAX_IMPORT_BYTES", 16 * 1024**3)
if not CURATOR_HTTPS:
    SECRET_KEY = SECRET_KEY or home.secret_key(CURATOR_HOME)
elif not SECRET_KEY:
    SECRET_KEY = env.str("SECRET_KEY")  # a served installation names its own, shared by its hosts
env.seal()

DEBUG = False
# laptop mode: our own broker on a private socket, workers started on demand
IS_EMBEDDED = not REDIS_URL

# --- Application

INSTALLED_APPS = [
    "curator",
    "annotations",
    "scoring",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django_htmx",
    "csp",
    "axes",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    # before CSRF, which reads the body: a stranger uploads nothing
    "curator.middleware.SignInMiddleware",
    # as well: what is too large to be read is refused in the way that htmx asks for
    "django_htmx.middleware.HtmxMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "curator.middleware.RefusalMiddleware",
    "axes.middleware.AxesMiddleware",
]
ROOT_URLCONF = "curator.urls"
WSGI_APPLICATION = "curator.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
            "builtins": [
                "django.contrib.humanize.templatetags.humanize",
                "curator.templatetags.curator",
                "annotations.templatetags.texts",
            ],
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                    ],
                )
            ],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LANGUAGE_CODE = "en-gb"
TIME_ZONE = "UTC"
USE_I18N = False
USE_TZ = True

# --- Database

if DATABASE["ENGINE"] == "django.db.backends.sqlite3":
    DATABASE |= {
        "OPTIONS": sqlite.connection_options(),
        "CONN_MAX_AGE": None,
        "TEST": {"NAME": CURATOR_HOME / "test.sqlite3"},
    }
else:
    # compiling a question to machine code takes longer than answering any of ours, and so does
    # starting other processes for what an index finds
    DATABASE["OPTIONS"] = {
        **DATABASE.get("OPTIONS", {}),
        "options": "-c jit=off -c min_parallel_index_scan_size=1GB",
    }
DATABASES = {"default": DATABASE}

# --- People

AUTH_USER_MODEL = "curator.User"
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "scoring:datasets"
LOGOUT_REDIRECT_URL = "sign-in"
PASSWORD_RESET_TIMEOUT = 3 * 24 * 3600  # one-time sign-in links, in seconds
AUTHENTICATION_BACKENDS = [
    "axes.backends.AxesStandaloneBackend",
    "django.contrib.auth.backends.ModelBackend",
]
# guessing a password is slow, and an account is locked for the guesser's address alone
AXES_FAILURE_LIMIT = 8
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False
AXES_CLIENT_IP_CALLABLE = "curator.requests.client_address"
AXES_LOCKOUT_CALLABLE = "curator.views.locked_out"
AXES_VERBOSE = False
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {
        "NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]

# --- Security

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = CURATOR_HTTPS
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if CURATOR_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = CURATOR_HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if CURATOR_HTTPS else None
SECURE_REDIRECT_EXEMPT = [r"^health/$"]
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Plotly adds an empty <style>, then rules by script
EMPTY_STYLE = "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF, EMPTY_STYLE],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 1024 * 1024
FILE_UPLOAD_HANDLERS = [
    "curator.lib.uploads.CappedUploadHandler",
    "django.core.files.uploadhandler.TemporaryFileUploadHandler",
]
FILE_UPLOAD_TEMP_DIR = CURATOR_HOME / "run"

# --- Files

STATIC_URL = "static/"
STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": CURATOR_HOME / "files",
            "file_permissions_mode": 0o600,
            "directory_permissions_mode": 0o700,
        },
    },
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}

# --- Celery: the database is the truth and the broker a doorbell

CELERY_BROKER_URL = REDIS_URL or broker.embedded_url(CURATOR_HOME)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {"scoring.device_tasks.*": {"queue": "scoring"}}
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
# slept in full when anything runs; leases cover the rest
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 2 if IS_EMBEDDED else 20
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = False
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": 900,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "socket_timeout": 10,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "max_retries": 1,  # of a message on its way out; without it a request waits as long as Redis
    "interval_start": 0,
}
CELERY_TASK_PUBLISH_RETRY = False  # a message that cannot be sent now is sent by the sweep
CELERY_BEAT_SCHEDULE = {
    "sweep-annotations": {
        "task": "annotations.tasks.sweep",
        "schedule": 5,
        "options": {"expires": 5},
    },
    "sweep-scoring": {"task": "scoring.tasks.sweep", "schedule": 5, "options": {"expires": 5}},
}
CELERY_BEAT_SCHEDULE_FILENAME = str(CURATOR_HOME / "run" / "celerybeat-schedule")

# --- Logging

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "filters": {"in_one_line": {"()": "curator.lib.uploads.InOneLine"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "django.request": {"level": "ERROR"},
        "celery": {"level": LOG_LEVEL},
        **{name: {"filters": ["in_one_line"]} for name in uploads.LOGGERS},
    },
}
