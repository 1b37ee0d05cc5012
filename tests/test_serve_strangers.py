"""A server without a token, and web pages in a browser on its machine."""

import json
import socket

import pytest
from questions import query

from lore_plugin import errors
from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.remote import client as clientlib
from lore_plugin.advisor.remote import serve
from lore_plugin.advisor.remote import server as serverlib
from lore_plugin.advisor.remote import wire


@pytest.fixture
def start():
  made = []

  def fn(address='127.0.0.1:0', token=''):
    provider, store = Mock(), storelib.Store(':memory:')
    made.append((serverlib.Server(
        serve.askers([provider], store), address, token), store))
    return made[-1][0], provider
  yield fn
  for server, store in made:
    server.close()
    store.close()


def say(server, request, *headers, body=b''):
  """Sends a request as it is. Returns the status and the message."""
  lines = [f'{request} HTTP/1.1', *headers, 'Connection: close']
  if body:
    lines += [f'Content-Length: {len(body)}', 'Content-Type: application/json']
  with socket.create_connection(wire.parse(server.address), 60) as sock:
    sock.sendall('\r\n'.join(lines).encode() + b'\r\n\r\n' + body)
    data = b''.join(iter(lambda: sock.recv(65536), b''))
  head, _, rest = data.partition(b'\r\n\r\n')
  return int(head.split()[1]), json.loads(rest)


@pytest.mark.parametrize('headers', [
    ['Host: evil.example:2225'], ['Host: evil.example'], ['Host: localhost.x'],
    ['Host: 127.0.0.1.evil.example:80'], ['Host: 127.0.0.1@evil.example'],
    ['Host: [::2]:80'], ['Host: [evil.example]'], ['Host: 192.0.2.1'],
    ['Host:'], ['Host: 127.0.0.1', 'Origin: http://evil.example'],
    ['Host: localhost:2225', 'Origin: null'],
    ['Host: localhost:2225', 'Origin: http://localhost:2225']])
def test_a_page_gets_no_answer(start, headers):
  server, provider = start()
  question = wire.pack(query('a')).model_dump_json().encode()
  for request, body in (
      ('GET /v1/hello', b''), ('GET /v1/news?mode=subgoal&after=0', b''),
      ('POST /v1/ask', question)):
    status, answer = say(server, request, *headers, body=body)
    assert (status, answer['error']) == (403, 'RejectedCall')
    assert 'export LORE_TOKEN' in answer['message']
  assert not provider.queries


@pytest.mark.parametrize('host', [
    '127.0.0.1', '127.0.0.1:2225', 'localhost', 'LocalHost:1', '[::1]',
    '[::1]:2225'])
def test_a_program_of_this_machine_gets_one(start, host):
  server, provider = start()
  question = wire.pack(query('a')).model_dump_json().encode()
  assert say(server, 'GET /v1/hello', f'Host: {host}')[0] == 200
  assert say(server, 'POST /v1/ask', f'Host: {host}', body=question)[0] == 200
  assert len(provider.queries) == 1


def test_a_token_is_enough_under_every_name(start):
  server, _ = start(token='secret')
  headers = ['Host: advisor.example', 'Authorization: Bearer secret']
  assert say(server, 'GET /v1/hello', *headers)[0] == 200
  assert say(server, 'GET /v1/hello', headers[0])[0] == 401


@pytest.mark.parametrize('host', ['127.0.0.1', 'localhost', '[::1]'])
def test_our_own_client_is_answered(start, host):
  try:
    server, _ = start(f'{host}:0')
  except errors.AdvisorError:
    pytest.skip('This machine has no IPv6.')
  address = f'{host}:{server.port}'
  client = clientlib.Remote(address, timeout=60.0, token='')
  assert len(client.ask(query('a')).scores) == 2
  client.close()
