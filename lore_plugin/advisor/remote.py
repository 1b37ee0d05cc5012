"""The advisor as a process of its own, for many runs with one budget.

  run: Advisor -> Remote ==== portal ====> Server -> Asker -> provider
         store <- Remote (feed) <========            store, ledger

A run keeps its own call policy, table and file; it only asks elsewhere. The
server holds the key, the budget and the advice of all. What others learned
arrives through the feed. While the server is away, runs go on with what they
know.

A message is lines, the token and JSON, so that both sides check what they
read; an answer is JSON.
"""

import contextlib
import functools
import hashlib
import hmac
import json
import os
import threading
import time

from .. import errors
from . import asker as askerlib
from . import circuit as circuitlib
from . import prompts
from . import store as storelib
from . import types

FORMAT = 2
TOKEN = 'LORE_TOKEN'
LOOPBACK = ('127.0.0.1', '::1', 'localhost')

# Bytes of a message; far above any question or any number of replies sent.
LARGEST = 64 * 1024 ** 2
ROWS = 256  # Replies in one message of the feed.
PERIOD = 1.0  # Seconds between two looks at the feed.


class Server:
  """Answers runs on a port.

  Args:
    provider: Who is asked; or several, the next where one fails.
    store: Where replies and the ledger are.
    address: 'host:port'; port 0 takes a free one.
    token: What clients must know; '' lets everybody in, on loopback only.
    account: Name under which the ledger counts calls.
    caps: What all runs together may spend.
    patience: Tunables of the circuits.
    timeout: Seconds in which a call may begin again.
    retries: How often a call without connection or answer is repeated.
    workers: Calls under way at once.

  Attributes:
    address: 'host:port' with the port that was taken.

  Raises:
    ConfigError: Another address than loopback without a token.
    AdvisorError: The port is taken.
  """

  def __init__(
      self, provider, store, address='127.0.0.1:0', token='',
      account='served', caps=storelib.Caps(), patience=circuitlib.Patience(),
      timeout=20.0, retries=1, workers=8):
    if isinstance(provider, types.Provider):
      provider = [provider]
    self.providers = provider
    self.store = store
    self.token = token
    self.workers = workers
    self.host, port = parse(address)
    if not token and self.host not in LOOPBACK:
      raise errors.ConfigError(
          f'The address {address!r} can be reached from other machines. Type'
          f' `export {TOKEN}=...` for the server and its clients, or listen on'
          ' 127.0.0.1.')
    self.port = port or free_port(self.host)
    self.address = f'{self.host}:{self.port}'
    circuits = [circuitlib.Circuit(patience) for _ in provider]
    self.askers = {
        mode: askerlib.Asker(
            [askerlib.Source(i, x, askerlib.identify(x, mode), y, False)
             for i, (x, y) in enumerate(zip(provider, circuits))],
            store, account, caps, askerlib.Effort(timeout, retries))
        for mode in prompts.VERSIONS}
    # Replies as they are sent, by address, so that none is encoded twice.
    self._rows = {}
    self._server = None
    self.start()

  def start(self):
    """Begins to listen."""
    from . import rpc
    try:
      self._server = rpc.Server(
          self.port, {
              'hello': (self._method(self._hello), 1),
              'news': (self._method(self._news), 1),
              'find': (self._method(self._find), 1),
              'ask': (self._method(self._ask), self.workers)},
          host=self.host, ipv6=':' in self.host, max_msg_size=LARGEST,
          logging=False, handshake=handshake(self.token))
    except OSError as e:
      raise errors.AdvisorError(
          f'Cannot listen on {self.address}: {e}. Choose another by'
          ' --lore.advisor.address HOST:PORT.') from e

  def _method(self, fn):
    """Returns a method for `rpc.Server`, from lines to JSON."""
    def check(message):
      token, *args = message.split('\n')
      if not hmac.compare_digest(
          token.encode('utf-8', 'replace'), knock(self.token).encode()):
        raise errors.RejectedCall('Wrong token.')
      return fn(*args)
    return lambda message: attempt(functools.partial(check, message))

  def _hello(self):
    first = self.providers[0]
    return json.dumps({
        'format': FORMAT, 'provider': first.name, 'model': first.model,
        'calibrate': first.calibrate, 'prompts': prompts.VERSIONS})

  def _news(self, mode, after):
    """Replies that were stored after a `seq`, at most `ROWS` of them."""
    source = self.askers[json.loads(mode)].sources[0]
    after = int(json.loads(after))
    return lambda: json.dumps({
        'rows': self.store.load(source.identity, after, ROWS)})

  def _find(self, keys):
    """Stored replies by their addresses; None where there is none."""
    keys = [str(x) for x in json.loads(keys)[:ROWS]]
    if all(x in self._rows for x in keys):
      return listed(map(self._rows.get, keys))
    # The file may be busy; what is in memory is not to wait for it.
    return lambda: listed(self._row(x) or 'null' for x in keys)

  def _row(self, key):
    """Returns what is sent of a stored reply, as JSON; None if there is none.
    """
    sent = self._rows.get(key)
    if sent is None:
      row = self.store.get(key)
      sent = row and self._know(row)
    return sent

  def _know(self, row):
    """Remembers what is sent of a row, and returns it."""
    if len(self._rows) >= 100_000:
      # Replaced, not emptied, as others may be reading it.
      self._rows = {}
    sent = json.dumps({'scores': row['scores'], 'raw': row['raw']})
    self._rows[row['key']] = sent
    return sent

  def _ask(self, key, data):
    """The reply of that address, or else to that query."""
    row = self._rows.get(json.loads(key))
    if row is not None:
      return listed([row])
    # What a key is said to belong to is looked at again before it is stored.
    query = unpack(json.loads(data))
    return lambda: self._consult(self.askers[query.mode], query)

  def _consult(self, asker, query):
    """Asks the providers, unless the reply is stored."""
    row = self._row(storelib.reply_key(asker.sources[0].identity, query))
    if row is not None:
      return listed([row])
    outcome = asker.ask(query, time.monotonic())
    if outcome.row:
      return listed([self._know(outcome.row)])
    if outcome.refused:
      raise errors.RefusedCall(outcome.refused)
    # What went wrong with the provider is the server's to handle; a client
    # that stopped asking for good would miss its recovery.
    _, error = outcome.failures[0]
    kind = errors.ParseError if isinstance(
        error, errors.ParseError) else errors.BusyCall
    raise kind(f'{type(error).__name__}: {error}')

  def close(self):
    """Stops listening. The providers and the store are the caller's."""
    if self._server:
      with contextlib.suppress(Exception):
        self._server.close(timeout=5)
      self._server = None


class Remote(types.Provider):
  """Asks a server. Also feeds a store with what others learned.

  Args:
    address: 'host:port' of the server.
    mode: 'subgoal' or 'action'.
    timeout: Seconds that a call may take.
    token: What the server wants to know.

  Raises:
    AdvisorError: Nobody listens there, or it speaks another language.
  """

  name = 'remote'
  paid = True

  def __init__(self, address, mode='subgoal', timeout=20.0, token=None):
    from . import rpc
    self.address = address
    self.mode = mode
    self.timeout = timeout
    self.token = os.environ.get(TOKEN, '') if token is None else token
    host, port = parse(address)
    self._client = rpc.Client(
        host, port, ipv6=':' in host, max_msg_size=LARGEST, logging=False,
        handshake=handshake(self.token))
    self._closed = threading.Event()
    self._feed = None
    self._seq = 0
    try:
      hello = self._hello()
    except BaseException:
      self.close()
      raise
    self.model = hello['model']
    self.calibrate = bool(hello['calibrate'])
    # Stored by whom the server asked, so that the advice is the same whether
    # it came through a server or not.
    self.identity = storelib.Identity(
        hello['provider'], hello['model'], hello['prompts'][mode])

  def _hello(self):
    if not self._client.connect(min(self.timeout, 10.0)):
      raise errors.AdvisorError(
          f'Nobody listens on {self.address} (lore.advisor.address). Start the'
          ' server by `python -m lore_plugin serve --lore.advisor.address'
          f" {self.address}`, or leave the address '' to ask from here.")
    try:
      hello = self._call('hello')
    except errors.CallError as e:
      raise errors.AdvisorError(
          f'The server on {self.address} refuses: {e} It may want another'
          f' token: type `export {TOKEN}=...` with the one it was started'
          ' with.') from e
    if hello.get('format') != FORMAT:
      raise errors.AdvisorError(
          f'The server on {self.address} speaks format {hello.get("format")},'
          f' this LoRe speaks {FORMAT}. Install the same version for both.')
    return hello

  def _call(self, method, *args):
    """Calls the server.

    Raises:
      CallError: As the server says, or FailedCall.
    """
    try:
      if not self._client.connect(0.2):
        raise ConnectionError('nobody listens')
      message = '\n'.join((knock(self.token), *map(json.dumps, args)))
      data = json.loads(self._client.call(method, message, self.timeout))
      if not isinstance(data, dict):
        raise ValueError(f'an answer that is none: {data!r:.50}')
    except TimeoutError as e:
      raise errors.FailedCall(
          f'The server on {self.address} gave no answer in'
          f' {self.timeout:g} s.') from e
    except Exception as e:
      error = errors.FailedCall(
          f'No connection to the server on {self.address}:'
          f' {type(e).__name__} {e}')
      # The server keeps its own books.
      error.paid = False
      raise error from e
    if 'refused' in data:
      # A paused provider is no reason to pause: others' answers may be there.
      raise errors.RefusedCall(str(data['refused']))
    if 'error' in data:
      kind = ERRORS.get(data['error'], errors.FailedCall)
      raise kind(str(data.get('message', '')), data.get('retry_after'))
    return data

  def ask(self, query):
    key = storelib.reply_key(self.identity, query)
    row, = self._call('ask', key, pack(query))['rows']
    return to_reply(row)

  def find(self, queries):
    """Returns replies that the server has stored, None where it has none.

    Args:
      queries: Any number of `Query`s; all are answered in one message.
    """
    keys = [storelib.reply_key(self.identity, x) for x in queries]
    rows = self._call('find', keys)['rows']
    return [row and to_reply(row) for row in rows]

  def follow(self, store):
    """Copies what the server has, and from now on learns, into a store."""
    self._fetch(store)
    self._feed = threading.Thread(
        target=self._follow, args=(store,), name='lore-feed', daemon=True)
    self._feed.start()

  def _follow(self, store):
    while not self._closed.wait(PERIOD):
      try:
        self._fetch(store)
      except Exception:
        # It is away, or the disk is full: asking says so, and counts it.
        continue

  def _fetch(self, store):
    while not self._closed.is_set():
      rows = self._call('news', self.mode, self._seq)['rows']
      for row in rows:
        store.add(row)
        self._seq = max(self._seq, int(row['seq']))
      if len(rows) < ROWS:
        break

  def close(self):
    if not self._closed.is_set():
      self._closed.set()
      if self._feed:
        self._feed.join(self.timeout)
      with contextlib.suppress(Exception):
        self._client.close()


ERRORS = {
    x.__name__: x for x in (
        errors.RejectedCall, errors.BusyCall, errors.FailedCall,
        errors.ParseError)}


def attempt(fn):
  """Calls a function, and says as JSON what went wrong.

  Returns:
    The function's text; or, where it returned a function, one without errors.
  """
  try:
    out = fn()
  except errors.RefusedCall as e:
    return json.dumps({'refused': e.reason})
  except errors.CallError as e:
    return json.dumps({
        'error': type(e).__name__, 'message': str(e),
        'retry_after': e.retry_after})
  except Exception as e:
    return json.dumps({
        'error': 'FailedCall', 'message': f'{type(e).__name__}: {e}'})
  return functools.partial(attempt, out) if callable(out) else out


def listed(rows):
  """Returns the message with rows that are JSON already."""
  return f'{{"rows": [{", ".join(rows)}]}}'


def to_reply(row):
  """Returns the `Reply` in a row. What it cost is the server's business."""
  return types.Reply(tuple(row['scores']), str(row['raw']))


def pack(query):
  """Returns a query as plain values."""
  desc = query.description
  return {
      'text': desc.text, 'mission': desc.mission, 'version': desc.version,
      'actions': desc.actions,
      'options': [(x.name, x.actions) for x in desc.options],
      'candidates': query.candidates, 'mode': query.mode}


def unpack(data):
  """Returns the query that `pack` took apart.

  Raises:
    RejectedCall: It is none.
  """
  try:
    text = lambda x: x if isinstance(x, str) else 1 / 0
    options = tuple(
        types.Option(text(name), tuple(int(x) for x in acts))
        for name, acts in data['options'])
    desc = types.Description(
        text(data['text']), text(data['mission']),
        tuple(text(x) for x in data['actions']), options, (),
        text(data['version']))
    query = types.Query(
        desc, tuple(text(x) for x in data['candidates']), data['mode'])
  except (TypeError, ValueError, LookupError, ZeroDivisionError) as e:
    raise errors.RejectedCall(f'That is no query: {e!r}.') from e
  if query.mode not in prompts.VERSIONS or len(query.candidates) < 2:
    raise errors.RejectedCall(f'That is no query: {query.mode!r:.50}.')
  return query


def handshake(token):
  """Returns what a connection begins with.

  It keeps strangers from sending anything at all. It isn't a secret: portal
  compares it byte by byte, so the token is compared again with each message.
  """
  digest = hashlib.sha256(f'lore {token}'.encode()).hexdigest()
  return f'lore_handshake_{digest}'


def knock(token):
  """Returns the first line of each message."""
  return f'token {token}'


def parse(address):
  """Returns host and port of 'host:port'.

  Raises:
    ConfigError: It is not of that form.
  """
  host, _, port = str(address).rpartition(':')
  host = host.strip('[]')
  if not host or not port.isdigit() or int(port) > 65535:
    raise errors.ConfigError(
        f'{address!r} is no address (lore.advisor.address). Give host and'
        ' port, as in 127.0.0.1:2225.')
  return host, int(port)


def free_port(host):
  """Returns a port that nobody uses now."""
  import socket
  family = socket.AF_INET6 if ':' in host else socket.AF_INET
  with socket.socket(family, socket.SOCK_STREAM) as sock:
    sock.bind((host, 0))
    return sock.getsockname()[1]
