"""The way to a server, for every provider behind an SDK.

The SDKs bring their own clients. Those take proxies and certificates from the
environment and fail in the middle of a run where these are wrong, follow
redirects to anywhere, and limit each read but not the whole answer. This
transport is given to them instead: what it needs is checked when it is made,
it sends nothing anywhere else, and a call ends at its deadline and at its
bound on bytes, whatever the server does.
"""

import contextlib
import importlib
import importlib.util
import ipaddress
import os
import queue
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

from ... import errors
from ... import secrets

# Bytes of an answer, its headers included.
MOST = 8 << 20

# Variables that hold a key, and can be checked.
KEYS = ('ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'OPENAI_API_KEY')

SCHEMES = ('http', 'https')
PROXIES = ('http', 'https', 'socks5', 'socks5h')


def unheard(url: str) -> str:
  """Says so where nobody listens at an address of this machine, else ''."""
  parts = urllib.parse.urlsplit(url)
  if not is_local(parts.hostname or ''):
    return ''
  port = parts.port or (443 if parts.scheme == 'https' else 80)
  try:
    socket.create_connection((parts.hostname, port), timeout=2).close()
  except OSError as e:
    return (
        f'nobody listens at {secrets.mask(url)} ({e.strerror or e}). Until '
        'its server is started, training goes without advice.')
  return ''


def check_url(url: str, name: str) -> str:
  """Returns the address of a server if it can be one.

  Args:
    url: The address; '' is the provider's own.
    name: The option or variable that it comes from.

  Raises:
    ConfigError: Not an address, or one with a password where it would be
      written to files.
  """
  if not url:
    return url
  shown = secrets.mask(repr(url))
  option = '.' in name
  flag = f'--{name} ' if option else f'export {name}='
  like = f'Type {flag}http://HOST:PORT/v1'
  if any(not 32 < ord(x) < 127 for x in url):
    raise errors.ConfigError(
        f'{name} is {shown}, with blanks or odd characters in it. {like}.')
  try:
    parts = urllib.parse.urlsplit(url)
    host, _ = parts.hostname, parts.port
  except ValueError as e:
    raise errors.ConfigError(f'{name} is {shown}: {e}. {like}.') from e
  if parts.scheme not in SCHEMES or not host:
    raise errors.ConfigError(
        f'{name} is {shown}, but must begin with http:// or https:// and name'
        f' a host. {like}.')
  if option and ('@' in parts.netloc or secrets.holds(parts.query)):
    raise errors.ConfigError(
        f'{name} is {shown}. A password there would be written into files of'
        ' the run. Put the key into the environment (OPENAI_API_KEY,'
        ' ANTHROPIC_API_KEY), or the whole address into OPENAI_BASE_URL or'
        ' ANTHROPIC_BASE_URL.')
  return url


def check_keys(*names: str) -> None:
  """Checks that the keys in these variables can be sent in a header.

  Raises:
    MissingKey: One of them can't; its value is not shown.
  """
  for name in names:
    value = os.environ.get(name, '')
    odd = next(
        (i for i, x in enumerate(value) if not 32 < ord(x) < 127),
        value.find('...'))
    if odd < 0:
      continue
    what = (
        'dots in the place of a part' if value[odd] in '.\u2026' else
        'a line break' if value[odd] in '\r\n' else
        'a blank' if value[odd].isspace() else 'what no key contains')
    raise errors.MissingKey(
        f'{name} holds {what} (character {odd + 1} of {len(value)}). Copy the'
        f' whole key again and type `export {name}=...`.')


def is_local(host: str) -> bool:
  """Returns whether a host is this machine."""
  if host == 'localhost' or host.endswith('.localhost'):
    return True
  try:
    return ipaddress.ip_address(host).is_loopback
  except ValueError:
    return False


def find_proxy(url: str) -> tuple[str, str]:
  """Returns the proxy for an address and the variable that names it.

  Returns:
    Two empty strings without one. A server on this machine needs none.

  Raises:
    ConfigError: A proxy that can't be used.
  """
  parts = urllib.parse.urlsplit(url)
  # Type checkers don't know it; it reads no_proxy as getproxies does.
  bypass = getattr(urllib.request, 'proxy_bypass_environment')  # noqa: B009
  if is_local(parts.hostname or '') or bypass(
      parts.netloc.rpartition('@')[2]):
    return '', ''
  found = urllib.request.getproxies_environment()
  kind = parts.scheme if found.get(parts.scheme) else 'all'
  proxy = found.get(kind, '')
  if not proxy:
    return '', ''
  name = next(
      (x for x in (f'{kind}_proxy', f'{kind}_proxy'.upper())
       if os.environ.get(x)), f'{kind}_proxy')
  if '://' not in proxy:
    proxy = f'http://{proxy}'
  way_out = f'Type `unset {name}`, or export NO_PROXY={parts.hostname}.'
  try:
    there = urllib.parse.urlsplit(proxy)
    scheme, host, _ = there.scheme, there.hostname, there.port
  except ValueError:
    scheme = host = ''
  if scheme not in PROXIES or not host:
    raise errors.ConfigError(
        f'{name} is {secrets.mask(repr(proxy))}, which can\'t be used as a'
        f' proxy. Allowed: {", ".join(x + "://HOST" for x in PROXIES)}.'
        f' {way_out}')
  if scheme.startswith('socks') and not importlib.util.find_spec('socksio'):
    raise errors.ConfigError(
        f'{name} is {secrets.mask(repr(proxy))}; SOCKS needs a package. Type'
        f' `pip install socksio`. Or: {way_out}')
  return proxy, name


def certificates() -> ssl.SSLContext:
  """Returns whom to trust: the environment's certificates, or the usual.

  Raises:
    ConfigError: SSL_CERT_FILE or another such variable leads nowhere.
  """
  file, folder = (
      os.environ.get(x) or None for x in ('SSL_CERT_FILE', 'SSL_CERT_DIR'))
  try:
    if not file and not folder:
      with contextlib.suppress(ImportError):
        file = importlib.import_module('certifi').where()
    if folder and not os.path.isdir(folder):
      raise FileNotFoundError(f'no folder {folder!r}')
    return ssl.create_default_context(cafile=file, capath=folder)
  except (OSError, ValueError) as e:
    names = [
        x for x in ('SSL_CERT_FILE', 'SSL_CERT_DIR', 'SSLKEYLOGFILE')
        if os.environ.get(x)]
    shown = ', '.join(f'{x} ({os.environ[x]})' for x in names)
    raise errors.ConfigError(
        f'No certificates can be read from {shown or "the system"}: {e}.'
        f' Type `unset {" ".join(names)}`, or name a file of certificates.'
        ) from e


class Budget:
  """What is left of a call: seconds until its deadline, and bytes."""

  def __init__(self, seconds: float, most: int = MOST):
    self.seconds = seconds
    self.most = most
    self.until = time.monotonic() + seconds
    self.left = most
    # Whether a byte of the request itself has left.
    self.sent = False

  def time(self, timeout: float | None = None) -> float:
    """Returns the seconds that the next operation may take."""
    left = self.until - time.monotonic()
    if left <= 0:
      raise TimeoutError(f'no whole answer within {self.seconds:g} s')
    return left if timeout is None else min(left, timeout)

  def take(self, data: bytes) -> bytes:
    """Counts what was read."""
    self.left -= len(data)
    if self.left < 0:
      raise OverflowError(f'an answer of more than {self.most >> 20} MB')
    return data


class Stream:
  """A connection whose every operation obeys the budget of its call."""

  def __init__(self, stream: Any, budget: Callable[[], Budget]):
    self.stream = stream
    self.budget = budget

  def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
    budget = self.budget()
    data = self.stream.read(max_bytes, budget.time(timeout))
    return budget.take(data)

  def write(self, buffer: bytes, timeout: float | None = None) -> None:
    budget = self.budget()
    # What is said to a proxy is not yet a question.
    if not buffer.startswith((b'CONNECT ', b'\5', b'\1')):
      budget.sent = True
    self.stream.write(buffer, budget.time(timeout))

  def start_tls(
      self, ssl_context: ssl.SSLContext, server_hostname: str | None = None,
      timeout: float | None = None) -> 'Stream':
    return Stream(self.stream.start_tls(
        ssl_context, server_hostname, self.budget().time(timeout)),
        self.budget)

  def close(self) -> None:
    self.stream.close()

  def get_extra_info(self, info: str) -> Any:
    return self.stream.get_extra_info(info)


def look_up(host: str, port: int, seconds: float) -> list[str]:
  """Returns the addresses of a host, the preferred one first.

  The system's look-up has no deadline, so that it gets a thread of its own,
  which is left behind if it does not return.

  Raises:
    OSError: There are none, or none came in time.
  """
  answers: queue.SimpleQueue = queue.SimpleQueue()

  def work():
    try:
      found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
      answers.put(list(dict.fromkeys(x[4][0] for x in found)))
    except Exception as e:
      answers.put(e)

  threading.Thread(target=work, name='lore-lookup', daemon=True).start()
  try:
    found = answers.get(timeout=seconds)
  except queue.Empty:
    raise TimeoutError(f'{host!r} was not found within {seconds:.3g} s'
                       ) from None
  if isinstance(found, Exception):
    raise found
  return found


class Backend:
  """Makes connections for the pool."""

  def __init__(
      self, inner: Any, budget: Callable[[], Budget],
      lookup: Callable[[str, int, float], list[str]] = look_up):
    self.inner = inner
    self.budget = budget
    self.lookup = lookup

  def connect_tcp(
      self, host: str, port: int, timeout: float | None = None,
      local_address: str | None = None, socket_options: Any = None) -> Stream:
    error = None
    for address in self.lookup(host, port, self.budget().time(timeout)):
      try:
        return Stream(self.inner.connect_tcp(
            address, port, self.budget().time(timeout), local_address,
            socket_options), self.budget)
      except Exception as e:
        error = error or e
    raise error or OSError(f'{host!r} has no address')

  def sleep(self, seconds: float) -> None:
    time.sleep(self.budget().time(seconds))


class Transport:
  """Sends requests of an SDK's client; safe to use from several threads.

  Args:
    sdk: The module `openai` or `anthropic`.
    timeout: Seconds that a call may take from its first byte to its last.
    most: Bytes of an answer.
  """

  def __init__(self, sdk: Any, timeout: float, most: int = MOST):
    # The SDKs have changed their HTTP library; theirs is used.
    name = sdk.DefaultHttpxClient.__mro__[1].__module__.partition('.')[0]
    self.httpx = importlib.import_module(name)
    self.core = importlib.import_module(name.replace('httpx', 'httpcore'))
    self.timeout = timeout
    self.most = most
    self.pool = None
    self._local = threading.local()

  def client(self) -> Any:
    """Returns the client to give to the SDK."""
    return self.httpx.Client(
        transport=self, timeout=self.timeout, trust_env=False,
        follow_redirects=False)

  def open(self, url: str) -> None:
    """Prepares the way to a server.

    Raises:
      ConfigError: The environment names a proxy or certificates that can't
        be used.
    """
    proxy, _ = find_proxy(url)
    secure = urllib.parse.urlsplit(url).scheme == 'https' or (
        urllib.parse.urlsplit(proxy).scheme == 'https')
    options = dict(
        ssl_context=certificates() if secure else None,
        network_backend=Backend(self.core.SyncBackend(), self._budget),
        max_connections=None)
    if not proxy:
      self.pool = self.core.ConnectionPool(**options)
      return
    parts = urllib.parse.urlsplit(proxy)
    auth = (
        urllib.parse.unquote(parts.username or '').encode(),
        urllib.parse.unquote(parts.password or '').encode())
    socks = parts.scheme.startswith('socks')
    plain = parts._replace(
        scheme='socks5' if socks else parts.scheme,
        netloc=parts.netloc.rpartition('@')[2])
    make = self.core.SOCKSProxy if socks else self.core.HTTPProxy
    self.pool = make(
        proxy_url=plain.geturl(), proxy_auth=auth if any(auth) else None,
        **options)

  @contextlib.contextmanager
  def call(self) -> Iterator[Budget]:
    """One budget for all requests that this thread makes within."""
    self._local.budget = Budget(self.timeout, self.most)
    try:
      yield self._local.budget
    finally:
      self._local.budget = None

  def _budget(self):
    return getattr(self._local, 'budget', None) or Budget(
        self.timeout, self.most)

  def handle_request(self, request: Any) -> Any:
    """Sends a request, and reads all of the answer."""
    budget = getattr(self._local, 'budget', None)
    if budget is None:
      with self.call():
        return self.handle_request(request)
    budget.sent = False
    url = request.url
    # What comes compressed may unfold to anything.
    request.headers['accept-encoding'] = 'identity'
    asked = self.core.Request(
        method=request.method,
        url=self.core.URL(
            scheme=url.raw_scheme, host=url.raw_host, port=url.port,
            target=url.raw_path),
        headers=request.headers.raw, content=request.stream,
        extensions=request.extensions)
    response = None
    try:
      response = self.pool.handle_request(asked)
      body = b''.join(response.stream)
      kind = {k.lower(): v for k, v in response.headers}.get(
          b'content-encoding', b'identity')
      if kind.lower() != b'identity':
        raise ValueError(f'an answer packed by {kind!r}, unasked')
    except Exception as e:
      raise failure(e, budget) from e
    finally:
      if response is not None:
        response.close()
    return self.httpx.Response(
        status_code=response.status, headers=response.headers, content=body,
        extensions=response.extensions)

  def close(self) -> None:
    if self.pool is not None:
      self.pool.close()

  def __enter__(self):
    return self

  def __exit__(self, *args):
    self.close()


def failure(error: BaseException, budget: Budget) -> errors.FailedCall:
  """Returns what it means that a request brought no answer.

  What was not sent is not paid.
  """
  name = type(error).__name__
  cause = error
  while behind := cause.__cause__ or cause.__context__:
    cause = behind
  text = str(cause) or str(error) or type(cause).__name__
  out = errors.FailedCall(
      f'{secrets.mask(f"{name}: {text}")[:300]} ('
      f'{"the request had been sent" if budget.sent else "nothing was sent"})')
  out.paid = budget.sent and name != 'ProxyError'
  return out
