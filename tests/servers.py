"""A real HTTP server with the manners of many: what it refuses, how it errs.

A `Server` answers chat completions as a small model would that knows the right
word: the first candidate. Its attributes say what it does not take.
"""

import http.server
import json
import math
import re
import threading

RIGHT = 0.9  # Probability of the right word.


class Handler(http.server.BaseHTTPRequestHandler):

  protocol_version = 'HTTP/1.1'

  def do_POST(self):
    size = int(self.headers.get('Content-Length', 0))
    body = json.loads(self.rfile.read(size))
    server = self.server
    with server.lock:
      server.seen.append(body)
      server.keys.append(self.headers.get('Authorization', ''))
      number = len(server.seen)
    kind = 'messages' if self.path.endswith('/messages') else 'chat'
    status, answer = server.behave(body, number, kind)
    data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    self.send_response(status)
    self.send_header('Content-Type', 'application/json')
    self.send_header('Content-Length', str(len(data)))
    self.end_headers()
    self.wfile.write(data)

  def log_message(self, *args):
    pass


def start(behave):
  """Starts a server. `seen` has the bodies of the requests, in order.

  Args:
    behave: Function of a request's body, its number and 'chat' or 'messages'
      that returns a status and an answer.
  """
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
  server.daemon_threads = True
  server.handle_error = lambda *args: None
  server.behave, server.seen, server.keys = behave, [], []
  server.lock = threading.Lock()
  threading.Thread(
      target=server.serve_forever, args=(0.02,), daemon=True).start()
  server.url = f'http://127.0.0.1:{server.server_address[1]}'
  return server


def error(text, **fields):
  return {'error': {'message': text, 'type': 'x', **fields}}


def text_of(body):
  """Returns the question."""
  content = [x for x in body['messages'] if x['role'] == 'user'][-1]['content']
  return content if isinstance(content, str) else json.dumps(content)


def tag_of(body):
  found = re.search(r'"?tag"?: "(\w{4})"|Begin with "(\w{4}): "|'
                    r'"enum": \["(\w{4})"\]', json.dumps(body).replace(
                        '\\"', '"'))
  return next((x for x in found.groups() if x), '') if found else ''


def words_of(body):
  text = text_of(body)
  if 'nothing else: ' in text and 'Candidates:' not in text:
    return text.rsplit('nothing else: ', 1)[1].split('; ')
  return re.findall(r'^\d+\. (.*)$', text, re.M)


def scores_of(body):
  names = [f'score_{i + 1}' for i in range(len(words_of(body)))]
  return {
      **{x: 90 if x == 'score_1' else 10 for x in names},
      'tag': tag_of(body)}


def chat(text, tokens=None, usage=True, end='stop', **message):
  """Returns a chat completion."""
  out = {
      'id': 'x', 'object': 'chat.completion', 'created': 1, 'model': 'm',
      'choices': [{
          'index': 0, 'finish_reason': end,
          'message': {'role': 'assistant', 'content': text, **message}}]}
  if tokens:
    out['choices'][0]['logprobs'] = {'content': tokens}
  if usage:
    out['usage'] = {'prompt_tokens': 70, 'completion_tokens': 7}
  return out


def token(text, *others):
  """Returns a token with its alternatives: pairs of text and probability."""
  pairs = [
      {'token': x, 'logprob': math.log(p), 'bytes': None} for x, p in others]
  own = next(
      (x for x in pairs if x['token'] == text),
      {'token': text, 'logprob': 0.0, 'bytes': None})
  return {**own, 'top_logprobs': pairs}


def good(body, number=0, kind='chat'):
  """Answers whatever is asked as well as can be."""
  del number
  words = words_of(body)
  if kind == 'messages':
    block = {'type': 'text', 'text': json.dumps(scores_of(body))}
    if 'tools' in body:
      block = {'type': 'tool_use', 'id': 't', 'name': 'advise',
               'input': scores_of(body)}
    return 200, message([block])
  if 'nothing else: ' in text_of(body) and 'Candidates:' not in text_of(body):
    lead = f'{tag_of(body)}: '
    if not body.get('logprobs'):
      out = chat(lead + words[0])
      out['choices'] *= body.get('n', 1)
      return 200, out
    rest = (1 - RIGHT) / max(1, len(words) - 1)
    spread = [(x, RIGHT if i == 0 else rest) for i, x in enumerate(words)]
    return 200, chat(lead + words[0], [
        token(lead), token(words[0], *spread[:1 + body['top_logprobs']])])
  return 200, chat(json.dumps(scores_of(body)))


def message(blocks, end='tool_use', usage=True):
  """Returns a message of Anthropic's interface."""
  return {
      'id': 'msg_1', 'type': 'message', 'role': 'assistant', 'model': 'm',
      'stop_reason': end, 'stop_sequence': None, 'content': blocks,
      'usage': {'input_tokens': 70, 'output_tokens': 7} if usage else None}
