"""What must not be kept: keys and passwords, wherever text is written.

A server may repeat the key that it was sent, and an error message may quote an
address with a password in it. Whoever writes a text from outside into a log, a
file or an error masks it first. Imports nothing but the standard library.
"""

import os
import re
import urllib.parse
from collections.abc import Mapping

MASK = '***'

# Shorter ones would blank out ordinary words.
SHORTEST = 6

_NAMES = re.compile(
    r'(^|_)(API_?KEYS?|KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)',
    re.I)
_SHAPES = (
    # Keys of the usual providers, whoever they belong to.
    (re.compile(r'\b(?:sk|pk|xai|gsk|hf|ghp)[-_](?=[\w-]{8})[\w-]+'), MASK),
    (re.compile(r'(\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}', re.I), rf'\1{MASK}'),
    # In the query of an address: ?api_key=
    (re.compile(
        r'([?&][\w-]*(?:key|token|secret|passw(?:or)?d|sig(?:nature)?)=)'
        r'[^&\s\'"#]+', re.I), rf'\1{MASK}'),
    # Before the host of an address: //user:password@
    (re.compile(r'(//)[^/\s@\'"]+@'), rf'\1{MASK}@'))


def collect(environ: Mapping[str, str] | None = None) -> list[str]:
  """Returns the secrets in the environment, the longest first.

  Args:
    environ: Mapping of variables; None takes the process's.

  Returns:
    A list of strings: values of variables that are named like a key, a token
    or a password, and the passwords of addresses in any variable.
  """
  found = set()
  for name, value in (os.environ if environ is None else environ).items():
    value = value.strip()
    if _NAMES.search(name) and not os.path.exists(value):
      found.add(value)
    if '://' in value and '@' in value:
      try:
        password = urllib.parse.urlsplit(value).password or ''
      except ValueError:
        continue
      found |= {password, urllib.parse.unquote(password)}
  return sorted((x for x in found if len(x) >= SHORTEST), key=len)[::-1]


def holds(query: str) -> bool:
  """Returns whether the query of an address has a secret in it."""
  return mask(f'?{query}', {}) != f'?{query}'


def mask(text: str, environ: Mapping[str, str] | None = None) -> str:
  """Returns a text with everything that is, or looks like, a secret masked.

  Args:
    text: Any string.
    environ: See `collect`.
  """
  for secret in collect(environ):
    text = text.replace(secret, MASK)
  for shape, by in _SHAPES:
    text = shape.sub(by, text)
  return text
