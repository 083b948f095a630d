"""djangorestframework-api-key in a Django project of one file."""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="only-for-the-bench",
    ALLOWED_HOSTS=["127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework", "rest_framework_api_key"],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": os.environ["DATABASE"],
            "CONN_MAX_AGE": None,
            "OPTIONS": {
                "timeout": 30,
                "transaction_mode": "IMMEDIATE",
                "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL",
            },
        }
    },
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "UNAUTHENTICATED_USER": None,
    },
)
django.setup()

from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.urls import path  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework_api_key.models import APIKey  # noqa: E402


@api_view(["POST"])
def verify(request):
    try:
        key = APIKey.objects.get_from_key(request.data["key"])
    except APIKey.DoesNotExist:
        return Response({"valid": False})
    return Response({"valid": not key.has_expired, "id": key.prefix, "name": key.name})


@api_view(["POST"])
def create(request):
    key, secret = APIKey.objects.create_key(name=request.data["name"])
    return Response({"id": key.prefix, "key": secret, "name": key.name}, status=201)


urlpatterns = [path("verify", verify), path("keys", create)]
call_command("migrate", verbosity=0)
application = get_wsgi_application()
