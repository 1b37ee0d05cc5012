"""What a row of the file may hold, whatever came in.

Texts and numbers come from providers and from files that others wrote.
"""

import json
import math
from typing import Any

from .. import errors
from .. import secrets

LONGEST = 1_000_000  # Characters kept of a field.

COLUMNS = (
    'key', 'state', 'provider', 'model', 'prompt', 'describer', 'mode', 'text',
    'mission', 'candidates', 'scores', 'raw', 'parser', 'tokens_in',
    'tokens_out', 'money', 'seconds', 'created')


def parse(row: Any) -> dict:
  """Returns a row of `replies` as a dict.

  Raises:
    StoreError: It was damaged, so that it does not say one finite score for
      each candidate.
  """
  row = dict(row)
  try:
    row['candidates'] = tuple(str(x) for x in json.loads(row['candidates']))
    row['scores'] = tuple(float(x) for x in json.loads(row['scores']))
    row['parser'] = int(row['parser'])
    sound = len(row['scores']) == len(row['candidates']) > 0 and all(
        map(math.isfinite, row['scores']))
  except (TypeError, ValueError, RecursionError):
    sound = False
  if not sound:
    raise errors.StoreError(
        f'Reply {row["seq"]} was damaged: {row["scores"]!r:.100} are no scores'
        f' of {row["candidates"]!r:.200}. It is not used')
  return row


def try_parse(row: Any) -> dict | None:
  """Returns a row as a dict; None if it was damaged."""
  try:
    return parse(row)
  except errors.StoreError:
    return None


def columns(row: dict) -> list:
  """Returns a reply's columns as SQLite stores them, whatever came in.

  Only the provider's own words are masked. The others are the address of the
  reply, and are the world's: masked, they would be found no more.
  """
  row = dict(row)
  row['raw'] = plain(row['raw'])
  for name in ('candidates', 'scores'):
    if not isinstance(row[name], str):
      row[name] = json.dumps(list(row[name]))
  for name in ('tokens_in', 'tokens_out', 'parser'):
    row[name] = count(row[name]) or 0
  for name in ('money', 'seconds', 'created'):
    row[name] = amount(row[name]) or 0.0
  return [
      x if isinstance(x, (int, float)) else encodable(x)
      for x in (row[name] for name in COLUMNS)]


def count(value: Any) -> int | None:
  """Returns a whole number >= 0, or None if that is none."""
  try:
    value = int(value)
  except (TypeError, ValueError, OverflowError):
    return None
  return value if 0 <= value < 2 ** 53 else None


def amount(value: Any) -> float | None:
  """Returns a finite number >= 0, or None if that is none."""
  try:
    value = float(value)
  except (TypeError, ValueError, OverflowError):
    return None
  return value if 0 <= value < math.inf else None


def bounded(value: float | None, reserved: float) -> float:
  """Returns what counts: what was spent, and at most what was reserved.

  Args:
    value: What was spent; None if unknown.
    reserved: What was set aside; 0 if nothing is known of a call before.
  """
  if value is None:
    return reserved
  return min(value, reserved) if reserved > 0 else value


def plain(text: Any) -> str:
  """Returns text that may be stored, whatever and how much came in."""
  return encodable(secrets.mask(str(text)[:LONGEST]))


def encodable(text: Any) -> str:
  """Returns text that SQLite takes, with nothing in it masked."""
  return str(text)[:LONGEST].encode('utf-8', 'replace').decode('utf-8')


def same(words: tuple[str, ...], candidates: tuple[str, ...]) -> bool:
  """Returns whether stored words are those of a question's candidates.

  Earlier versions masked there what looked like a secret. Such replies were
  paid for.
  """
  return words == candidates or words == tuple(map(secrets.mask, candidates))
