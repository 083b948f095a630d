"""Plugin for detect-secrets 1.5. Run: detect-secrets scan --plugin detect_secrets_mintkey.py

It checks the checksum of a key, so that it reports no text that only looks like one.
"""

import re
import zlib

from detect_secrets.plugins.base import RegexBasedDetector

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def has_checksum(key):
    """True if the last six characters are the CRC-32 of the others, in base 62."""
    body, checksum = key[:-6], 0
    for digit in key[-6:]:
        checksum = checksum * 62 + DIGITS.index(digit)
    return checksum == zlib.crc32(body.encode())


class MintkeyDetector(RegexBasedDetector):
    secret_type = "API key of mintkey"
    denylist = [re.compile(r"[a-z0-9_]{1,20}_[0-9A-Za-z]{49}\b")]

    def analyze_string(self, string):
        # Escapes (\n, %3D) and names (KEY_) run into a key, so each beginning is tried.
        for found in super().analyze_string(string):
            yield from filter(has_checksum, (found[start:] for start in range(len(found) - 50)))
