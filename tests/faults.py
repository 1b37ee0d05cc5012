"""A real HTTP server that does everything wrong, for both SDKs."""

import http.server
import json
import math
import threading
import time

USAGE = {'input_tokens': 70, 'output_tokens': 7}
SCORES = {'score_1': 90, 'score_2': 10, 'score_3': 20}  # Of 3 candidates.
SHORT = 0.5  # Seconds, where the server never answers.


def anthropic_message(scores=None, **kwargs):
  out = {
      'id': 'msg_1', 'type': 'message', 'role': 'assistant', 'model': 'm',
      'stop_reason': 'tool_use', 'stop_sequence': None, 'usage': USAGE,
      'content': [{
          'type': 'tool_use', 'id': 'toolu_1', 'name': 'advise',
          'input': SCORES if scores is None else scores}]}
  out.update(kwargs)
  return out


def openai_message(scores=None, **kwargs):
  text = json.dumps(SCORES if scores is None else scores)
  out = {
      'id': 'x', 'object': 'chat.completion', 'created': 1, 'model': 'm',
      'usage': {'prompt_tokens': 70, 'completion_tokens': 7,
                'total_tokens': 77},
      'choices': [{
          'index': 0, 'finish_reason': 'stop',
          'message': {'role': 'assistant', 'content': text}}]}
  out.update(kwargs)
  return out


MESSAGES = {'anthropic': anthropic_message, 'openai': openai_message}


def reply(status=200, body=b'', headers=()):
  """Returns a fault that sends a whole answer."""
  def fault(handler, kind):
    data = body(kind) if callable(body) else body
    if not isinstance(data, (bytes, str)):
      data = json.dumps(data)
    data = data.encode() if isinstance(data, str) else data
    handler.send_response(status)
    for key, value in dict(headers).items():
      handler.send_header(key, value)
    if 'Content-Type' not in dict(headers):
      handler.send_header('Content-Type', 'application/json')
    handler.send_header('Content-Length', str(len(data)))
    handler.send_header('Connection', 'close')
    handler.end_headers()
    handler.wfile.write(data)
  return fault


def refusal(status, **headers):
  body = {'type': 'error', 'error': {'type': 'x', 'message': 'no sk-fake-12x'}}
  return reply(
      status, body, {k.replace('_', '-'): v for k, v in headers.items()})


def scored(scores):
  return reply(body=lambda kind: MESSAGES[kind](scores))


def changed(**kwargs):
  return reply(body=lambda kind: MESSAGES[kind](**kwargs))


def nothing(handler, kind):
  handler.connection.close()


def silence(handler, kind):
  time.sleep(3 * SHORT)


def half(handler, kind):
  data = json.dumps(MESSAGES[kind]()).encode()
  handler.send_response(200)
  handler.send_header('Content-Type', 'application/json')
  handler.send_header('Content-Length', str(len(data)))
  handler.end_headers()
  handler.wfile.write(data[:len(data) // 2])
  handler.wfile.flush()
  handler.connection.close()


def slowly(handler, kind):
  data = json.dumps(MESSAGES[kind]()).encode()
  handler.send_response(200)
  handler.send_header('Content-Type', 'application/json')
  handler.send_header('Content-Length', str(len(data)))
  handler.send_header('Connection', 'close')
  handler.end_headers()
  for i in range(0, len(data), 16):
    handler.wfile.write(data[i: i + 16])
    handler.wfile.flush()
    time.sleep(0.01)


def no_http(handler, kind):
  handler.wfile.write(b'\x00\xff' * 100)
  handler.wfile.flush()
  handler.connection.close()


def chunked(handler, kind):
  handler.send_response(200)
  handler.send_header('Transfer-Encoding', 'chunked')
  handler.end_headers()
  handler.wfile.write(b'zz\r\nnot hexadecimal')
  handler.wfile.flush()
  handler.connection.close()


# What is sent, and what is counted: '' for an answer that can be used.
FAULTS = {
    'good': (scored(SCORES), ''),
    '400': (refusal(400), 'every form'),
    '401': (refusal(401), 'rejected'),
    '403': (refusal(403), 'rejected'),
    '404': (refusal(404), 'rejected'),
    '408': (refusal(408), 'failed'),
    '409': (refusal(409), 'failed'),
    '413': (refusal(413), 'parse'),
    '422': (refusal(422), 'every form'),
    '429': (refusal(429), 'busy'),
    '429 with a hint': (refusal(429, retry_after='7'), 'busy'),
    '429 with a date': (
        refusal(429, retry_after='Wed, 21 Oct 2099 07:28:00 GMT'), 'busy'),
    '429 with nonsense': (refusal(429, retry_after='soon'), 'busy'),
    '429 with infinity': (refusal(429, retry_after='inf'), 'busy'),
    '500': (refusal(500), 'failed'),
    '502': (reply(502, '<html>Bad gateway</html>'), 'failed'),
    '503': (refusal(503), 'busy'),
    '504': (refusal(504), 'failed'),
    '529': (refusal(529), 'busy'),
    'redirect': (
        reply(302, headers={'Location': '/v1/messages'}), 'rejected'),
    'nothing': (nothing, 'failed'),
    'silence': (silence, 'failed'),
    'half a body': (half, 'failed'),
    'slowly': (slowly, ''),
    'no http': (no_http, 'failed'),
    'broken chunks': (chunked, 'failed'),
    'html': (
        reply(body='<html>Log in</html>', headers={
            'Content-Type': 'text/html'}), 'failed'),
    'empty': (reply(), 'failed'),
    'null': (reply(body='null'), 'failed'),
    'list': (reply(body='[1, 2]'), 'failed'),
    'truncated json': (reply(body='{"id": "msg_1", "cont'), 'failed'),
    'deep json': (reply(body='[' * 100_000), 'failed'),
    'no content': (changed(content=[], choices=[]), 'parse'),
    'wrong types': (
        scored({**SCORES, 'score_1': [90], 'score_2': {}}), 'parse'),
    'strings': (scored({**SCORES, 'score_1': 'high'}), 'parse'),
    'nan': (scored({**SCORES, 'score_1': math.nan}), 'parse'),
    'infinity': (scored({**SCORES, 'score_1': math.inf}), 'parse'),
    'negative': (scored({**SCORES, 'score_1': -5}), 'parse'),
    'too large': (scored({**SCORES, 'score_1': 101}), 'parse'),
    'too few': (scored({'score_1': 90}), 'parse'),
    'too many': (scored({**SCORES, 'score_4': 5}), ''),
    'unused keys': (scored({**SCORES, 'why': 'because'}), ''),
    'refusal in words': (scored('I would rather not.'), 'parse'),
    '10 MB': (scored({**SCORES, 'why': 'x' * 10 ** 7}), None),
    'no usage': (changed(usage=None), None),
    'absurd usage': (changed(usage={
        'input_tokens': -5, 'output_tokens': 1e300, 'prompt_tokens': 'many',
        'completion_tokens': None, 'total_tokens': []}), None),
    'duplicated keys': (
        reply(body=lambda kind: json.dumps(MESSAGES[kind]()).replace(
            'score_1', 'score_2')), 'parse'),
    'wrong tool': (
        reply(body=lambda kind: json.dumps(MESSAGES[kind]()).replace(
            'advise', 'delete_files').replace('score', 'core')), 'parse'),
}


class Handler(http.server.BaseHTTPRequestHandler):

  protocol_version = 'HTTP/1.1'

  def do_POST(self):
    self.rfile.read(int(self.headers.get('Content-Length', 0)))
    self.server.requests += 1
    kind = 'anthropic' if 'messages' in self.path else 'openai'
    self.close_connection = True
    try:
      self.server.fault(self, kind)
    except OSError:
      pass  # The client is gone, as it may.

  do_GET = do_POST

  def log_message(self, *args):
    pass


def start():
  """Starts the server. Its `fault` and `requests` are set by who uses it."""
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  server.daemon_threads = True
  server.handle_error = lambda *args: None
  server.fault, server.requests = FAULTS['good'][0], 0
  threading.Thread(
      target=server.serve_forever, args=(0.02,), daemon=True).start()
  return server


def url(server, kind):
  """Returns where an SDK finds the server."""
  return f'http://127.0.0.1:{server.server_address[1]}' + (
      '/v1' if kind == 'openai' else '')
