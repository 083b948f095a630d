"""Verifies an API key: python verify.py KEY. Needs the package `requests`."""

import os
import sys

import requests

url = os.environ["MINTKEY_URL"] + "/api/auth/api-keys/verify"
headers = {"Authorization": "Bearer " + os.environ["GATEWAY_KEY"]}
body = {"key": sys.argv[1], "scopes": ["projects:read"]}
response = requests.post(url, json=body, headers=headers, timeout=5)
response.raise_for_status()  # Any error denies access.
print(response.json()["code"])
