"""Servers of others: what they send reaches neither store nor start."""

import concurrent.futures
import contextlib
import gzip
import json
import socket
import subprocess
import sys
import threading
import time

import pytest
from helpers import until
from questions import IDENTITY, query, row

from lore_plugin import errors
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import wire

HELLO = dict(
    format=wire.FORMAT, provider='mock', model='mock', paid=True,
    calibrate=False, prompts={'subgoal': 'subgoal-1', 'action': 'action-1'},
    spent={})


def body(data, status='200 OK', **headers):
  """An answer whole, as bytes."""
  data = data if isinstance(data, bytes) else json.dumps(data).encode()
  lines = [f'HTTP/1.1 {status}', f'Content-Length: {len(data)}',
           *(f'{k.replace("_", "-")}: {v}' for k, v in headers.items())]
  return '\r\n'.join(lines).encode() + b'\r\n\r\n' + data


def heard(conn):
  """Reads a request whole. Returns its path, '' after the last one."""
  data = b''
  while not data.endswith(b'\r\n\r\n') and not (
      data.startswith(b'POST') and data.endswith(b'}')):
    part = conn.recv(100_000)
    if not part:
      return ''
    data += part
  return data.split(b' ')[1].decode()


@contextlib.contextmanager
def pretend(**answers):
  """A server that answers each path as told: bytes, or a function's.

  Where it returns an iterator, its parts are sent until the client leaves.
  """
  listening = socket.create_server(('127.0.0.1', 0))
  seen = []

  def talk(conn):
    with conn, contextlib.suppress(OSError):
      while path := heard(conn):
        seen.append(path)
        answer = answers[path.split('/')[2].split('?')[0]]
        answer = answer(path) if callable(answer) else answer
        for part in [answer] if isinstance(answer, bytes) else answer:
          conn.sendall(part)

  def serve_all():
    while True:
      try:
        conn, _ = listening.accept()
      except OSError:
        return
      threading.Thread(target=talk, args=(conn,), daemon=True).start()
  thread = threading.Thread(target=serve_all, daemon=True)
  thread.start()
  try:
    yield f'127.0.0.1:{listening.getsockname()[1]}', seen
  finally:
    listening.shutdown(socket.SHUT_RDWR)
    listening.close()
    thread.join()


def trickle(head, part):
  """A head, and for ever a part every now and then."""
  yield head
  while True:
    time.sleep(0.05)
    yield part


def flood(head, part):
  yield head
  while True:
    yield part


class TestHostileServers:

  @pytest.mark.parametrize('data', [
      b'HTTP/1.1 400 Bad Request\r\n\r\n', b'\0' * 8, b'\xff' * 100,
      body(b'null'), body(b'[]'), body(b'\xff'), body(b'[' * 100_000),
      body({**HELLO, 'format': 99}), body({**HELLO, 'prompts': {}}),
      body({**HELLO, 'more': 1}), body({**HELLO, 'model': 'x' * 1000}),
      body(HELLO, '500 Oh no'), body(HELLO, '302 Found', Location='/v1/x'),
      body(
          gzip.compress(b'x' * 1000, mtime=0), Content_Encoding='gzip'),
      body({'error': 'SystemExit', 'message': 'x'}, '500 Oh no')])
  def test_says_so(self, data):
    with pretend(hello=data) as (address, seen):
      with pytest.raises(errors.AdvisorError):
        # The first of them only ends with the time.
        clientlib.Remote(address, timeout=2.0, token='')
    assert seen == ['/v1/hello'][:len(seen)]

  @pytest.mark.parametrize('answer', [
      lambda path: trickle(b'HTTP/1.1 200 OK\r\n', b'X: x\r\n'),
      lambda path: trickle(b'HTTP/1.1 200 OK\r\nX: ', b'x'),
      lambda path: trickle(
          b'HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n', b'{'),
      lambda path: trickle(b'', b'HTTP/1.1 100 Continue\r\n\r\n'),
      lambda path: trickle(
          b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
          b'1\r\nx\r\n')])
  def test_an_answer_without_end(self, answer):
    """One deadline for all of it, however often something arrives."""
    with pretend(hello=body(HELLO), ask=answer) as (address, _):
      client = clientlib.Remote(address, timeout=1.0, token='')
      begun = time.monotonic()
      with pytest.raises(errors.FailedCall):
        client.ask(query('a'))
      assert time.monotonic() - begun < 60
      client.close()

  def test_an_answer_beyond_all_bounds(self):
    answer = lambda path: flood(
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n',
        b'10000\r\n' + b'x' * 65536 + b'\r\n')
    with pretend(hello=body(HELLO), ask=answer) as (address, _):
      client = clientlib.Remote(address, timeout=120.0, token='')
      with pytest.raises(errors.FailedCall, match='over 16777216 bytes'):
        client.ask(query('a'))
      client.close()

  @pytest.mark.parametrize('answer', [
      {'scores': [float('nan'), 0.0], 'raw': ''},
      {'scores': [float('inf'), 0.0], 'raw': ''}, {'scores': [0.0, 1.0]},
      {'scores': [], 'raw': ''}, {'scores': 'ab', 'raw': ''},
      {'scores': [0.0, 1.0], 'raw': '', 'money': -1.0}])
  def test_no_answer(self, answer):
    with pretend(hello=body(HELLO), ask=body(answer)) as (address, _):
      client = clientlib.Remote(address, timeout=60.0, token='')
      with pytest.raises(errors.FailedCall, match='no message'):
        client.ask(query('a'))
      client.close()

  def test_reasons_are_those_that_are_counted(self):
    answer = body({'error': 'RefusedCall', 'message': 'x' * 999}, '429 No')
    with pretend(hello=body(HELLO), ask=answer) as (address, _):
      client = clientlib.Remote(address, timeout=60.0, token='')
      with pytest.raises(errors.RefusedCall) as e:
        client.ask(query('a'))
      assert e.value.reason == 'other'
      client.close()

  @pytest.mark.parametrize('changes', [
      {'key) values (1); drop table replies; --': 1}, {'key': 'x'},
      {'key': '0' * 64}, {'state': '0' * 64}, {'text': 'other'},
      {'provider': 'anthropic'}, {'model': 'other'}, {'mode': 'action'},
      {'scores': [float('nan'), 0.0]}, {'scores': [0.0, 1.0, 2.0]},
      {'scores': 'abc'}, {'seq': -1}, {'seq': 0}, {'seq': 2 ** 70},
      {'seq': 'x'}, {'money': -5.0}, {'money': 1e999}, {'tokens_in': 1.5},
      {'raw': None}, {'candidates': ['a', 1]}, {'created': 'now'}])
  def test_rows_that_are_none(self, changes):
    """Nothing of them reaches the client's store, and the run begins."""
    news = body({'rows': [row('a') | changes], 'more': False})
    store = storelib.Store(':memory:')
    with pretend(hello=body(HELLO), news=news) as (address, seen):
      client = clientlib.Remote(address, timeout=60.0, token='')
      client.follow(store)
      client.close()
    assert len(seen) > 1 and not store.identities()
    store.close()

  def test_rows_of_others_hide_none_that_follow(self, caplog):
    """As of a server of an earlier version, which masked its words."""
    rows = [row(f'{i}', seq=i) for i in range(1, 8)]
    rows[1] |= {'text': 'masked: ***'}
    rows[4] |= {'candidates': ['***', 'look']}
    news = body({'rows': rows, 'more': False})
    store = storelib.Store(':memory:')
    # Nor does one that is stored here already, and is damaged.
    store.copy(None, row('3'))
    with store._db.write() as db:
      db.execute("update replies set scores = 'x'")
    with pretend(hello=body(HELLO), news=news) as (address, _):
      client = clientlib.Remote(address, timeout=60.0, token='')
      client.follow(store)
      client.close()
    assert [x['text'] for x in store.load(IDENTITY)] == ['1', '4', '6', '7']
    assert caplog.text.count('No news of other') == 1
    store.close()

  def test_a_feed_without_end(self):
    """The run begins after the time of one call."""
    def news(path):
      after = int(path.rpartition('=')[2])
      return body({
          'rows': [row(f'{after + i}', seq=after + i) for i in range(1, 9)],
          'more': True})
    store = storelib.Store(':memory:')
    with pretend(hello=body(HELLO), news=news) as (address, seen):
      client = clientlib.Remote(address, timeout=1.0, token='')
      client.follow(store)
      assert len(seen) - 1 <= clientlib.PAGES
      client.close()
    store.close()

  def test_a_feed_that_goes_in_circles(self):
    news = body({'rows': [row('a')], 'more': True})
    store = storelib.Store(':memory:')
    with pretend(hello=body(HELLO), news=news) as (address, seen):
      client = clientlib.Remote(address, timeout=60.0, token='')
      client.follow(store)
      client.close()
    assert len(store.load(IDENTITY)) == 1 and len(seen) == 3
    store.close()

  def test_a_redirect_is_not_followed(self):
    with pretend(hello=body(HELLO)) as (trap, trapped):
      away = body(b'', '307 Away', Location=f'http://{trap}/v1/hello')
      with pretend(hello=away) as (address, _):
        with pytest.raises(errors.AdvisorError):
          clientlib.Remote(address, timeout=60.0, token='secret')
      assert not trapped

  def test_proxies_never_see_the_token(self, monkeypatch):
    answer = body({'scores': [0.0, 1.0], 'raw': ''})
    with pretend() as (trap, trapped):
      for name in ('http_proxy', 'HTTP_PROXY', 'ALL_PROXY', 'all_proxy'):
        monkeypatch.setenv(name, f'http://{trap}')
      with pretend(hello=body(HELLO), ask=answer) as (address, _):
        client = clientlib.Remote(address, timeout=60.0, token='secret')
        assert client.ask(query('a')).scores == (0.0, 1.0)
        client.close()
      assert not trapped

  def test_closing_ends_what_is_under_way(self):
    answer = lambda path: trickle(b'HTTP/1.1 200 OK\r\n', b'X: x\r\n')
    with pretend(hello=body(HELLO), ask=answer) as (address, seen):
      client = clientlib.Remote(address, timeout=600.0, token='')
      with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.ask, query('a'))
        until(lambda: len(seen) == 2)
        client.close()
        with pytest.raises(errors.FailedCall):
          asked.result(60)
      client.close()


LOOK_UP = '''
import socket, threading
from lore_plugin import errors
from lore_plugin.advisor.remote import client
socket.getaddrinfo = lambda *args, **kwargs: threading.Event().wait()
try:
  client.Remote('nowhere.example:1', timeout=0.2, token='t')
except errors.AdvisorError as e:
  print(e)
'''


@pytest.mark.process
def test_a_name_that_is_looked_up_for_ever_delays_no_exit():
  done = subprocess.run(
      [sys.executable, '-c', LOOK_UP], capture_output=True, text=True,
      timeout=120)
  assert done.returncode == 0 and not done.stderr
  assert 'gave no answer in 0.2 s' in done.stdout
