"""Claude through Anthropic's SDK, or any server that speaks its interface.

The model is made to call a tool whose arguments are one score from 0 to 100
for each candidate. Where a model can't be forced to, it is offered the tool;
compatible servers may ignore both and let a small model write what it likes,
and are asked for text, whose beginning is given where they take that.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ... import errors
from .. import prompts
from . import costs
from . import forms
from . import hosted
from . import http
from . import manners

MODEL = 'claude-haiku-4-5'
TOOL = 'advise'
BEGIN = '{"score_1":'
# Models of before they had eyes.
BLIND = re.compile(r'claude-(1|2|instant)')

RUNGS = ('forced', 'offered', 'begun', 'text')

# What is done about a model that reasons and never comes to an answer.
THINKS: tuple[dict, ...] = ({}, {'thinking': {'type': 'disabled'}}, {})


def advise(text: str, form: manners.Form) -> manners.Form | None:
  """Returns the form that a refusal asks for, or None if it names none."""
  change = lambda **kwargs: dataclasses.replace(form, **kwargs)
  if form.think == 1 and re.search(r'thinking', text, re.I):
    return change(think=2)
  if RUNGS[form.rung] == 'forced' and re.search(
      r'tool.?choice|forc', text, re.I):
    return change(rung=1)
  if form.rung < 2 and re.search(r'\btools?\b', text, re.I):
    return change(rung=2)
  if form.system and re.search(r'cache_control|\bsystem\b', text, re.I):
    return change(system=False)
  if RUNGS[form.rung] == 'begun' and re.search(
      r'prefill|assistant|final message|last message|must end', text, re.I):
    return change(rung=3)
  return None


LADDER = manners.Ladder(
    rungs=len(RUNGS), plain=3, after=(2, 2, 3, 4), thinks=len(THINKS), room=2,
    hint=advise, bases=({}, {'system': False}))


class Anthropic(hosted.Hosted):
  """Asks for scores by a forced tool call.

  Args:
    config: Mapping with `model`, `timeout`, `url` and `price`.
    seed: Not used.
    client: An `anthropic.Anthropic`; None makes one from the environment.

  Raises:
    MissingKey: No ANTHROPIC_API_KEY in the environment, or one that can't be
      sent.
    ConfigError: An address, a proxy or certificates that can't be used.
    AdvisorError: The SDK is not installed.
  """

  name = 'anthropic'
  ladder = LADDER
  blind = BLIND

  def __init__(
      self, config: Mapping[str, Any], seed: int = 0, *, client: Any = None):
    del seed
    super().__init__(config, hosted.load('anthropic'), MODEL, client)

  def connect(self, config: Mapping[str, Any]) -> Any:
    url = http.check_url(str(config.get('url', '')), 'lore.advisor.url')
    http.check_url(
        os.environ.get('ANTHROPIC_BASE_URL', ''), 'ANTHROPIC_BASE_URL')
    # The key is read by the SDK itself, so that we never hold it.
    http.check_keys('ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN')
    if not os.environ.get('ANTHROPIC_API_KEY'):
      raise errors.MissingKey(
          'No API key for the advisor anthropic. Type `export'
          ' ANTHROPIC_API_KEY=...`, or choose --lore.advisor.provider local,'
          ' which needs none.')
    return self.sdk.Anthropic(
        http_client=self.transport.client(), timeout=self.transport.timeout,
        max_retries=0, **({'base_url': url} if url else {}))

  def send(self, prompt: prompts.Prompt, form: manners.Form) -> dict:
    answer = slim(self.client.messages.create(
        **request(self.model, prompt, form)))
    if RUNGS[form.rung] == 'begun':
      # Some servers repeat the given beginning, others don't.
      for block in answer['blocks'][:1]:
        if not str(block.get('text')).lstrip().startswith('{'):
          block['text'] = BEGIN + str(block.get('text'))
    return answer

  def keep(
      self, prompt: prompts.Prompt, form: manners.Form, answer: dict) -> dict:
    return {'tag': forms.tag(prompt), **answer}

  def tagged(self, answer: dict, tag: str) -> bool:
    return tag in json.dumps(answer['blocks']).lower()

  def learn(
      self, form: manners.Form, answer: dict,
      error: errors.ParseError) -> errors.ParseError:
    blocks, end = answer['blocks'], answer['end']
    kinds = {x.get('type') for x in blocks}
    if isinstance(error, errors.MixedUp):
      self.manners.mixed_up()
      return error
    if end == 'max_tokens' and not kinds - {'thinking', 'redacted_thinking'}:
      more = self.manners.thought(form)
      return errors.ParseError(
          'The model used all its tokens for reasoning, and gave no answer.'
          ' ' + ('From now on it is asked for less of it.' if more else
                 'Choose a model that answers without, by'
                 ' --lore.advisor.model.'))
    # A refusal or a cut answer tells about this state. Words where a tool was
    # asked for tell that the server doesn't force any.
    self.manners.unreadable(
        form, sure='tool_use' not in kinds and 'text' in kinds and
        end in ('end_turn', 'stop_sequence', None))
    return error

  def bound(
      self, prompt: prompts.Prompt, form: manners.Form) -> tuple[int, int]:
    args = request(self.model, dataclasses.replace(prompt, picture=''), form)
    written = args['max_tokens']
    return costs.bound(args, written, bool(prompt.picture)), written

  def parse(self, raw: str, count: int) -> tuple[float, ...]:
    try:
      data = json.loads(raw)
    except (ValueError, RecursionError) as e:
      raise errors.ParseError(f'The answer is not JSON: {e}.') from e
    # Before tags, the blocks alone were kept.
    blocks = data.get('blocks') if isinstance(data, dict) else data
    tag = data.get('tag', '') if isinstance(data, dict) else ''
    found = []
    for block in blocks if isinstance(blocks, list) else ():
      if not isinstance(block, dict):
        continue
      if block.get('type') == 'tool_use' and block.get('name') == TOOL:
        forms.check_tag(json.dumps(block.get('input')), tag)
        found.append(block.get('input'))
      elif block.get('type') == 'text':
        text = forms.thoughtless(str(block.get('text')))
        forms.check_tag(text, tag)
        found += forms.read_text(text)
    scores = forms.read_scores(found, count)
    if scores is None:
      raise errors.ParseError(
          f'Expected {count} scores from 0 to 100, but found {raw!r:.200}.')
    return scores


def request(
    model: str, prompt: prompts.Prompt,
    form: manners.Form = manners.Form()) -> dict[str, Any]:
  """Returns the arguments of `messages.create`.

  Args:
    model: Name of the model.
    prompt: A `Prompt`.
    form: How to ask.
  """
  kind = RUNGS[form.rung]
  question = forms.instruction(prompt)
  if not form.system:
    question = f'{forms.system(prompt)}\n\n{question}'
  out = dict(
      model=model,
      max_tokens=70 + 20 * len(prompt.candidates) + (
          hosted.ROOM if form.think >= LADDER.room else 0),
      **THINKS[form.think])
  if form.system:
    # The same for all queries, so the server may keep it.
    out['system'] = [{
        'type': 'text', 'text': forms.system(prompt),
        'cache_control': {'type': 'ephemeral'}}]
  if kind in ('forced', 'offered'):
    out['messages'] = [{'role': 'user', 'content': question}]
    out['tools'] = [{
        'name': TOOL,
        'description': 'Reports how good each candidate is in this state.',
        'input_schema': forms.schema(prompt)}]
    if kind == 'forced':
      out['tool_choice'] = {'type': 'tool', 'name': TOOL}
    else:
      out['tool_choice'] = {'type': 'auto'}
      out['messages'][0]['content'] += f' Call the tool {TOOL}.'
    return show(out, prompt)
  out['messages'] = [
      {'role': 'user', 'content': question + forms.form(prompt)}]
  if kind == 'begun':
    out['stop_sequences'] = ['}']
    out['messages'].append({'role': 'assistant', 'content': BEGIN})
  return show(out, prompt)


def show(out: dict, prompt: prompts.Prompt) -> dict:
  """Puts the question's picture, if it has one, before its words."""
  if prompt.picture:
    first = out['messages'][0]
    first['content'] = [
        {'type': 'image', 'source': {
            'type': 'base64', 'media_type': 'image/png',
            'data': prompt.picture}},
        {'type': 'text', 'text': first['content']}]
  return out


def slim(message: Any) -> dict:
  """Returns what of an answer is kept, and what it says of its cost."""
  usage = message.usage
  return {
      'blocks': [x.model_dump(warnings=False) for x in message.content],
      'end': message.stop_reason,
      'read': [getattr(usage, x, None) for x in (
          'input_tokens', 'cache_read_input_tokens',
          'cache_creation_input_tokens')],
      'written': [getattr(usage, 'output_tokens', None)]}
