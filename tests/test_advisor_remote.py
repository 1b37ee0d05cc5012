import concurrent.futures
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.advisor import remote
from lore_plugin.advisor import rpc
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.check import check_provider
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option, Query

WORDS = ('left', 'right', 'forward')
OPTIONS = (Option('key', (0,)), Option('look', (1, 2)))


def describe(text):
  return Description(text, 'm', WORDS, OPTIONS, version='t-1')


def query(text):
  return Query(describe(text), ('key', 'look'), 'subgoal')


def consider(advisor, text):
  states = describe(text).encode(256)[None]
  advisor.consider(states, [0], [0.0], [0.0], [False], [False])
  return advisor.lookup(states)


def until(fn, seconds=20.0):
  """Waits until a function returns something true, and returns it."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    value = fn()
    if value:
      return value
    time.sleep(0.05)
  raise AssertionError('That took too long.')


@pytest.fixture
def provider():
  return Mock(default=(0.0, -1.0), paid=True)


@pytest.fixture
def server(provider):
  store = storelib.Store(':memory:')
  server = remote.Server(
      provider, store, token='secret', caps=storelib.Caps(calls=50))
  yield server
  server.close()
  store.close()


@pytest.fixture
def connect(server):
  made = []

  def fn(token='secret', **kwargs):
    made.append(remote.Remote(
        server.address, timeout=10.0, token=token, **kwargs))
    return made[-1]
  yield fn
  for client in made:
    client.close()


class TestAsking:

  def test_answers_once_for_all(self, connect, provider):
    first, second = connect(), connect()
    assert first.ask(query('a')).scores == (0.0, -1.0)
    assert second.ask(query('a')).scores == (0.0, -1.0)
    assert len(provider.queries) == 1
    assert provider.queries[0] == query('a')

  def test_identity_is_the_providers(self, connect):
    client = connect()
    assert client.identity == storelib.Identity('mock', 'mock', 'subgoal-1')

  def test_find_asks_nobody(self, connect, provider):
    client = connect()
    client.ask(query('a'))
    got = client.find([query('a'), query('b')])
    assert got[0].scores == (0.0, -1.0) and got[1] is None
    assert len(provider.queries) == 1

  def test_budget_is_shared(self, connect, provider):
    clients = [connect(), connect()]
    refused = 0
    for i in range(60):
      try:
        clients[i % 2].ask(query(f't{i}'))
      except errors.RefusedCall as e:
        assert e.reason == 'budget'
        refused += 1
    assert (len(provider.queries), refused) == (50, 10)

  def test_errors_by_class(self, connect, provider):
    client = connect()
    provider.queue += [errors.ParseError('nonsense')]
    with pytest.raises(errors.ParseError, match='nonsense'):
      client.ask(query('a'))
    provider.queue += [errors.RejectedCall('wrong key')]
    # The key is the server's; the run is not to give up for good.
    with pytest.raises(errors.BusyCall, match='wrong key'):
      client.ask(query('b'))
    with pytest.raises(errors.RefusedCall, match='stopped'):
      client.ask(query('c'))

  def test_conformance(self, connect):
    check_provider(connect())


class TestAdvisor:

  def test_runs_learn_from_each_other(self, connect, provider):
    advisors = []
    for _ in range(2):
      client = connect()
      store = storelib.Store(':memory:')
      client.follow(store)
      advisors.append(service.Advisor(
          client, 3, service.Settings(ask='sync'), store=store))
    first, second = advisors
    assert consider(first, 'a')[1].all()
    # Without asking: by the feed.
    until(lambda: second.store.load(client.identity))
    for _ in range(service.NEWS):
      consider(second, 'z')
    states = describe('a').encode(256)[None]
    prior, valid = second.lookup(states)
    assert valid.all()
    np.testing.assert_array_equal(prior, first.lookup(states)[0])
    assert [x.description.text for x in provider.queries] == ['a', 'z']
    for advisor in advisors:
      advisor.close()

  def test_server_goes_and_comes_back(self, server, connect, provider):
    client = connect()
    advisor = service.Advisor(
        client, 3, service.Settings(ask='sync', retries=0),
        patience=service.circuitlib.Patience(failures=1, rest=0.2))
    assert consider(advisor, 'a')[1].all()
    server.close()
    assert consider(advisor, 'a')[1].all()
    assert not consider(advisor, 'b')[1].any()
    assert advisor.stats()['failures_failed'] >= 1
    server.start()
    assert until(lambda: consider(advisor, 'b')[1].all())
    advisor.close()


class TestSetup:

  def test_wrong_token(self, connect):
    with pytest.raises(errors.AdvisorError, match='export LORE_TOKEN'):
      connect(token='guess')

  def test_token_is_compared_again(self, server):
    method = server._method(server._hello)
    assert json.loads(method(remote.knock('guess')))['error'] == 'RejectedCall'
    assert json.loads(method(
        remote.knock('secret')))['format'] == remote.FORMAT

  def test_nobody_listens(self):
    address = f'127.0.0.1:{remote.free_port("127.0.0.1")}'
    with pytest.raises(errors.AdvisorError, match='python -m lore_plugin'):
      remote.Remote(address, timeout=0.3)

  def test_open_to_the_world(self):
    with pytest.raises(errors.ConfigError, match='export LORE_TOKEN'):
      remote.Server(Mock(), storelib.Store(':memory:'), '0.0.0.0:0')

  def test_port_is_taken(self, server):
    with pytest.raises(errors.AdvisorError, match='Cannot listen'):
      remote.Server(Mock(), storelib.Store(':memory:'), server.address)

  @pytest.mark.parametrize('address', [
      'localhost', '127.0.0.1:', ':80', '127.0.0.1:99999', 'http://x'])
  def test_no_address(self, address):
    with pytest.raises(errors.ConfigError, match='127.0.0.1:2225'):
      remote.parse(address)

  def test_version_6(self):
    assert remote.parse('[::1]:80') == ('::1', 80)


class TestHostileClients:

  HELLO = remote.handshake('secret').encode()

  @pytest.mark.parametrize('data', [
      b'GET / HTTP/1.1\r\n\r\n', b'portal_handshake', b'\0' * 100,
      HELLO, HELLO + b'\xff' * 64,
      HELLO + (30).to_bytes(8, 'little') + b'x' * 30,
      HELLO + (4).to_bytes(8, 'little') + b'x' * 4,
      HELLO + (15).to_bytes(8, 'little') + b'x' * 8 + b'nothing',
      HELLO + (11).to_bytes(8, 'little') + b'x' * 8 + b'\xff\xfe\n'])
  def test_server_stays(self, server, connect, data):
    client = connect()
    with socket.create_connection(remote.parse(server.address)) as sock:
      sock.sendall(data)
      time.sleep(0.2)
    assert client.ask(query('a'))
    assert connect().ask(query('a'))

  @pytest.mark.parametrize('data', [
      'null', '[]', '{}', '1', '"x"', '{"text": 1}', 'x', '',
      '{"text": "t", "mission": "m", "version": "v", "actions": [],'
      ' "options": [], "candidates": ["a"], "mode": "x"}'])
  def test_no_query(self, server, data):
    method = server._method(server._ask)
    message = '\n'.join((remote.knock('secret'), '"key"', data))
    assert json.loads(method(message))['error'] in (
        'RejectedCall', 'FailedCall')


class TestHostileServers:

  @pytest.fixture
  def answer(self):
    """Returns a function that makes a server answer as told."""
    listening = socket.create_server(('127.0.0.1', 0))
    answers = []

    def serve():
      while True:
        try:
          conn, _ = listening.accept()
        except OSError:
          return
        with conn, contextlib.suppress(ConnectionError):
          conn.recv(len(remote.handshake('')))
          while conn.recv(100_000):
            conn.sendall(answers[0])
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()

    def fn(data):
      answers[:] = [data]
      return f'127.0.0.1:{listening.getsockname()[1]}'
    yield fn
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()

  @pytest.mark.parametrize('data', [
      b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\0' * 8, b'\xff' * 100,
      (3).to_bytes(8, 'little') + b'abc',
      (12).to_bytes(8, 'little') + bytes(8) + b'null',
      (9).to_bytes(8, 'little') + bytes(8) + b'\xff',
      2 * ((10).to_bytes(8, 'little') + bytes(8) + b'{}')])
  def test_says_so(self, answer, data):
    with pytest.raises(errors.AdvisorError):
      remote.Remote(answer(data), timeout=0.5, token='')

  def test_lost_connection_is_no_waiting(self, server, connect, provider):
    client = connect()
    begun = time.monotonic()
    thread = threading.Timer(0.3, client._client._socket.callbacks_disc[0])
    provider.queue.append(lambda query: time.sleep(1.0))
    thread.start()
    with pytest.raises(errors.FailedCall, match='Disconnected'):
      client.ask(query('a'))
    assert time.monotonic() - begun < 0.9


class TestCommand:

  def test_serves_and_ends(self, tmp_path):
    port = remote.free_port('127.0.0.1')
    address = f'127.0.0.1:{port}'
    command = [
        sys.executable, '-m', 'lore_plugin', 'serve', '--logdir',
        str(tmp_path), '--lore.advisor.provider', 'scripted',
        '--lore.advisor.address', address]
    env = {k: v for k, v in os.environ.items() if k != remote.TOKEN}
    process = subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, text=True)
    try:
      assert f'Serving scripted (rules-1) on {address}' in (
          process.stdout.readline())
      client = remote.Remote(address, timeout=10.0, token='')
      assert len(client.ask(query('a')).scores) == 2
      client.close()
      process.send_signal(signal.SIGTERM)
      assert process.wait(20) == 0
    finally:
      process.kill()
      process.wait()
    store = storelib.Store(tmp_path / 'advice.sqlite')
    assert store.spent('served')['calls'] == 1


def test_a_client_that_has_nothing_to_do_takes_no_time():
  def echo(text):
    return text
  port = remote.free_port('127.0.0.1')
  server = rpc.Server(
      port, {'echo': (echo, 1)}, host='127.0.0.1', logging=False)
  client = rpc.Client('127.0.0.1', port, logging=False)
  try:
    assert client.connect(5)
    # Messages sent at once made portal's thread spin for ever.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      sent = [f'{i}' for i in range(200)]
      got = list(pool.map(lambda x: client.call('echo', x, 5), sent))
    assert got == sent
    thread = client._socket.thread.thread.ident
    before = cpu_seconds(thread)
    time.sleep(1)
    assert cpu_seconds(thread) - before < 0.05
  finally:
    client.close()
    server.close()


def cpu_seconds(ident):
  """Processor time of a thread so far."""
  return time.clock_gettime(time.pthread_getcpuclockid(ident))
