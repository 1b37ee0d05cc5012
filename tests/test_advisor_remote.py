"""The advisor's server and its clients, over real connections."""

import concurrent.futures
import contextlib
import http.client
import json
import resource
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest
from helpers import until
from questions import IDENTITY, describe, query, row

from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.check import check_provider
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import serve
from lore_plugin.advisor.remote import server as serverlib
from lore_plugin.advisor.remote import wire

# A request for what a server knows.
NEWS = (
    b'GET /v1/news?mode=subgoal&after=0 HTTP/1.1\r\nHost: x\r\n'
    b'Authorization: Bearer secret\r\n\r\n')


def consider(advisor, text):
  states = describe(text).encode(256)[None]
  advisor.consider(states, [0], [0.0], [0.0], [False], [False])
  return advisor.lookup(states)


@pytest.fixture
def provider():
  return Mock(default=(0.0, -1.0), paid=True)


@pytest.fixture
def server(provider):
  store = storelib.Store(':memory:')
  server = serverlib.Server(
      serve.askers([provider], store, caps=storelib.Caps(calls=50)),
      token='secret')
  yield server
  server.close()
  store.close()


@pytest.fixture
def connect(server):
  made = []

  def fn(token='secret', timeout=60.0, **kwargs):
    made.append(clientlib.Remote(
        server.address, timeout=timeout, token=token, **kwargs))
    return made[-1]
  yield fn
  for client in made:
    client.close()


def knock(server, text=b''):
  """Opens a plain connection and says something."""
  sock = socket.create_connection(wire.parse(server.address), 60)
  sock.sendall(text)
  return sock


def begun(sock):
  """Waits until an answer begins, and reads nothing of it."""
  return sock.recv(1, socket.MSG_PEEK)


def fill(server):
  """Stores so much that Linux does not keep all of an answer, but 4 MB."""
  store = server.askers['subgoal'].store
  for i in range(8):
    store.copy(None, row(f'{i}', raw='x' * 1_000_000))


def get(server, path, token='secret', data=None, **headers):
  """Returns status and message, by what every system has."""
  request = urllib.request.Request(
      f'http://{server.address}{path}', data, headers)
  if token is not None:
    request.add_header('Authorization', f'Bearer {token}')
  try:
    with urllib.request.urlopen(request, timeout=60) as response:
      return response.status, json.load(response)
  except urllib.error.HTTPError as e:
    with e:
      return e.code, json.load(e)


class TestAsking:

  def test_answers_once_for_all(self, connect, provider):
    first, second = connect(), connect()
    assert first.ask(query('a')).scores == (0.0, -1.0)
    assert second.ask(query('a')).scores == (0.0, -1.0)
    assert len(provider.queries) == 1
    assert provider.queries[0] == query('a')

  def test_identity_is_the_providers(self, connect):
    client = connect()
    assert client.identity == IDENTITY
    assert client.paid

  @pytest.mark.parametrize('paid', [True, False])
  def test_runs_wait_where_they_would_wait_without_a_server(
      self, connect, provider, paid):
    """A short run beside a server has the advice that it has alone."""
    provider.paid = paid
    assert connect().paid == paid

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

  def test_by_hand(self, server):
    status, hello = get(server, '/v1/hello')
    assert status == 200 and hello['spent']['calls'] == 0
    question = wire.pack(query('a')).model_dump_json().encode()
    asked = get(server, '/v1/ask', data=question, **{
        'Content-Type': 'application/json'})
    assert asked == (200, {
        'scores': [0.0, -1.0], 'raw': 'mock', 'provider': 'mock',
        'model': 'mock', 'prompt': IDENTITY.prompt})
    status, news = get(server, '/v1/news?mode=subgoal&after=0')
    assert [x['text'] for x in news['rows']] == ['a'] and not news['more']
    assert get(server, '/v1/hello')[1]['spent']['calls'] == 1


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

  @pytest.mark.parametrize('token', ['guess', 'secre', 'secret2', ''])
  def test_wrong_token(self, server, connect, token):
    with pytest.raises(errors.AdvisorError, match='export LORE_TOKEN'):
      connect(token=token)
    for path in ('/v1/hello', '/v1/news?mode=subgoal&after=0', '/x'):
      assert get(server, path, token)[0] == 401
    assert get(server, '/v1/ask', token, b'{}')[0] == 401

  def test_no_token(self, server):
    assert get(server, '/v1/hello', None)[0] == 401

  @pytest.mark.parametrize('token', ['a b', 'a\n', 'ä', 'a…'])
  def test_a_token_that_no_header_holds(self, monkeypatch, token):
    monkeypatch.setenv(wire.TOKEN, token)
    with pytest.raises(errors.ConfigError, match='export LORE_TOKEN'):
      wire.read_token()

  def test_nobody_listens(self):
    address = f'127.0.0.1:{wire.free_port("127.0.0.1")}'
    with pytest.raises(errors.AdvisorError, match='python -m lore_plugin'):
      clientlib.Remote(address, timeout=0.3)

  def test_a_server_that_starts_late(self, server, connect):
    server.close()
    timer = threading.Timer(0.5, server.start)
    timer.start()
    assert connect().identity == IDENTITY
    timer.join()

  def test_open_to_the_world(self):
    with pytest.raises(errors.ConfigError, match='export LORE_TOKEN'):
      serverlib.Server({}, '0.0.0.0:0')

  def test_port_is_taken(self, server):
    with pytest.raises(errors.AdvisorError, match='Cannot listen'):
      serverlib.Server(server.askers, server.address)

  @pytest.mark.parametrize('address', [
      'localhost', '127.0.0.1:', ':80', '127.0.0.1:99999', 'http://x',
      'a@b:80', 'a/b:80', '127.0.0.1:²'])
  def test_no_address(self, address):
    with pytest.raises(errors.ConfigError, match='127.0.0.1:2225'):
      wire.parse(address)

  def test_version_6(self):
    assert wire.parse('[::1]:80') == ('::1', 80)
    assert wire.join('::1', 80) == '[::1]:80'

  def test_says_that_the_token_travels_in_clear(self, server, capsys):
    server.host = '192.0.2.1'
    serve.announce(server, Mock(), 'x')
    assert 'in clear' in capsys.readouterr().out
    server.host = '127.0.0.1'
    serve.announce(server, Mock(), 'x')
    assert 'in clear' not in capsys.readouterr().out

  def test_a_page_of_damaged_rows_stops_no_news(
      self, server, connect, monkeypatch):
    monkeypatch.setattr(wire, 'ROWS', 4)
    client = connect()
    for i in range(10):
      client.ask(query(f'q{i}'))
    store = next(iter(server.askers.values())).store
    with store._db.write() as db:
      db.execute("update replies set scores = '[NaN]' where seq < 7")
    ours = storelib.Store(':memory:')
    client.follow(ours)
    until(lambda: ours.latest()[0])
    found = [x['text'] for x in ours.load(IDENTITY)]
    assert found == [f'q{i}' for i in range(6, 10)]
    ours.close()

  def test_rows_are_those_of_the_store(self):
    store = storelib.Store(':memory:')
    store.copy(None, row('a'))
    assert set(store.load(IDENTITY)[0]) == set(wire.Row.model_fields)
    store.close()


class TestLoad:

  def test_eight_busy_clients(self, connect, provider, server):
    """Most of it known already, as in runs that have learned."""
    clients = [connect() for _ in range(8)]

    def work(number):
      for i in range(60):
        reply = clients[number].ask(query(f't{i % 40}'))
        assert reply.scores == (0.0, -1.0)
    # Asked once before, as a question under way is not asked by others.
    for i in range(40):
      clients[0].ask(query(f't{i}'))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      list(pool.map(work, range(8)))
    assert len(provider.queries) == 40

  def test_the_same_question_at_once(self, connect, provider):
    """One asks; the others are told to come again, and get the answer."""
    provider.queue.append(lambda query: time.sleep(0.3))
    clients = [connect() for _ in range(8)]
    got = []

    def ask(client):
      def answer():
        with contextlib.suppress(errors.RefusedCall):
          return client.ask(query('a'))
      got.append(until(answer))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
      list(pool.map(ask, clients))
    assert len(got) == 8 and len(provider.queries) == 1

  def test_idle_connections(self, server, connect):
    """1,100 that say nothing, and as many that send half a line."""
    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(8192, old[1]), old[1]))
    client = connect()
    socks = []
    try:
      for text in (b'', b'GET /v1/he'):
        for _ in range(1100):
          socks.append(knock(server, text))
        assert client.ask(query('a'))
        assert connect().ask(query('a'))
      guard = server._guard
      assert len(guard._idle) + len(guard._busy) <= serverlib.CONNECTIONS
    finally:
      for sock in socks:
        sock.close()
      resource.setrlimit(resource.RLIMIT_NOFILE, old)
    until(lambda: len(server._guard._idle) <= 2)

  def test_large_answers_that_nobody_reads(self, server, connect):
    fill(server)
    socks = [knock(server, NEWS) for _ in range(12)]
    assert all(begun(x) for x in socks)
    assert connect().ask(query('a'))
    copy = storelib.Store(':memory:')
    connect().follow(copy)
    assert len(copy.load(IDENTITY)) == 9
    copy.close()
    for sock in socks:
      sock.close()

  def test_who_does_not_read_is_left(self, server, monkeypatch):
    fill(server)
    with knock(server, NEWS) as sock:
      assert begun(sock)
      monkeypatch.setattr(serverlib, 'IDLE', 0.5)
      until(lambda: not server._guard._busy and not server._guard._idle)
      answer = http.client.HTTPResponse(sock)
      answer.begin()
      with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()

  def test_what_takes_too_long_is_left(self, server, monkeypatch):
    done, page = threading.Event(), serverlib.page
    monkeypatch.setattr(
        serverlib, 'page', lambda *args: done.wait(120) and page(*args))
    with knock(server, NEWS) as sock:
      until(lambda: server._guard._busy)
      # Not before: on a busy machine half a second may pass between two looks.
      server._guard.longest = 0.5
      until(lambda: not server._guard._busy)
      assert sock.recv(1) == b''
    done.set()

  def test_who_says_nothing_is_left(self, server, monkeypatch):
    monkeypatch.setattr(serverlib, 'IDLE', 0.2)
    with knock(server) as sock:
      assert sock.recv(1) == b''

  def test_a_slow_provider_delays_nobody_else(self, connect, provider, server):
    """All workers are busy; what is known is answered all the same."""
    done = threading.Event()
    clients = [connect() for _ in range(server.workers)]
    clients[0].ask(query('known'))
    provider.queue += [lambda query: done.wait(60) and None] * server.workers
    with concurrent.futures.ThreadPoolExecutor(server.workers) as pool:
      waiting = [
          pool.submit(x.ask, query(f'{i}')) for i, x in enumerate(clients)]
      until(lambda: len(provider.queries) == 1 + server.workers)
      assert connect().ask(query('known'))
      assert not any(x.done() for x in waiting)
      done.set()
      assert all(x.result() for x in waiting)

  def test_a_client_that_has_nothing_to_do_takes_no_time(self, connect):
    client = connect()
    client.ask(query('a'))
    clock = time.pthread_getcpuclockid(client._thread.ident)
    before = time.clock_gettime(clock)
    time.sleep(1)
    assert time.clock_gettime(clock) - before < 0.05


class TestHostileClients:

  @pytest.mark.parametrize('data', [
      b'\0' * 100, b'\xff' * 100, b'GET / HTTP/1.1\r\n\r\n',
      b'GET /v1/hello HTTP/9.9\r\n\r\n', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      b'POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n',
      b'POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n',
      b'GET / HTTP/1.1\r\nHost: x\r\nX: ' + b'x' * 1_000_000])
  def test_server_stays(self, server, connect, data):
    client = connect()
    # One that has been hung up on may be 'not connected', too.
    with knock(server) as sock, contextlib.suppress(OSError):
      sock.sendall(data)
      sock.shutdown(socket.SHUT_WR)
      while sock.recv(65536):
        pass
    assert client.ask(query('a'))
    assert connect().ask(query('a'))

  @pytest.mark.parametrize('data', [
      'null', '[]', '{}', '1', '"x"', '{"text": 1}', 'x', '', '[' * 100_000,
      '{"text": "t", "mission": "m", "version": "v", "actions": [],'
      ' "options": [], "candidates": ["a"], "mode": "subgoal"}',
      '{"text": "t", "mission": "m", "version": "v", "actions": [],'
      ' "options": [], "candidates": ["a", "b"], "mode": "x"}',
      '"' + 'x' * 2_000_000 + '"'])
  def test_no_question(self, server, provider, data):
    kind = {'Content-Type': 'application/json'}
    status, answer = get(server, '/v1/ask', data=data.encode(), **kind)
    assert (status, answer['error']) == (422, 'RejectedCall')
    assert len(answer['message']) < 1000 and not provider.queries

  def test_a_form_of_another_site(self, server, provider):
    question = wire.pack(query('a')).model_dump_json().encode()
    kind = {'Content-Type': 'text/plain'}
    assert get(server, '/v1/ask', data=question, **kind)[0] == 422
    assert not provider.queries

  @pytest.mark.parametrize('path', [
      '/v1/news', '/v1/news?mode=x&after=0', '/v1/news?mode=action&after=-1',
      f'/v1/news?mode=action&after={"9" * 30}', '/v1/news?mode=action&after=x',
      f'/v1/news?mode=action&after={"9" * 5000}'])
  def test_no_place_in_the_feed(self, server, path):
    assert get(server, path)[0] == 422

  def test_other_paths(self, server):
    assert get(server, '/v2/hello')[0] == 404
    assert get(server, '/v1/ask')[0] == 405

  def test_a_question_that_never_ends(self, server, monkeypatch):
    monkeypatch.setattr(serverlib, 'BODY', 0.3)
    with knock(server) as sock:
      sock.sendall(
          b'POST /v1/ask HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n'
          b'Authorization: Bearer secret\r\n'
          b'Content-Type: application/json\r\n\r\n{')
      answer = b''
      while b'must arrive within' not in answer:
        part = sock.recv(65536)
        assert part, answer
        answer += part
