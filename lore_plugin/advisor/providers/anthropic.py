"""Claude through Anthropic's SDK, or any server that speaks its interface.

The model is made to call a tool whose arguments are one score from 0 to 100
for each candidate. Compatible servers may ignore that and let a small model
write what it likes: from the first such answer on, the scores are asked for as
text whose beginning is given.
"""

import json
import math
import os
import re
import time

from ... import errors
from .. import prompts
from .. import types

MODEL = 'claude-haiku-4-5'
TOOL = 'advise'
BEGIN = '{"score_1":'


class Anthropic(types.Provider):
  """Asks for scores by a forced tool call.

  Args:
    config: Mapping with `model`, `timeout`, `url` and `price`.
    seed: Not used.
    client: An `anthropic.Anthropic`; None makes one from the environment.

  Raises:
    MissingKey: No ANTHROPIC_API_KEY in the environment.
    AdvisorError: The SDK is not installed.
  """

  name = 'anthropic'
  paid = True
  calibrate = True

  def __init__(self, config, seed=0, *, client=None):
    del seed
    try:
      import anthropic
    except ImportError as e:
      raise errors.AdvisorError(
          f'The advisor anthropic needs its SDK ({e}). Type `pip install'
          ' anthropic`, or choose --lore.advisor.provider local.') from e
    self.sdk = anthropic
    self.model = str(config.get('model', '')) or MODEL
    self.timeout = float(config.get('timeout', 20.0))
    self.price = dict(config.get('price', {}))
    url = str(config.get('url', ''))
    if client is None:
      # The key is read by the SDK itself, so that we never hold it.
      if not os.environ.get('ANTHROPIC_API_KEY'):
        raise errors.MissingKey(
            'No API key for the advisor anthropic. Type `export'
            ' ANTHROPIC_API_KEY=...`, or choose --lore.advisor.provider local,'
            ' which needs none.')
      client = anthropic.Anthropic(
          timeout=self.timeout,
          # The ledger counts every request, so repeating is left to it.
          max_retries=0,
          **({'base_url': url} if url else {}))
    self.client = client
    self.plain = False

  def ask(self, query):
    start = time.perf_counter()
    prompt = prompts.render(query)
    try:
      message = self.client.messages.create(
          **request(self.model, prompt, self.plain))
    except Exception as e:
      raise translate(self.sdk, e) from e
    usage = message.usage
    read = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (
        usage.cache_creation_input_tokens or 0)
    blocks = [x.model_dump() for x in message.content]
    if self.plain:
      # Some servers repeat the given beginning, others don't.
      for block in blocks[:1]:
        if not str(block.get('text')).lstrip().startswith('{'):
          block['text'] = BEGIN + str(block.get('text'))
    raw = json.dumps(blocks, ensure_ascii=False)
    try:
      scores = parse(raw, len(prompt.candidates))
    except errors.ParseError as e:
      # A server that forces tools never answers without one.
      self.plain = not any(x.get('type') == 'tool_use' for x in blocks)
      e.tokens = read + usage.output_tokens
      e.money = self.cost(read, usage.output_tokens)
      e.raw = raw
      raise
    return types.Reply(
        scores, raw, read, usage.output_tokens,
        self.cost(read, usage.output_tokens), time.perf_counter() - start)

  def cost(self, read, written):
    """Returns the price of tokens in US dollars; cached ones at full price."""
    return 1e-6 * (
        read * float(self.price.get('input', 0.0)) +
        written * float(self.price.get('output', 0.0)))

  def estimate(self, query):
    args = request(self.model, prompts.render(query), self.plain)
    # No tokenizer makes more tokens of a text than it has bytes; the rest is
    # for what the server puts around the text and the tool.
    read = len(json.dumps(args).encode()) + 1000
    return read + args['max_tokens'], self.cost(read, args['max_tokens'])

  def parse(self, raw, count):
    return parse(raw, count)

  def close(self):
    self.client.close()


def request(model, prompt, plain=False):
  """Returns the arguments of `messages.create`.

  Args:
    model: Name of the model.
    prompt: A `Prompt`.
    plain: Whether to ask for text instead of a tool call.
  """
  names = [f'score_{i + 1}' for i in range(len(prompt.candidates))]
  listed = '\n'.join(
      f'{i + 1}. {word}' for i, word in enumerate(prompt.candidates))
  question = (
      f'{prompt.mission}{prompt.question}\n\nCandidates:\n{listed}\n\nScore'
      ' each candidate from 0 (useless now) to 100 (best now).')
  out = dict(
      model=model,
      max_tokens=50 + 20 * len(names),
      system=[{
          'type': 'text',
          'text': f'{prompt.system.strip()}\n\nExamples:\n\n{prompt.prefix}',
          'cache_control': {'type': 'ephemeral'}}])
  if plain:
    form = json.dumps(dict.fromkeys(names, 0))
    out['stop_sequences'] = ['}']
    out['messages'] = [
        {'role': 'user', 'content': (
            f'{question} Answer with one JSON object and nothing else, in this'
            f' form: {form}')},
        {'role': 'assistant', 'content': BEGIN}]
    return out
  out['messages'] = [{'role': 'user', 'content': question}]
  out['tools'] = [{
      'name': TOOL,
      'description': 'Reports how good each candidate is in this state.',
      'input_schema': {
          'type': 'object',
          'properties': {
              name: {
                  'type': 'integer', 'minimum': 0, 'maximum': 100,
                  'description': word}
              for name, word in zip(names, prompt.candidates)},
          'required': names}}]
  out['tool_choice'] = {'type': 'tool', 'name': TOOL}
  return out


def parse(raw, count):
  """Reads the scores out of a stored answer.

  Args:
    raw: The content blocks of the message, as JSON.
    count: Number of candidates K.

  Returns:
    Log-probabilities in proportion to the scores. K floats.

  Raises:
    ParseError: There are no K scores from 0 to 100.
  """
  try:
    blocks = json.loads(raw)
  except ValueError as e:
    raise errors.ParseError(f'The answer is not JSON: {e}.') from e
  found = []
  for block in blocks if isinstance(blocks, list) else ():
    if not isinstance(block, dict):
      continue
    if block.get('type') == 'tool_use' and block.get('name') == TOOL:
      found.append(block.get('input'))
    elif block.get('type') == 'text':
      text = str(block.get('text'))
      found += [*objects(text), loose(text)]
  for values in found:
    # Some servers wrap the arguments, or send them as a string.
    if isinstance(values, str):
      values = next(iter(objects(values)), None)
    if isinstance(values, dict):
      values = values.get('arguments', values.get('parameters', values))
    if isinstance(values, dict):
      values = [values.get(f'score_{i + 1}') for i in range(count)]
      if all(usable(x) for x in values):
        return to_scores(values)
  raise errors.ParseError(
      f'Expected {count} scores from 0 to 100, but found {raw!r:.200}.')


def objects(text):
  """Yields the JSON objects in a text, in order."""
  decoder = json.JSONDecoder()
  at = 0
  while (at := text.find('{', at)) >= 0:
    try:
      value, end = decoder.raw_decode(text, at)
    except (ValueError, RecursionError):
      at += 1
      continue
    yield value
    at = end


def loose(text):
  """Returns the first value of each 'score_1': 30 in a text, complete or not.
  """
  out = {}
  for name, value in re.findall(
      r'\b(score_\d{1,3})\W{1,5}(\d{1,3}(?:\.\d+)?)(?![\d.])', text):
    out.setdefault(name, float(value))
  return out


def usable(value):
  """Returns whether a value is a score from 0 to 100."""
  return (
      isinstance(value, (int, float)) and not isinstance(value, bool) and
      math.isfinite(value) and 0 <= value <= 100)


def to_scores(values):
  """Turns scores from 0 to 100 into log-probabilities.

  One is added, so that a zero is small and not impossible.
  """
  total = sum(values) + len(values)
  return tuple(math.log((x + 1) / total) for x in values)


def translate(sdk, error):
  """Returns the error of ours that says what an error of the SDK means."""
  if isinstance(error, sdk.APIStatusError):
    status = error.status_code
    message = f'HTTP {status}: {hide(str(error.message))}'
    if status in (408, 409, 429, 500, 502, 503, 504, 529):
      return errors.BusyCall(message, hint(error.response.headers))
    if 400 <= status < 500:
      return errors.RejectedCall(message)
    return errors.FailedCall(message)
  return errors.FailedCall(f'{type(error).__name__}: {hide(str(error))}')


def hint(headers):
  """Returns the seconds that a server asks us to wait, or None."""
  try:
    value = float(headers.get('retry-after', ''))
  except ValueError:
    return None
  return value if math.isfinite(value) and value >= 0 else None


def hide(text):
  """Returns the beginning of a message without anything like a key."""
  key = os.environ.get('ANTHROPIC_API_KEY')
  if key:
    text = text.replace(key, '***')
  return re.sub(r'sk-[\w-]{8,}', '***', text)[:300]
