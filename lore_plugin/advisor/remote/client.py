"""Asks a server, and feeds a store with what others learned."""

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2 as httpx
import pydantic

from ... import errors
from .. import store as storelib
from .. import types
from . import wire

log = logging.getLogger('lore_plugin')

PERIOD = 1.0  # Seconds between two looks at the feed.
PAGES = 64  # Messages of the feed at one look.
PATIENCE = 10.0  # Seconds in which a server that starts late may appear.

# Reasons for which the advisor has a counter.
REASONS = (
    'budget', 'busy', 'open', 'stopped', 'elsewhere', 'stale', 'queue',
    'unsettled')


class Loose(concurrent.futures.ThreadPoolExecutor):
  """Gives each call a thread that nobody waits for.

  The system's look-up of a name has no deadline. Python would wait at its
  exit for a thread of a pool that is in one.
  """

  def submit(
      self, fn: Callable[..., Any], /, *args: Any,
      **kwargs: Any) -> concurrent.futures.Future:
    future: concurrent.futures.Future = concurrent.futures.Future()

    def work():
      future.set_running_or_notify_cancel()
      try:
        future.set_result(fn(*args, **kwargs))
      except BaseException as e:
        future.set_exception(e)

    threading.Thread(target=work, name='lore-lookup', daemon=True).start()
    return future


class Remote(types.Provider):
  """Asks a server. Safe to use from several threads.

  Requests run on a loop in a thread of its own, so that one deadline holds for
  all of a request: connecting, headers, body.

  Args:
    address: 'host:port' of the server.
    mode: 'subgoal' or 'action'.
    timeout: Seconds that a call may take.
    token: What the server wants to know; None takes the environment's.

  Attributes:
    others: Whom the server asks where its first provider fails. An advisor
      takes them as sources after this one, so that their answers are theirs.

  Raises:
    ConfigError: The address or the token can't be one.
    AdvisorError: Nobody listens there, or it speaks another language.
  """

  name = 'remote'

  def __init__(
      self, address: str, mode: str = 'subgoal', timeout: float = 20.0,
      token: str | None = None):
    host, port = wire.parse(address)
    token = wire.read_token() if token is None else token
    self.where = address
    self.mode = mode
    self.timeout = timeout
    self._closed = threading.Event()
    self._feed: threading.Thread | None = None
    self._seq = 0
    self._said: set = set()
    self._calls: set = set()
    self._loop = asyncio.new_event_loop()
    self._loop.set_default_executor(Loose())
    # Proxies and password files of the environment are not for this server,
    # and it may not send its clients anywhere else.
    self._http = httpx.AsyncClient(
        base_url=f'http://{wire.join(host, port)}', timeout=None,
        trust_env=False, follow_redirects=False,
        headers={'Authorization': f'Bearer {token}'} if token else {},
        # Shorter than the server's, so that none is used as it closes.
        limits=httpx.Limits(max_connections=64, keepalive_expiry=5.0))
    self._thread = threading.Thread(
        target=self._loop.run_forever, name='lore-remote', daemon=True)
    self._thread.start()
    try:
      hello = self._hello()
    except BaseException:
      self.close()
      raise
    if token and host not in wire.LOOPBACK:
      log.warning(
          'The token for %s travels in clear: whoever sees the network can'
          ' read it. An `ssh -L` tunnel hides it.', address)
    self.model = hello.model
    self.paid = hello.paid
    self.calibrate = hello.calibrate
    self.sees = hello.sees
    # Stored by whom the server asked, so that the advice is the same whether
    # it came through a server or not.
    self.identity = storelib.Identity(
        hello.provider, hello.model, hello.prompts[mode])
    self.others = [
        Behind(x, prompt, address, hello.sees) for x in hello.others
        if (prompt := dict(x.prompts).get(mode)) is not None]

  def _hello(self):
    deadline = time.monotonic() + min(self.timeout, PATIENCE)
    while True:
      try:
        hello = self._call(wire.Hello, 'GET', '/v1/hello')
        break
      except errors.RejectedCall as e:
        raise errors.AdvisorError(
            f'The server on {self.where} refuses: {e} It may want another'
            f' token: type `export {wire.TOKEN}=...` with the one it was'
            ' started with.') from e
      except errors.CallError as e:
        if not isinstance(e.__cause__, httpx.ConnectError):
          raise errors.AdvisorError(
              f'{e} Whoever listens there (lore.advisor.address) is no server'
              ' of this version of LoRe.') from e
        if time.monotonic() + 0.2 > deadline:
          raise errors.AdvisorError(
              f'Nobody listens on {self.where} (lore.advisor.address). Start'
              ' the server by `python -m lore_plugin serve'
              f' --lore.advisor.address {self.where}`, or leave the address'
              " '' to ask from here.") from e
        time.sleep(0.2)
    if hello.format not in wire.FORMATS or self.mode not in hello.prompts:
      raise errors.AdvisorError(
          f'The server on {self.where} speaks format {hello.format}, this'
          f' LoRe speaks {wire.FORMAT}. Install the same version for both.')
    return hello

  def ask(self, query: types.Query) -> types.Reply:
    answer = self._call(
        wire.Answer, 'POST', '/v1/ask', content=wire.pack(
            query).model_dump_json().encode(),
        headers={'Content-Type': 'application/json'})
    by = (answer.provider, answer.model, answer.prompt)
    return types.Reply(
        tuple(answer.scores), answer.raw,
        by=by if answer.provider and answer.model else None)

  def follow(self, store: storelib.Store) -> None:
    """Copies what the server has, and from now on learns, into a store.

    Returns after the time of one call at the latest; what has not arrived by
    then comes while the run is under way.
    """
    self._look(store)
    self._feed = threading.Thread(
        target=self._follow, args=(store,), name='lore-feed', daemon=True)
    self._feed.start()

  def _follow(self, store):
    while not self._closed.wait(PERIOD):
      self._look(store)

  def _look(self, store):
    """Copies what is new. What hinders it is said once, and does no harm."""
    try:
      self._fetch(store, time.monotonic() + self.timeout)
    except Exception as e:
      if not self._closed.is_set():
        self._say(type(e), str(e))

  def _say(self, kind, text):
    if kind not in self._said:
      self._said.add(kind)
      log.warning('No news of other runs\' advice: %s', text)

  def _fetch(self, store, deadline):
    """Copies pages of the feed, until there are no more or time is up."""
    for _ in range(PAGES):
      left = deadline - time.monotonic()
      if left <= 0 or self._closed.is_set():
        return
      news = self._call(
          wire.News, 'GET', '/v1/news', left,
          params={'mode': self.mode, 'after': self._seq})
      for row in news.rows:
        if row.seq <= self._seq:
          raise errors.FailedCall(
              f'The server on {self.where} sends the same replies again.')
        if wire.belongs(row, self.identity, self.mode):
          store.add(row.model_dump())
        else:
          # It is stepped over, or it would hide all that come after it.
          self._say('other', 'Some of it is no answer to what it says.')
        self._seq = row.seq
        if self._closed.is_set():
          return
      if not news.more or not news.rows:
        return

  def _call(self, kind, method, path, timeout=None, **kwargs):
    """Sends a request, and returns the message that answers it.

    Raises:
      CallError: As the server says, or FailedCall.
    """
    timeout = timeout or self.timeout
    try:
      call = asyncio.run_coroutine_threadsafe(
          self._request(method, path, timeout, kwargs), self._loop)
      self._calls.add(call)
      try:
        # A moment for a loop that is busy; its own clock ends the request.
        status, data = call.result(timeout + 5)
      finally:
        self._calls.discard(call)
      if status == 200:
        return kind.model_validate_json(data)
      problem = wire.Problem.model_validate_json(data)
    except TimeoutError as e:
      raise errors.FailedCall(
          f'The server on {self.where} gave no answer in'
          f' {timeout:.3g} s.') from e
    except pydantic.ValidationError as e:
      raise errors.FailedCall(
          f'The server on {self.where} answers what is no message:'
          f' {wire.brief(e)}.') from e
    except (Exception, concurrent.futures.CancelledError) as e:
      error = errors.FailedCall(
          f'No connection to the server on {self.where}:'
          f' {type(e).__name__} {e}.')
      # The server keeps its own books.
      error.paid = False
      raise error from e
    raise failure(problem)

  async def _request(self, method, path, timeout, kwargs):
    async with asyncio.timeout(timeout):
      async with self._http.stream(method, path, **kwargs) as response:
        data = bytearray()
        # Raw, as what is packed small may unfold without end.
        async for part in response.aiter_raw():
          data += part
          if len(data) > wire.ANSWER:
            raise ValueError(f'an answer of over {wire.ANSWER} bytes')
    return response.status_code, bytes(data)

  def close(self) -> None:
    """Ends what is under way, and the connection. May be called twice."""
    if self._closed.is_set():
      return
    self._closed.set()
    for call in list(self._calls):
      call.cancel()
    with contextlib.suppress(Exception):
      asyncio.run_coroutine_threadsafe(
          self._http.aclose(), self._loop).result(1.0)
    if self._feed:
      self._feed.join(1.0)
    self._loop.call_soon_threadsafe(self._loop.stop)
    self._thread.join(1.0)
    if not self._thread.is_alive():
      self._loop.close()


class Behind(types.Provider):
  """Whom a server asks where another fails, as its clients see it.

  Args:
    other: What the server says of it.
    prompt: Version of the prompt that it is asked with.
    where: Address of the server.
    sees: Whether the server can be asked about pictures.
  """

  silent = True

  def __init__(
      self, other: wire.Other, prompt: str, where: str, sees: bool = False):
    self.name = other.provider
    self.model = other.model
    self.calibrate = other.calibrate
    self.where = where
    self.sees = sees
    self.identity = storelib.Identity(other.provider, other.model, prompt)

  def ask(self, query: types.Query) -> types.Reply:
    raise errors.RefusedCall('elsewhere')


def failure(problem: wire.Problem) -> errors.CallError:
  """Returns the error that a message tells of."""
  text = ''.join(x for x in problem.message[:500] if x.isprintable())
  if problem.error == 'RefusedCall':
    # A paused provider is no reason to pause: others' answers may be there.
    return errors.RefusedCall(text if text in REASONS else 'other')
  return getattr(errors, problem.error)(text, problem.retry_after)
