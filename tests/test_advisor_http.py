"""The way to a server: what is checked at start, and where a call ends."""

import socket
import threading
import time

import pytest
import servers

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import secrets
from lore_plugin.advisor import build
from lore_plugin.advisor import providers
from lore_plugin.advisor.providers import http
from lore_plugin.advisor.types import Description, Query

pytest.importorskip('openai')

NAMES = ('anthropic', 'openai')
KEYS = {'anthropic': 'ANTHROPIC_API_KEY', 'openai': 'OPENAI_API_KEY'}
QUERY = Query(
    Description('A wall.', 'm', ('l', 'r')), ('explore', 'wait'), 'subgoal')


@pytest.fixture(autouse=True)
def environment(monkeypatch):
  for name in ('http_proxy', 'https_proxy', 'all_proxy', 'no_proxy'):
    monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv(name.upper(), raising=False)
  for name in ('SSL_CERT_FILE', 'SSL_CERT_DIR', 'OPENAI_BASE_URL',
               'ANTHROPIC_BASE_URL'):
    monkeypatch.delenv(name, raising=False)
  for name in http.KEYS:
    monkeypatch.setenv(name, 'sk-fake-0123456789')


def make(name, url, timeout=20.0):
  return providers.create(
      name, {'model': 'm', 'url': url, 'timeout': timeout}, 0)


@pytest.fixture
def listen():
  """Starts servers that say what a function writes to their socket."""
  opened, done = [], threading.Event()

  def fn(say):
    server = socket.create_server(('127.0.0.1', 0))
    opened.append(server)

    def serve():
      while True:
        try:
          connection, _ = server.accept()
        except OSError:
          return
        threading.Thread(
            target=talk, args=(connection,), daemon=True).start()

    def talk(connection):
      try:
        connection.recv(1 << 16)
        say(connection, done)
      except OSError:
        pass
    threading.Thread(target=serve, daemon=True).start()
    return f'http://127.0.0.1:{server.getsockname()[1]}'
  yield fn
  done.set()
  for server in opened:
    server.close()


def drip(connection, done, text):
  for x in text:
    connection.sendall(x)
    if done.wait(0.02):
      return


HEAD = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n'


def forever(data):
  while True:
    yield data


def slow_head(connection, done):
  drip(connection, done, (HEAD + b'X: ', *forever(b'x')))


def endless_head(connection, done):
  connection.sendall(HEAD)
  drip(connection, done, forever(b'X: x\r\n'))


def slow_body(connection, done):
  connection.sendall(HEAD + b'Content-Length: 1000000\r\n\r\n')
  drip(connection, done, forever(b' '))


def endless_chunks(connection, done):
  connection.sendall(HEAD + b'Transfer-Encoding: chunked\r\n\r\n')
  drip(connection, done, forever(b'1\r\n \r\n'))


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('say', [
    lambda c, d: drip(c, d, forever(b'')), endless_head, slow_body,
    endless_chunks, lambda c, d: drip(c, d, (HEAD[i:i + 1] for i in range(9)))
    or drip(c, d, forever(b'x'))])
def test_an_answer_without_end_ends(listen, name, say):
  provider = make(name, listen(say), timeout=0.5)
  begun = time.monotonic()
  with pytest.raises(errors.FailedCall) as e:
    provider.ask(QUERY)
  # Each byte comes in time; only the call as a whole is too long.
  assert time.monotonic() - begun < 15
  # On a busy machine it may not even have come to be sent.
  assert e.value.paid == ('had been sent' in str(e.value))
  provider.close()


@pytest.mark.parametrize('name', NAMES)
def test_an_answer_without_bound_ends(listen, name):
  sent = []

  def flood(connection, done):
    connection.sendall(HEAD + b'Transfer-Encoding: chunked\r\n\r\n')
    data = b'100000\r\n' + b' ' * (1 << 20) + b'\r\n'
    while not done.is_set():
      connection.sendall(data)
      sent.append(1)
  provider = make(name, listen(flood), timeout=60.0)
  with pytest.raises(errors.FailedCall, match='more than 8 MB'):
    provider.ask(QUERY)
  assert len(sent) < 64
  provider.close()


@pytest.mark.parametrize('name', NAMES)
def test_packed_answers_are_not_unpacked(listen, name):
  def say(connection, done):
    connection.sendall(
        HEAD + b'Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc')
  provider = make(name, listen(say))
  with pytest.raises(errors.FailedCall, match='packed'):
    provider.ask(QUERY)
  provider.close()


@pytest.mark.parametrize('name', NAMES)
def test_redirects_are_not_followed(listen, name):
  asked = []
  other = servers.start(lambda *args: asked.append(1) or servers.good(*args))

  def say(connection, done):
    connection.sendall(
        b'HTTP/1.1 307 Go\r\nContent-Length: 0\r\nLocation: '
        + other.url.encode() + b'/v1/chat/completions\r\n\r\n')
  provider = make(name, listen(say))
  with pytest.raises(errors.RejectedCall, match=other.url):
    provider.ask(QUERY)
  assert not asked
  provider.close()
  other.shutdown()
  other.server_close()


@pytest.mark.parametrize('name', NAMES)
def test_what_was_not_sent_is_not_paid(name):
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
  provider = make(name, f'http://127.0.0.1:{port}')
  with pytest.raises(errors.FailedCall, match='refused.*nothing was sent'
                     ) as e:
    provider.ask(QUERY)
  assert not e.value.paid
  provider.close()


# --- What is checked at start -----------------------------------------------


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('key', [
    'sk-fake-0123\n', ' sk-fake-0123', 'sk-fake…0123', 'sk-...', 'sk-fäke'])
def test_keys_that_can_not_be_sent(monkeypatch, name, key):
  monkeypatch.setenv(KEYS[name], key)
  with pytest.raises(errors.MissingKey, match=KEYS[name]) as e:
    make(name, 'http://127.0.0.1:9/v1')
  assert '0123' not in str(e.value)


@pytest.mark.parametrize('url', [
    'localhost:8000/v1', '127.0.0.1', 'ftp://host/v1', 'http://', 'http:///v1',
    'http://host:port/v1', 'http://host:99999', 'http://ho st/v1',
    'http://host/v1\n', 'http://h\u00f6st', 'http://[::1/v1'])
@pytest.mark.parametrize('name', NAMES)
def test_addresses_that_are_none(monkeypatch, name, url):
  with pytest.raises(errors.ConfigError, match='lore.advisor.url'):
    make(name, url)
  variable = f'{name.upper()}_BASE_URL'
  monkeypatch.setenv(variable, url)
  with pytest.raises(errors.ConfigError, match=variable):
    make(name, '')


def test_a_password_in_an_address_reaches_no_file():
  url = 'http://me:pass-word-1@host/v1'
  for fn in (
      lambda: make('openai', url),
      lambda: configlib.resolve(
          ['--configs', 'minigrid', 'lore', '--lore.advisor.url', url],
          configlib.load())):
    with pytest.raises(errors.ConfigError, match='OPENAI_BASE_URL') as e:
      fn()
    assert 'pass-word-1' not in str(e.value)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('value', ['socks://127.0.0.1:9', 'nonsense://x'])
def test_proxies_that_are_none(monkeypatch, name, value):
  monkeypatch.setenv('all_proxy', value)
  with pytest.raises(errors.ConfigError, match='all_proxy.*unset all_proxy'):
    make(name, 'https://example.org/v1')
  make(name, 'http://localhost:9/v1').close()
  monkeypatch.setenv('NO_PROXY', 'example.org')
  make(name, 'https://example.org/v1').close()


@pytest.mark.parametrize('name', NAMES)
def test_certificates_that_are_none(monkeypatch, name):
  monkeypatch.setenv('SSL_CERT_FILE', '/none')
  with pytest.raises(errors.ConfigError, match='SSL_CERT_FILE'):
    make(name, 'https://example.org/v1')
  make(name, 'http://127.0.0.1:9/v1').close()


def test_this_machine_is_asked_without_a_proxy(monkeypatch):
  for name in ('HTTP_PROXY', 'http_proxy', 'all_proxy'):
    monkeypatch.setenv(name, 'http://127.0.0.1:9')
  server = servers.start(servers.good)
  provider = make('openai', f'{server.url}/v1')
  assert len(provider.ask(QUERY).scores) == 2
  provider.close()
  server.shutdown()
  server.server_close()


def test_others_are_asked_through_the_proxy(monkeypatch):
  server = servers.start(servers.good)
  monkeypatch.setenv(
      'http_proxy', server.url.replace('//', '//me:pass-word-1@'))
  provider = make('openai', 'http://example.org/v1')
  assert len(provider.ask(QUERY).scores) == 2
  provider.close()
  server.shutdown()
  server.server_close()


# --- Secrets ----------------------------------------------------------------


@pytest.mark.parametrize('text, want', [
    ('the key abcdef123 is bad', 'the key *** is bad'),
    ('http://me:pass-word-1@host', 'http://***@host'),
    ('pass word 2', 'pass word 2'),
    ('the proxy said pass-word-1', 'the proxy said ***'),
    ('Authorization: Bearer abcdefgh12345', 'Authorization: Bearer ***'),
    ('sk-' + 'ant-api03-abcdefgh', '***'),
    ('a task, a risk-free one', 'a task, a risk-free one'),
    ('/usr/bin', '/usr/bin')])
def test_mask(text, want):
  environ = {
      'MY_API_KEY': 'abcdef123', 'http_proxy': 'http://me:pass-word-1@proxy',
      'SHORT_KEY': 'a', 'KEY_FILE': '/usr/bin', 'HOME': '/root'}
  assert secrets.mask(text, environ) == want


def test_a_look_up_that_never_returns_ends(monkeypatch):
  end = threading.Event()
  monkeypatch.setattr(
      http.socket, 'getaddrinfo', lambda *args, **kwargs: end.wait(60))
  provider = make('openai', 'http://nowhere.example/v1', timeout=0.3)
  with pytest.raises(errors.FailedCall, match='nothing was sent') as e:
    provider.ask(QUERY)
  assert not e.value.paid
  provider.close()
  end.set()


def test_every_address_of_a_host_is_tried():
  closed = socket.create_server(('127.0.0.1', 0))
  port = closed.getsockname()[1]
  backend = http.Backend(
      None, lambda: http.Budget(5.0), lambda *args: ['1', '2', '3'])

  class Inner:
    def connect_tcp(self, address, port, *args):
      if address != '3':
        raise OSError(address)
      return address

  backend.inner = Inner()
  assert backend.connect_tcp('h', port).stream == '3'
  backend.lookup = lambda *args: ['1', '2']
  with pytest.raises(OSError, match='1'):
    backend.connect_tcp('h', port)
  closed.close()


@pytest.mark.parametrize('key', ['api_key', 'key', 'access_token', 'sig'])
def test_a_secret_in_the_query_of_an_address(key):
  url = f'http://127.0.0.1:1/v1?version=2&{key}=geheim123'
  assert 'geheim' not in secrets.mask(f'failed: {url}')
  assert 'version=2' in secrets.mask(url)
  with pytest.raises(errors.ConfigError) as e:
    http.check_url(url, 'lore.advisor.url')
  assert 'geheim' not in str(e.value)
  plain = 'http://127.0.0.1:1/v1?api-version=2024-10-21'
  assert http.check_url(plain, 'lore.advisor.url') == plain


@pytest.mark.parametrize('name', NAMES)
def test_a_server_that_is_not_there_is_said_before_training(name):
  with socket.create_server(('127.0.0.1', 0)) as server:
    port = server.getsockname()[1]
    there = f'http://127.0.0.1:{port}/v1'
    assert not http.unheard(there)
  config = configlib.resolve([
      '--configs', 'minigrid', 'lore', '--lore.advisor.provider', name,
      '--lore.advisor.model', 'm', '--lore.advisor.url', there,
  ], configlib.load())
  (note,) = build.rehearse(config)
  assert name in note and there in note and 'Connection refused' in note
  # Of others only a call can tell.
  assert not http.unheard('https://203.0.113.1/v1')
