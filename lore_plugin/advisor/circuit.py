"""When a provider that fails is asked again.

  closed    calls go through
  paused    the server asked us to wait, or is overloaded: back-off with jitter
  open      too many failures in a row: no calls for a while
  probing   one call may find out whether it works again
  stopped   asking again can't help: wrong key, unknown model, bad request
"""

import dataclasses
import random
import threading
import time
from collections.abc import Callable

from .. import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Patience:
  """Tunables of the circuit.

  Attributes:
    failures: Failures in a row that open the circuit; >= 1.
    rest: Seconds it stays open; doubles with each probe that fails.
    pause: Seconds of the first pause; doubles with each one in a row.
    longest: Longest rest and pause in seconds.
    hint: Longest pause in seconds that a server may ask for.
  """
  failures: int = 5
  rest: float = 30.0
  pause: float = 1.0
  longest: float = 600.0
  hint: float = 3600.0


class Circuit:
  """Counts failures of one provider. Safe to use from several threads.

  Args:
    patience: See `Patience`.
    clock: Function that returns seconds.
    draw: Function that returns a number in [0, 1), for the jitter.
  """

  def __init__(
      self, patience: Patience = Patience(),
      clock: Callable[[], float] = time.monotonic,
      draw: Callable[[], float] = random.random):
    self.patience = patience
    self.stopped = ''
    self._clock = clock
    self._draw = draw
    self._lock = threading.Lock()
    self._failures = 0
    self._pauses = 0
    self._rests = 0
    self._until = 0.0
    self._reason = ''
    self._probing = False

  def refuse(self) -> str:
    """Returns why no call may be made now, '' if one may.

    The one call that probes an open circuit is let through here, so whoever
    asks must call, and report how it went.
    """
    with self._lock:
      if self.stopped:
        return 'stopped'
      if self._clock() < self._until:
        return self._reason
      if self._reason == 'open':
        if self._probing:
          return 'open'
        self._probing = True
      return ''

  def blocked(self) -> str:
    """Returns what `refuse` would, and lets nothing through."""
    with self._lock:
      if self.stopped:
        return 'stopped'
      if self._clock() < self._until:
        return self._reason
      return 'open' if self._probing else ''

  def done(self) -> None:
    """Reports an answer."""
    with self._lock:
      self._failures = self._pauses = self._rests = 0
      self._reason = ''
      self._probing = False

  def cancelled(self) -> None:
    """Reports that a call which was let through was not made."""
    with self._lock:
      self._probing = False

  def failed(self, error: Exception) -> None:
    """Reports an error."""
    patience = self.patience
    with self._lock:
      self._probing = False
      if isinstance(error, errors.RejectedCall):
        self.stopped = str(error) or 'rejected'
      elif isinstance(error, errors.BusyCall):
        wait = patience.pause * 2 ** min(self._pauses, 30)
        # Between half and all of it, so that many clients don't return at
        # the same moment. Never less than the server asked for.
        wait = min(wait, patience.longest) * (0.5 + 0.5 * self._draw())
        hint = min(error.retry_after or 0.0, patience.hint)
        self._pauses += 1
        self._pause('busy', max(wait, hint * (1 + 0.1 * self._draw())))
      elif isinstance(error, (errors.ParseError, errors.ReplayError)):
        # The provider works. The state's own tries see to this.
        self._failures = 0
        if self._reason == 'open':
          self._reason = ''
      else:
        self._failures += 1
        if self._failures >= patience.failures or self._reason == 'open':
          wait = patience.rest * 2 ** min(self._rests, 30)
          wait = min(wait, patience.longest) * (0.75 + 0.25 * self._draw())
          self._rests += 1
          self._pause('open', wait)

  def _pause(self, reason, seconds):
    self._until = self._clock() + seconds
    self._reason = reason
