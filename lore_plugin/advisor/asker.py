"""One question, from the ledger through the providers to the store."""

import dataclasses
import math
import time

from .. import errors
from . import circuit as circuitlib
from . import prompts
from . import store as storelib
from . import types


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
  """One of the providers that may be asked, in order of preference."""
  rank: int
  provider: types.Provider
  identity: storelib.Identity
  circuit: circuitlib.Circuit
  calibrate: bool


@dataclasses.dataclass(slots=True)
class Outcome:
  """What came of asking about a state.

  Attributes:
    row: The stored reply, or None.
    source: Who answered.
    fresh: Whether it was asked now, rather than found in the store.
    calls: Calls made that count.
    failures: Pairs of source and exception.
    refused: Why no call was made, if none was.
    unsettled: What could not be stored, as arguments of `settle`.
  """
  row: dict | None = None
  source: Source | None = None
  fresh: bool = False
  calls: int = 0
  failures: list = dataclasses.field(default_factory=list)
  refused: str = ''
  unsettled: tuple = ()


class Asker:
  """Asks providers in order of preference, and keeps the books.

  Safe to use from several threads.

  Args:
    sources: `Source`s, the preferred one first.
    store: Where reservations and replies go.
    account: Name under which the ledger counts calls.
    caps: What the account may spend.
    timeout: Seconds in which a call may begin again.
    retries: How often a call without connection or answer is repeated.
    stale: Seconds after which a question that waited is given up.
    again: Whether to ask also what was answered before.
  """

  def __init__(
      self, sources, store, account='run', caps=storelib.Caps(),
      timeout=20.0, retries=1, stale=60.0, again=False):
    self.sources = sources
    self.store = store
    self.account = account
    self.caps = caps
    self.timeout = timeout
    self.retries = retries
    self.stale = stale
    self.again = again

  def blocked(self):
    """Returns why no source can be asked now, '' if one can."""
    reasons = [x.circuit.blocked() for x in self.sources]
    return reasons[0] if all(reasons) else ''

  def ask(self, query, begun):
    """Returns what came of a question, never an exception.

    Args:
      query: The question.
      begun: When it was posed, by `time.monotonic`.
    """
    out = Outcome()
    try:
      if time.monotonic() - begun > self.stale:
        out.refused = 'stale'
      else:
        self._ask_all(query, begun + self.timeout, out)
    except Exception as e:
      out.failures.append((self.sources[0], e))
    if out.row or out.calls or out.failures:
      out.refused = ''
    return out

  def _ask_all(self, query, deadline, out):
    for source in self.sources:
      for attempt in range(1 + self.retries):
        reason = source.circuit.refuse()
        if not reason:
          reason = self._call(source, query, out)
        if reason != 'retry':
          out.refused = out.refused or reason
        # Somebody else's question will be answered by whom we prefer.
        if out.row or out.unsettled or reason == 'elsewhere':
          return
        pause = 0.1 * 2 ** attempt
        if reason != 'retry' or time.monotonic() + pause > deadline:
          break
        time.sleep(pause)

  def _call(self, source, query, out):
    """Makes one call, between ledger and store.

    Returns:
      '' after an answer, 'retry' if repeating may help, 'error' if not, or why
      there was no call.
    """
    provider = source.provider
    key = storelib.reply_key(source.identity, query)
    try:
      tokens, money = provider.estimate(query)
      ticket, reason = self.store.reserve(
          self.account, key, self.caps, tokens, money, once=provider.paid,
          again=self.again)
      if reason == 'stored':
        out.row, out.source = self.store.get(key), source
    except Exception as e:
      source.circuit.cancelled()
      out.failures.append((source, errors.StoreError(str(e))))
      return 'error'
    if reason:
      source.circuit.cancelled()
      return 'elsewhere' if reason == 'pending' else reason
    start = time.perf_counter()
    try:
      reply = check(provider.ask(query), query)
    except errors.RefusedCall as e:
      source.circuit.done()
      self.store.release(ticket)
      return e.reason
    except Exception as e:
      source.circuit.failed(e)
      out.failures.append((source, e))
      paid = getattr(e, 'paid', True)
      out.calls += paid
      try:
        if paid:
          self.store.fail(
              ticket, getattr(e, 'tokens', None), getattr(e, 'money', None),
              getattr(e, 'raw', ''))
        else:
          self.store.release(ticket)
      except Exception as trouble:
        out.failures.append((source, errors.StoreError(str(trouble))))
      return 'retry' if isinstance(e, errors.FailedCall) else 'error'
    source.circuit.done()
    out.calls += 1
    out.fresh = True
    out.source = source
    if not reply.seconds:
      reply = dataclasses.replace(
          reply, seconds=time.perf_counter() - start)
    args = (ticket, source.identity, query, reply, provider.parser)
    try:
      out.row = self.store.settle(*args)
      if self.again:
        # The first reply stays in the store, the newest one counts.
        out.row.update(scores=reply.scores, parser=provider.parser)
    except Exception as e:
      # Paid for, but not yet on disk: kept, and not used before it is.
      out.unsettled = args
      out.failures.append((source, errors.StoreError(str(e))))
    return ''


def identify(provider, mode):
  """Returns whose answers a provider's are.

  The version of the prompt is part of it also where a provider reads none, so
  that a provider can begin to without mixing its answers.
  """
  return getattr(provider, 'identity', None) or storelib.Identity(
      provider.name, provider.model, prompts.VERSIONS[mode])


def check(reply, query):
  """Returns a reply that is what it must be.

  Raises:
    ParseError: Not one finite score for each candidate.
  """
  count = len(query.candidates)
  try:
    scores = tuple(float(x) for x in reply.scores)
  except (TypeError, ValueError, AttributeError) as e:
    raise errors.ParseError(f'Scores that are no numbers: {e}.') from e
  if len(scores) != count or not all(map(math.isfinite, scores)):
    raise errors.ParseError(
        f'Expected {count} finite scores, but found {scores!r:.200}.')
  return dataclasses.replace(reply, scores=scores)
