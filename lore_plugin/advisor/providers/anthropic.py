"""Claude through Anthropic's SDK, or any server that speaks its interface.

The model is made to call a tool whose arguments are one score from 0 to 100
for each candidate. Compatible servers may ignore that and let a small model
write what it likes: from the first such answer on, the scores are asked for as
text whose beginning is given.
"""

import json
import os
import time

from ... import errors
from .. import prompts
from .. import types
from . import common

MODEL = 'claude-haiku-4-5'
TOOL = 'advise'
BEGIN = '{"score_1":'


class Anthropic(types.Provider):
  """Asks for scores by a forced tool call.

  The SDK's time-outs and error classes are used, its own retries are not: a
  request that it repeats unseen would be paid twice under one reservation, and
  would go on after the step's time limit. What is repeated, how often and
  when, the `Asker` decides by the class of the error, and reserves each time.

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
    self.price = common.Prices(config)
    self.plain = False
    url = str(config.get('url', ''))
    if client is None:
      # The key is read by the SDK itself, so that we never hold it.
      if not os.environ.get('ANTHROPIC_API_KEY'):
        raise errors.MissingKey(
            'No API key for the advisor anthropic. Type `export'
            ' ANTHROPIC_API_KEY=...`, or choose --lore.advisor.provider local,'
            ' which needs none.')
      client = anthropic.Anthropic(
          timeout=float(config.get('timeout', 20.0)),
          max_retries=0,
          **({'base_url': url} if url else {}))
    self.client = client

  def ask(self, query):
    start = time.perf_counter()
    prompt = prompts.render(query)
    plain = self.plain
    try:
      message = self.client.messages.create(
          **request(self.model, prompt, plain))
      blocks = [x.model_dump(warnings=False) for x in message.content]
      usage = message.usage
      read = sum(common.whole(x) for x in (
          usage.input_tokens, usage.cache_read_input_tokens,
          usage.cache_creation_input_tokens))
      written = common.whole(usage.output_tokens)
    except Exception as e:
      raise common.translate(self.sdk, e) from e
    if plain:
      # Some servers repeat the given beginning, others don't.
      for block in blocks[:1]:
        if not str(block.get('text')).lstrip().startswith('{'):
          block['text'] = BEGIN + str(block.get('text'))
    raw = json.dumps(blocks, ensure_ascii=False)
    money = self.price(read, written)
    try:
      scores = self.parse(raw, len(prompt.candidates))
    except errors.ParseError as e:
      # A server that forces tools never answers without one.
      self.plain = not any(x.get('type') == 'tool_use' for x in blocks)
      e.tokens, e.money, e.raw = read + written, money, raw
      raise
    return types.Reply(
        scores, raw, read, written, money, time.perf_counter() - start)

  def estimate(self, query):
    args = request(self.model, prompts.render(query), self.plain)
    tokens = common.bound(args, args['max_tokens'])
    return tokens, self.price(
        tokens - args['max_tokens'], args['max_tokens'])

  def parse(self, raw, count):
    try:
      blocks = json.loads(raw)
    except (ValueError, RecursionError) as e:
      raise errors.ParseError(f'The answer is not JSON: {e}.') from e
    found = []
    for block in blocks if isinstance(blocks, list) else ():
      if not isinstance(block, dict):
        continue
      if block.get('type') == 'tool_use' and block.get('name') == TOOL:
        found.append(block.get('input'))
      elif block.get('type') == 'text':
        found += common.read_text(str(block.get('text')))
    scores = common.read_scores(found, count)
    if scores is None:
      raise errors.ParseError(
          f'Expected {count} scores from 0 to 100, but found {raw!r:.200}.')
    return scores

  def close(self):
    self.client.close()


def request(model, prompt, plain=False):
  """Returns the arguments of `messages.create`.

  Args:
    model: Name of the model.
    prompt: A `Prompt`.
    plain: Whether to ask for text instead of a tool call.
  """
  count = len(prompt.candidates)
  question = common.instruction(prompt)
  out = dict(
      model=model,
      max_tokens=50 + 20 * count,
      # The same for all queries, so the server may keep it.
      system=[{
          'type': 'text', 'text': common.system(prompt),
          'cache_control': {'type': 'ephemeral'}}])
  if plain:
    out['stop_sequences'] = ['}']
    out['messages'] = [
        {'role': 'user', 'content': question + common.form(count)},
        {'role': 'assistant', 'content': BEGIN}]
  else:
    out['messages'] = [{'role': 'user', 'content': question}]
    out['tools'] = [{
        'name': TOOL,
        'description': 'Reports how good each candidate is in this state.',
        'input_schema': common.schema(prompt.candidates)}]
    out['tool_choice'] = {'type': 'tool', 'name': TOOL}
  return out
