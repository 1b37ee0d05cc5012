"""Answers runs over HTTP."""

import asyncio
import concurrent.futures
import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pydantic
import uvicorn
from starlette import applications
from starlette import requests
from starlette import responses
from starlette import routing
from uvicorn.protocols.http import h11_impl

from ... import errors
from .. import asker as askerlib
from .. import prompts
from .. import store as storelib
from . import wire

log = logging.getLogger('lore_plugin')

CONNECTIONS = 500  # Open at a time; beyond, the one idle longest is closed.
IDLE = 30.0  # Seconds that a connection may stay open without a request.
BODY = 10.0  # Seconds in which a question must have arrived.
GRACE = 30.0  # Seconds beyond a call's own in which its client must read.
QUEUE = 64  # Questions that wait for a worker; more are sent away.
KNOWN = 10_000  # Answers kept in memory.

STRANGER = (
    'Without a token only programs of this machine are answered, under its own'
    f' names: {", ".join(wire.LOOPBACK)}. Type `export {wire.TOKEN}=...` for'
    ' the server and its clients.')

STATUS = {
    'RejectedCall': 422, 'RefusedCall': 429, 'BusyCall': 503,
    'FailedCall': 502, 'ParseError': 502}


class Server:
  """Answers runs on a port, in a thread of its own.

  Args:
    askers: An `Asker` for each mode, over one store with one account.
    address: 'host:port'; port 0 takes a free one.
    token: What clients must know; '' lets everybody in, on loopback only.
    workers: Calls under way at once.

  Attributes:
    address: 'host:port' with the port that was taken.

  Raises:
    ConfigError: Another address than loopback without a token.
    AdvisorError: The port is taken.
  """

  def __init__(
      self, askers: dict[str, askerlib.Asker], address: str = '127.0.0.1:0',
      token: str = '', workers: int = 8):
    self.askers = askers
    self.token = token
    self.workers = workers
    self.host, self.port = wire.parse(address)
    if not token and self.host not in wire.LOOPBACK:
      raise errors.ConfigError(
          f'The address {address!r} can be reached from other machines. Type'
          f' `export {wire.TOKEN}=...` for the server and its clients, or'
          ' listen on 127.0.0.1.')
    self._known: dict = {}
    self._waiting = 0
    self._routes = applications.Starlette(
        routes=[
            routing.Route('/v1/hello', self._hello),
            routing.Route('/v1/news', self._news),
            routing.Route('/v1/ask', self._ask, methods=['POST'])],
        exception_handlers={errors.CallError: explain, 404: explain_status,
                            405: explain_status})
    self.start()

  @property
  def clear(self) -> bool:
    """Whether a token travels where others may read it."""
    return bool(self.token) and self.host not in wire.LOOPBACK

  def start(self) -> None:
    """Begins to listen."""
    family = socket.AF_INET6 if ':' in self.host else socket.AF_INET
    try:
      sock = socket.create_server((self.host, self.port), family=family)
      # Of its connections, too; asyncio sets it only where the protocol is
      # named. Without it, each answer waits 40 ms for an acknowledgement.
      sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as e:
      raise errors.AdvisorError(
          f'Cannot listen on {wire.join(self.host, self.port)}: {e}. Choose'
          ' another by --lore.advisor.address HOST:PORT.') from e
    self.port = sock.getsockname()[1]
    self.address = wire.join(self.host, self.port)
    pool = concurrent.futures.ThreadPoolExecutor
    self._asks = pool(self.workers, 'lore-ask')
    self._reads = pool(2, 'lore-read')
    call = max(x.effort.timeout for x in self.askers.values())
    self._guard = Guard(call + BODY + GRACE)
    self._server = uvicorn.Server(uvicorn.Config(
        self._app, http=self._guard.protocol, loop='asyncio', ws='none',
        lifespan='off', interface='asgi3', log_config=None,
        log_level='critical', access_log=False, proxy_headers=False,
        server_header=False, backlog=128, timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=2))
    self._thread = threading.Thread(
        target=self._server.run, kwargs={'sockets': [sock]},
        name='lore-server', daemon=True)
    self._thread.start()
    while not self._server.started and self._thread.is_alive():
      time.sleep(0.005)

  async def _app(self, scope, receive, send):
    """Lets known clients through to the routes, one request at a time."""
    with self._guard.request(scope['client']):
      app = self._routes
      # Before anything of the question is read.
      headers = dict(scope['headers'])
      if not self.token and not at_home(headers):
        app = problem(errors.RejectedCall(STRANGER), 403)
      elif not self._knows(headers):
        app = problem(errors.RejectedCall('Wrong token.'), 401)
      await app(scope, receive, send)

  def _knows(self, headers):
    given = headers.get(b'authorization', b'')
    wanted = f'Bearer {self.token}'.encode()
    return not self.token or hmac.compare_digest(given, wanted)

  async def _run(self, pool, fn, *args):
    loop = asyncio.get_running_loop()
    try:
      return await loop.run_in_executor(pool, fn, *args)
    except errors.CallError:
      raise
    except Exception as e:
      raise errors.FailedCall(f'{type(e).__name__}: {e}') from e

  async def _hello(self, request):
    asker = next(iter(self.askers.values()))
    first, *others = (x.provider for x in asker.sources)
    spent = await self._run(self._reads, asker.store.spent, asker.account)
    return message(wire.Hello(
        format=wire.FORMAT, provider=first.name, model=first.model,
        paid=first.paid, calibrate=first.calibrate, sees=first.sees,
        prompts=prompts.VERSIONS, spent=spent, others=[
            wire.Other(
                provider=x.name, model=x.model, calibrate=x.calibrate,
                prompts=prompts.VERSIONS) for x in others]))

  async def _news(self, request):
    """Replies that were stored after a `seq`."""
    try:
      asker = self.askers[request.query_params['mode']]
      after = int(request.query_params['after'])
      if not 0 <= after < 2 ** 53:
        raise ValueError(after)
    except (LookupError, ValueError) as e:
      raise errors.RejectedCall(
          'Ask for /v1/news?mode=subgoal&after=0.') from e
    return await self._run(self._reads, page, asker, after)

  async def _ask(self, request):
    """The reply to a question: stored, or else the provider's."""
    # A form of another site in a browser can't say that it is JSON.
    kind = request.headers.get('content-type', '').partition(';')[0]
    if kind.strip().lower() != 'application/json':
      raise errors.RejectedCall('Content-Type must be application/json.')
    try:
      query = wire.unpack(
          wire.Question.model_validate_json(await read(request)))
    except pydantic.ValidationError as e:
      raise errors.RejectedCall(f'That is no question: {wire.brief(e)}.'
                                ) from e
    asker, posed = self.askers[query.mode], time.monotonic()
    # What a key belongs to is computed here; nobody stores under another's.
    key = storelib.reply_key(asker.sources[0].identity, query)
    answer = self._known.get(key) or await self._run(
        self._reads, self._stored, asker, key)
    if answer is None:
      if self._waiting >= QUEUE + self.workers:
        raise errors.RefusedCall('queue')
      self._waiting += 1
      try:
        answer = await asyncio.wait_for(self._run(
            self._asks, self._consult, asker, query, posed),
            asker.effort.timeout + BODY)
      except TimeoutError as e:
        raise errors.FailedCall('The provider takes too long.') from e
      finally:
        self._waiting -= 1
    return message(answer)

  def _stored(self, asker, key):
    row = asker.store.get(key)
    return row and self._know(row, asker.sources[0].identity)

  def _consult(self, asker, query, posed):
    """Asks the providers, unless the reply was stored meanwhile."""
    outcome = asker.ask(query, posed)
    if outcome.row:
      return self._know(outcome.row, outcome.source.identity)
    if outcome.refused:
      raise errors.RefusedCall(outcome.refused)
    # What went wrong with the provider is the server's to handle; a client
    # that stopped asking for good would miss its recovery.
    _, error = outcome.failures[0]
    kind = errors.ParseError if isinstance(
        error, errors.ParseError) else errors.BusyCall
    raise kind(f'{type(error).__name__}: {error}')

  def _know(self, row, identity):
    """Remembers what is sent of a row, and returns it."""
    if len(self._known) >= KNOWN:
      # Replaced, not emptied, as others may be reading it.
      self._known: dict = {}
    answer = wire.Answer(
        scores=row['scores'], raw=row['raw'], provider=identity.provider,
        model=identity.model, prompt=identity.prompt)
    self._known[row['key']] = answer
    return answer

  def close(self) -> None:
    """Stops listening. The providers and the store are the caller's."""
    self._server.should_exit = True
    self._thread.join(10)
    for pool in (self._reads, self._asks):
      pool.shutdown(wait=True, cancel_futures=True)


class Guard:
  """Closes connections that keep a place from others.

  Args:
    longest: Seconds that a request may take, until its answer is written. A
      connection that does not read it is idle from then on.
  """

  def __init__(self, longest: float):
    self.longest = longest
    # Transports and times by client, the longest idle first.
    self._idle: dict[tuple, tuple] = {}
    self._busy: dict[tuple, tuple] = {}
    self._timer: asyncio.TimerHandle | None = None
    guard = self

    class Connection(h11_impl.H11Protocol):
      """uvicorn's own, which says when it begins and ends."""

      def connection_made(self, transport):
        super().connection_made(transport)
        guard.opened(transport)

      def connection_lost(self, exc):
        guard.closed(self.transport)
        super().connection_lost(exc)

    self.protocol = Connection

  def opened(self, transport: asyncio.Transport) -> None:
    while self._idle and len(self._idle) + len(self._busy) >= CONNECTIONS:
      self._end(self._idle, next(iter(self._idle)))
    self._idle[transport.get_extra_info('peername')[:2]] = (
        transport, time.monotonic())
    if self._timer is None:
      self._watch()

  def closed(self, transport: asyncio.Transport) -> None:
    client = transport.get_extra_info('peername')[:2]
    for place in (self._idle, self._busy):
      if client in place and place[client][0] is transport:
        del place[client]

  def request(self, client: Sequence) -> 'Request':
    """Returns a context in which a client's connection has a request."""
    return Request(self, tuple(client))

  def _end(self, place, client):
    transport, _ = place.pop(client)
    transport.abort()

  def _watch(self):
    now = time.monotonic()
    for place, longest in ((self._idle, IDLE), (self._busy, self.longest)):
      for client, (_, since) in list(place.items()):
        if now - since > longest:
          self._end(place, client)
    self._timer = asyncio.get_running_loop().call_later(1.0, self._watch)


class Request:
  """A request under way, as a context."""

  def __init__(self, guard: Guard, client: tuple):
    self.guard = guard
    self.client = client

  def __enter__(self):
    self._move(self.guard._idle, self.guard._busy)

  def __exit__(self, *_):
    self._move(self.guard._busy, self.guard._idle)

  def _move(self, source, target):
    transport, _ = source.pop(self.client, (None, 0))
    if transport:
      target[self.client] = transport, time.monotonic()


def at_home(headers: Mapping[bytes, bytes]) -> bool:
  """Returns whether a request comes from a program of this machine.

  A page in a browser here reaches loopback, too. Under a name of its own that
  it lets stand for 127.0.0.1, it may even read the answers; then `Host` holds
  that name. What a page sends elsewhere has an `Origin`, programs send none.
  """
  host = headers.get(b'host', b'').decode('latin-1')
  return wire.is_loopback(host) and b'origin' not in headers


async def read(request: requests.Request) -> bytes:
  """Returns a request's body.

  Raises:
    RejectedCall: It is too large, or takes too long.
  """
  data = bytearray()
  try:
    async with asyncio.timeout(BODY):
      async for part in request.stream():
        data += part
        if len(data) > wire.QUESTION:
          raise errors.RejectedCall(
              f'A question has at most {wire.QUESTION} bytes.')
  except TimeoutError as e:
    raise errors.RejectedCall(
        f'A question must arrive within {BODY:g} s.') from e
  except requests.ClientDisconnect as e:
    raise errors.RejectedCall('The client is gone.') from e
  return bytes(data)


def page(asker: askerlib.Asker, after: int) -> responses.Response:
  """Returns the replies after a `seq`, as many as one message may hold."""
  rows = asker.store.load(asker.sources[0].identity, after, wire.ROWS)
  parts, size = [], 0
  for row in rows:
    parts.append(json.dumps({k: row[k] for k in wire.Row.model_fields}))
    size += len(parts[-1])
    if size > wire.PAGE:
      break
  more = len(parts) < len(rows) or len(rows) == wire.ROWS
  return responses.Response(
      f'{{"rows": [{", ".join(parts)}], "more": {json.dumps(more)}}}',
      media_type='application/json')


def message(
    content: pydantic.BaseModel, status: int = 200,
    headers: dict[str, str] | None = None) -> responses.Response:
  return responses.Response(
      content.model_dump_json(), status, headers,
      media_type='application/json')


def problem(
    error: errors.CallError, status: int | None = None) -> responses.Response:
  """Returns the message that tells of an error."""
  name: Any = type(error).__name__
  text = error.reason if isinstance(
      error, errors.RefusedCall) else str(error)[:2000]
  wait = error.retry_after
  return message(
      wire.Problem(error=name, message=text, retry_after=wait),
      status or STATUS[name],
      {'Retry-After': f'{wait:.0f}'} if wait else None)


async def explain(request: requests.Request, error: Any) -> responses.Response:
  return problem(error)


async def explain_status(
    request: requests.Request, error: Any) -> responses.Response:
  return problem(
      errors.RejectedCall('See /v1/hello, /v1/news, /v1/ask.'),
      error.status_code)
