"""What happened, in numbers, and said once."""

import collections
import logging
from collections.abc import Mapping
from typing import Any

from .. import errors
from .. import secrets

log = logging.getLogger('lore_plugin')

# How failures are named, the most special ones first.
KINDS = {
    'replay': errors.ReplayError,
    'rejected': errors.RejectedCall,
    'busy': errors.BusyCall,
    'parse': errors.ParseError,
    'failed': errors.FailedCall,
    'store': errors.StoreError,
}

# What becomes of an advisor that failed.
TAIL = {
    'rejected': ', and this advisor is not asked again.',
    'busy': '; it is asked again later.',
    'failed': '; it is asked again later.',
}

# Counters that are there from the beginning.
ALWAYS = (
    'calls', 'hits', 'misses', 'refused_budget', 'refused_cooldown',
    'sole', 'tokens_in', 'tokens_out', 'money', 'seconds')


class Counts(collections.Counter):
  """Counts by name.

  Args:
    mode: What is asked for; names failures that are nobody's.
  """

  def __init__(self, mode: str):
    super().__init__()
    self._mode = mode
    self._said: dict[tuple[str, str], str] = {}

  def note(self, kind: str, error: Exception, source: Any = None) -> None:
    """Counts a failure, and says so the first time."""
    self[f'failures_{kind}'] += 1
    name = source.identity.provider if source else self._mode
    if (kind, name) not in self._said:
      text = secrets.mask(str(error))
      where = source.provider.where if source else ''
      self._said[kind, name] = f'{type(error).__name__}: {text}' + (
          f' ({where})' if where else '')
      # That a replay lacks states is what it is for; it is counted.
      level = logging.INFO if kind == 'replay' else logging.WARNING
      log.log(
          level,
          'Advisor %s: %s: %s: %s. Training goes on without this advice%s',
          f'{name} at {where}' if where else name, kind,
          type(error).__name__, text.rstrip('.'),
          TAIL.get(kind, '.'))

  def first(self) -> str:
    """Returns the first failure in words, '' if there was none."""
    return next(iter(self._said.values()), '')

  def stats(self) -> dict[str, float]:
    """Returns all counters as floats; may be called from other threads."""
    out = {**dict.fromkeys(ALWAYS, 0.0), **{
        k: float(v) for k, v in dict(self).items()}}
    out['failures'] = float(sum(
        v for k, v in out.items() if k.startswith('failures_')))
    return out


def kind(error: Exception) -> str:
  """Returns how an error is counted."""
  return next((
      name for name, cls in KINDS.items() if isinstance(error, cls)),
      'internal')


def led(stats: Mapping[str, float]) -> bool:
  """Whether there was advice: a reply, or states with one choice alone.

  Nobody is asked in these, and the world's way to the choice is followed.

  Args:
    stats: What `Advisor.stats` returned. Earlier runs did not log `answered`,
      and are taken for advised.
  """
  return bool(stats.get('answered', 1) or stats.get('sole'))


def needless(stats: Mapping[str, float]) -> bool:
  """Whether nobody had to be asked: there was one choice alone, always.

  Where a call was refused, for whatever reason, there was something to ask.
  """
  asked = stats['calls'] or stats.get('answered') or any(
      v for k, v in stats.items() if k.startswith(('failures', 'refused_')))
  return bool(stats.get('sole') and not asked)
