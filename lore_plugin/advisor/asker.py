"""One question, from the ledger through the providers to the store."""

import collections
import contextlib
import dataclasses
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence

from .. import errors
from . import circuit as circuitlib
from . import counts as countslib
from . import prompts
from . import rows as rowslib
from . import store as storelib
from . import types

# Answers in a row that can't be read, after which a provider is not asked any
# more: each may have been paid.
UNREADABLE = 8

# Seconds between two tries to store what was paid for, and for how many it is
# tried at the end.
AGAIN = 1.0
CLOSING = 5.0

log = logging.getLogger('lore_plugin')


@dataclasses.dataclass(slots=True)
class Source:
  """One of the providers that may be asked, in order of preference.

  Attributes:
    rank: Its place in the order.
    provider: The provider.
    identity: Whose answers its answers are.
    circuit: When it may be asked.
    calibrate: Whether each candidate's bias is subtracted from its scores.
    unreadable: Its last answers in a row that could not be read.
  """
  rank: int
  provider: types.Provider
  identity: storelib.Identity
  circuit: circuitlib.Circuit
  calibrate: bool = False
  unreadable: int = 0


@dataclasses.dataclass(slots=True)
class Outcome:
  """What came of asking a question.

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


@dataclasses.dataclass(frozen=True, slots=True)
class Effort:
  """How hard to try.

  Attributes:
    timeout: Seconds in which a call may begin again.
    retries: How often a call without connection or answer is repeated.
    stale: Seconds after which a question that waited is given up.
    again: Whether to ask also what was answered before.
  """
  timeout: float = 20.0
  retries: int = 1
  stale: float = 60.0
  again: bool = False


class Asker:
  """Asks providers in order of preference, and keeps the books.

  Where what was paid for can't be stored, nothing else is asked until it is.
  Safe to use from several threads.

  Args:
    sources: `Source`s, the preferred one first.
    store: Where reservations and replies go.
    account: Name under which the ledger counts calls.
    caps: What the account may spend.
    effort: See `Effort`.

  Attributes:
    late: Outcomes that were stored after their call; take them away.
    owed: What the account has spent by a checkpoint and could not be written
      into the store; nothing is asked before it is.
  """

  def __init__(
      self, sources: Sequence[Source], store: storelib.Store,
      account: str = 'run', caps: storelib.Caps = storelib.Caps(),
      effort: Effort = Effort()):
    self.sources = sources
    self._asked = [x for x in sources if not x.provider.silent]
    self.store = store
    self.account = account
    # What the account had spent when the store was last read.
    self._spent: dict[str, float] = {}
    self.caps = caps
    self.effort = effort
    self.owed: dict[str, float] = {}
    self.late: collections.deque[Outcome] = collections.deque(maxlen=1000)
    self._unsettled: collections.deque[Outcome] = collections.deque()
    # Functions that close reservations, and failed to.
    self._open: collections.deque[Callable[[], None]] = collections.deque()
    self._lock = threading.Lock()
    self._tried = -math.inf

  def blocked(self) -> str:
    """Returns why nothing can be asked now, '' if something can."""
    if self._unsettled:
      return 'unsettled'
    reasons = [x.circuit.blocked() for x in self._asked]
    return reasons[0] if all(reasons) else ''

  def ask(self, query: types.Query, begun: float) -> Outcome:
    """Returns what came of a question, never an exception.

    Args:
      query: The question.
      begun: When it was posed, by `time.monotonic`.
    """
    out = Outcome()
    try:
      if time.monotonic() - begun > self.effort.stale:
        out.refused = 'stale'
      elif self.settle():
        out.refused = 'unsettled'
      else:
        self._ask_all(query, begun + self.effort.timeout, out)
    except Exception as e:
      out.failures.append((self.sources[0], e))
    if out.row or out.calls or out.failures:
      out.refused = ''
    return out

  def spent(self, counts: countslib.Counts) -> dict[str, float]:
    """Returns calls, tokens and money of the account, as last known.

    Args:
      counts: What the run has counted.
    """
    try:
      self._spent = self.store.spent(self.account)
      return self._spent
    except Exception as e:
      counts.note('store', e)
    # The file may be gone for good; what this run has spent is not.
    own = {
        'calls': counts['calls'], 'money': float(counts['money']),
        'tokens': counts['tokens_in'] + counts['tokens_out']}
    return {k: max(v, self._spent.get(k, 0)) for k, v in own.items()}

  def used_up(self) -> bool:
    """Returns whether the account has no calls left, whatever comes.

    A call that was made is never given back. One that is only set aside may
    be, and so may tokens and money.
    """
    if self.caps.calls < 0:
      return False
    try:
      made = self.store.query(
          'select calls - (select count(*) from ledger where account = name'
          " and status = 'reserved') from accounts where name = ?",
          (self.account,))
    except Exception:
      return False  # Whoever asks next is told.
    return self.caps.calls <= (made[0][0] if made else 0)

  def settle(self, now: bool = False) -> int:
    """Tries again to store what was paid for; what was goes to `late`.

    Reservations that could not be closed are by now, where that works: until
    then nobody asks the same.

    Args:
      now: Whether to try although the last time was just before.

    Returns:
      How many replies still wait.
    """
    with self._lock:
      if (self._unsettled or self._open) and (
          now or time.monotonic() - self._tried > AGAIN):
        self._tried = time.monotonic()
        with contextlib.suppress(Exception):
          while self._open:
            self._open[0]()
            self._open.popleft()
        try:
          while self._unsettled:
            outcome = self._unsettled[0]
            outcome.row = self.store.settle(*outcome.unsettled)
            outcome.unsettled = ()
            self.late.append(self._unsettled.popleft())
        except Exception:
          # Still no room. Whoever asks is told that it waits.
          pass
      return len(self._unsettled)

  def finish(self) -> None:
    """Stores what was paid for, if there is room by now or soon."""
    until = time.monotonic() + CLOSING
    while left := self.settle(now=True):
      if time.monotonic() > until:
        log.warning(
            'Advisor: %d answers that were paid for could not be stored in %s;'
            ' they are lost, but counted.', left, self.store.path)
        break
      time.sleep(0.1)

  def _ask_all(self, query, deadline, out):
    for source in self._asked:
      for attempt in range(1 + self.effort.retries):
        reason = source.circuit.refuse()
        if not reason:
          reason = self._call(source, query, out)
        # That one's answers can't be read counts only if no other is there.
        if reason != 'retry' and out.refused in ('', 'failed'):
          out.refused = reason
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
    ticket, reason = self._reserve(source, query, out)
    if reason:
      source.circuit.cancelled()
      return 'elsewhere' if reason == 'pending' else reason
    start = time.perf_counter()
    try:
      reply = check(source.provider.ask(query), query)
    except errors.RefusedCall as e:
      source.circuit.done()
      self._close(source, functools.partial(self.store.release, ticket), out)
      return e.reason
    except Exception as e:
      source.circuit.failed(e)
      self._count_unreadable(source, e, out)
      self._book(source, ticket, e, out)
      return 'retry' if isinstance(e, errors.FailedCall) else 'error'
    source.circuit.done()
    source.unreadable = 0
    out.calls += 1
    out.fresh = True
    out.source = self._whose(source, reply)
    if not reply.seconds:
      reply = dataclasses.replace(
          reply, seconds=time.perf_counter() - start)
    self._keep(source, ticket, query, reply, out)
    return ''

  def _reserve(self, source, query, out):
    """Returns a ticket, or why there is none."""
    key = storelib.reply_key(source.identity, query)
    try:
      if self.owed:
        self.store.carry(self.account, self.owed)
        self.owed = {}
      tokens, money = source.provider.estimate(query)
      ticket, reason = self.store.reserve(self.account, key, storelib.Terms(
          self.caps, tokens, money, once=source.provider.paid,
          again=self.effort.again,
          patience=self.effort.timeout + self.effort.stale))
      if reason == 'stored':
        out.row, out.source = self.store.get(key), source
    except Exception as e:
      out.failures.append((source, as_store_error(e)))
      return None, 'error'
    return ticket, reason

  def _keep(self, source, ticket, query, reply, out):
    """Stores a reply, or keeps it until that is possible."""
    identity = (
        storelib.Identity(*reply.by) if reply.by else source.identity)
    args = (ticket, identity, query, reply, source.provider.parser)
    try:
      out.row = self.store.settle(*args)
    except Exception as e:
      # Paid for, but not yet on disk: kept, and not used before it is.
      out.unsettled = args
      out.failures.append((source, as_store_error(e)))
      with self._lock:
        self._unsettled.append(out)
        self._tried = time.monotonic()
      return
    if self.effort.again:
      # The first reply stays in the store, the newest one counts.
      out.row.update(scores=reply.scores, parser=source.provider.parser)

  def _whose(self, source, reply):
    """Returns the source whose answer a reply is."""
    if not reply.by:
      return source
    by = storelib.Identity(*reply.by)
    # A server that was started anew may ask whom nobody knew of.
    return next((x for x in self.sources if x.identity == by), source)

  def _book(self, source, ticket, error, out):
    """Writes down what a call that failed has cost."""
    out.failures.append((source, error))
    paid = getattr(error, 'paid', True)
    out.calls += paid
    self._close(source, functools.partial(
        self.store.fail, ticket, getattr(error, 'tokens', None),
        getattr(error, 'money', None), getattr(error, 'raw', ''),
        'unreadable' if isinstance(error, errors.ParseError) else '')
        if paid else functools.partial(self.store.release, ticket), out)

  def _close(self, source, close, out):
    """Closes a reservation by a function, at once or as soon as it can be."""
    try:
      close()
    except Exception as e:
      # The reservation stands, so that it is counted all the same.
      out.failures.append((source, as_store_error(e)))
      with self._lock:
        self._open.append(close)
        self._tried = time.monotonic()

  def _count_unreadable(self, source, error, out):
    """Stops a provider that answers nothing that can be read."""
    if not isinstance(error, errors.ParseError):
      return
    source.unreadable += 1
    if source.unreadable < UNREADABLE:
      return
    stop = errors.RejectedCall(
        f'{source.unreadable} answers in a row could not be used, the last as'
        f' follows. {error}')
    source.circuit.failed(stop)
    out.failures.append((source, stop))


def as_store_error(error: Exception) -> errors.StoreError:
  """Returns an error of the store as one of ours."""
  if isinstance(error, errors.StoreError):
    return error
  return errors.StoreError(f'{type(error).__name__}: {error}')


def identify(provider: types.Provider, mode: str) -> storelib.Identity:
  """Returns whose answers a provider's are.

  The version of the prompt is part of it also where a provider reads none, so
  that a provider can begin to without mixing its answers.
  """
  return getattr(provider, 'identity', None) or storelib.Identity(
      provider.name, provider.model, prompts.VERSIONS[mode])


def check(reply: types.Reply, query: types.Query) -> types.Reply:
  """Returns a reply that is what it must be.

  Raises:
    ParseError: Not one finite score for each candidate. It carries what the
      reply says of its cost.
  """
  wanted = len(query.candidates)
  try:
    scores = tuple(float(x) for x in reply.scores)
  except (TypeError, ValueError, AttributeError) as e:
    error = errors.ParseError(f'Scores that are no numbers: {e}.')
    raise carry_cost(error, reply) from e
  if len(scores) != wanted or not all(map(math.isfinite, scores)):
    raise carry_cost(errors.ParseError(
        f'Expected {wanted} finite scores, but found {scores!r:.200}.'), reply)
  return dataclasses.replace(reply, scores=scores)


def carry_cost(
    error: errors.ParseError, reply: types.Reply) -> errors.ParseError:
  """Returns an error with the cost and the words of the reply behind it."""
  read = rowslib.count(getattr(reply, 'tokens_in', None))
  written = rowslib.count(getattr(reply, 'tokens_out', None))
  if read is not None and written is not None:
    error.tokens = read + written
  error.money = rowslib.amount(getattr(reply, 'money', None))
  error.raw = str(getattr(reply, 'raw', ''))
  return error
