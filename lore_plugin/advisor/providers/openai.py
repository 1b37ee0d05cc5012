"""Any server that speaks OpenAI's interface: vLLM, llama.cpp, Ollama, ...

Candidate probabilities come from the best that the server gives:

  logprobs  the model answers in the candidates' words; the log-probabilities
            of its tokens and of their alternatives tell about all of them
  stated    the model states a score from 0 to 100 for each, by a JSON schema,
            as a JSON object, or as text
  samples   the model answers several times, and the answers are counted

What a server refuses, and what comes back unreadable, leads one step down; see
`manners`.
"""

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ... import errors
from ... import secrets
from .. import pictures
from .. import prompts
from . import costs
from . import forms
from . import hosted
from . import http
from . import manners
from . import words as wordslib

MODEL = 'gpt-4.1-mini'
LENGTH = 20  # Tokens of an answer in words, with its tag.
SAMPLES = 8
# Models of OpenAI's that read no pictures.
BLIND = re.compile(r'(gpt-3|gpt-4(-0|-32k|$)|o1-mini|o1-preview|o3-mini)')

# How an answer is wanted: the method, and its number of alternatives to a
# token, its shape, or its number of answers.
RUNGS: tuple[tuple[str, Any], ...] = (
    ('logprobs', 20), ('logprobs', 5), ('stated', 'json_schema'),
    ('stated', 'json_object'), ('stated', 'text'), ('samples', SAMPLES),
    ('samples', 1))
METHODS = ('logprobs', 'stated', 'samples')

# What is done about a model that reasons and never comes to an answer.
THINKS: tuple[dict, ...] = (
    {},
    # vLLM, SGLang and llama.cpp read the first, Ollama the second.
    {'extra_body': {
        'chat_template_kwargs': {'enable_thinking': False},
        'reasoning_effort': 'none'}},
    {'extra_body': {'reasoning_effort': 'minimal'}},
    {'extra_body': {'reasoning_effort': 'low'}},
    {})

# What reading an answer of another shape may raise.
MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError)


def advise(text: str, form: manners.Form) -> manners.Form | None:
  """Returns the form that a refusal asks for, or None if it names none."""
  method, kind = RUNGS[form.rung]
  change = lambda **kwargs: dataclasses.replace(form, **kwargs)
  if form.think and re.search(
      r'reasoning|thinking|chat_template|effort', text, re.I):
    return change(think=form.think + 1) if form.think < 4 else None
  if re.search(r'max_(completion_)?tokens', text, re.I):
    return change(limit={
        'max_tokens': 'max_completion_tokens',
        'max_completion_tokens': 'max_tokens'}[form.limit])
  if form.system and re.search(
      r'system (role|message|prompt|instruction)|role.{0,20}system|'
      r'developer instruction|roles must', text, re.I):
    return change(system=False)
  if form.cool and re.search(r'temperature', text, re.I):
    return change(cool=False)
  if method == 'logprobs' and re.search(r'log.?prob', text, re.I):
    return change(rung=form.rung + 1)
  if kind in ('json_schema', 'json_object') and re.search(
      r'response_format|json|schema|grammar|structured|guided', text, re.I):
    return change(rung=form.rung + 1)
  if kind == SAMPLES and re.search(
      r"\bn\b|samples|multiple|choices|completions", text, re.I):
    return change(rung=form.rung + 1)
  return None


LADDER = manners.Ladder(
    rungs=len(RUNGS), plain=4, after=(2, 2, 3, 4, 5, 7, 7),
    thinks=len(THINKS), room=3, hint=advise, bases=tuple(
        dict(limit=x, system=y) for y in (True, False)
        for x in ('max_tokens', 'max_completion_tokens')))


class OpenAI(hosted.Hosted):
  """Asks a compatible server.

  Args:
    config: Mapping with `model`, `timeout`, `url` and `price`. `url`, or
      OPENAI_BASE_URL in the environment, leads to another server than
      OpenAI's; such a server may need no key.
    seed: Not used.
    client: An `openai.OpenAI`; None makes one from the environment.

  Raises:
    MissingKey: No OPENAI_API_KEY in the environment, and no other server; or
      a key that can't be sent.
    ConfigError: An address, a proxy or certificates that can't be used.
    AdvisorError: The SDK is not installed.
  """

  name = 'openai'
  ladder = LADDER
  blind = BLIND

  def __init__(
      self, config: Mapping[str, Any], seed: int = 0, *, client: Any = None):
    del seed
    super().__init__(config, hosted.load('openai'), MODEL, client)

  def connect(self, config: Mapping[str, Any]) -> Any:
    url = http.check_url(
        str(config.get('url', '')), 'lore.advisor.url') or http.check_url(
            os.environ.get('OPENAI_BASE_URL', ''), 'OPENAI_BASE_URL')
    http.check_keys('OPENAI_API_KEY', 'OPENAI_ORG_ID', 'OPENAI_PROJECT_ID')
    key = os.environ.get('OPENAI_API_KEY')
    if not key and not url:
      raise errors.MissingKey(
          'No API key for the advisor openai. Type `export'
          ' OPENAI_API_KEY=...`, or --lore.advisor.url http://... for a'
          ' server that needs none.')
    return self.sdk.OpenAI(
        http_client=self.transport.client(), timeout=self.transport.timeout,
        max_retries=0, **({'base_url': url} if url else {}),
        **({} if key else {'api_key': 'none'}))

  def send(self, prompt: prompts.Prompt, form: manners.Form) -> dict:
    return slim(self.client.chat.completions.create(
        **request(self.model, prompt, form)))

  def keep(
      self, prompt: prompts.Prompt, form: manners.Form, answer: dict) -> dict:
    return {
        'method': RUNGS[form.rung][0], 'tag': forms.tag(prompt),
        'candidates': prompt.candidates, **answer}

  def tagged(self, answer: dict, tag: str) -> bool:
    return all(tag in x['text'].lower() for x in answer['choices'])

  def satisfied(self, form: manners.Form, raw: str) -> None:
    if RUNGS[form.rung][0] == 'logprobs' and not weigh(json.loads(raw)):
      # The words served, but there are no probabilities to be had.
      self.manners.unreadable(form, sure=True)
    else:
      self.manners.read(form)

  def learn(
      self, form: manners.Form, answer: dict,
      error: errors.ParseError) -> errors.ParseError:
    choices = answer['choices']
    first = choices[0] if choices else {}
    text, end = first.get('text', ''), first.get('end')
    if isinstance(error, errors.MixedUp):
      self.manners.mixed_up()
      return error
    if (end == 'length' and not text.strip()) or first.get('thoughts') and (
        end == 'length' or not text.strip()) or (
            '<think' in text and '</think' not in text):
      more = self.manners.thought(form)
      if not more:
        self.manners.unreadable(form, sure=True)
      return errors.ParseError(
          f'The model used its {limit(form, 2)} tokens for reasoning and gave'
          f' no answer (finish_reason {end!r}). ' + (
              'From now on it is asked for less of it.' if more else
              'Choose a model that answers without, by'
              ' --lore.advisor.model.'))
    whole = bool(text.strip()) and end not in ('length', 'content_filter')
    self.manners.unreadable(form, sure=whole and not first.get('refusal'))
    return error

  def bound(
      self, prompt: prompts.Prompt, form: manners.Form) -> tuple[int, int]:
    args = request(self.model, dataclasses.replace(prompt, picture=''), form)
    written = args[form.limit] * args.get('n', 1)
    return costs.bound(args, written, bool(prompt.picture)), written

  def parse(self, raw: str, count: int) -> tuple[float, ...]:
    try:
      data = json.loads(raw)
      words, choices = data['candidates'], data['choices']
      tag = data.get('tag', '')
      texts = [forms.thoughtless(str(x['text'])) for x in choices]
      for text in texts:
        forms.check_tag(text, tag)
        wordslib.check_tag(text, tag)
      # Some models state scores, whatever they are asked for.
      scores = weigh(data) or forms.read_scores(
          [y for x in texts for y in forms.read_text(x)], count)
      if scores is None and data['method'] != 'stated':
        scores = wordslib.tally(words, texts, tag)
    except MALFORMED as e:
      raise errors.ParseError(f'The answer is not in order: {e!r}.') from e
    if scores is None or len(scores) != count:
      raise errors.ParseError(
          f'Found no scores of {count} candidates in {raw!r:.200}.')
    return scores


def weigh(data: dict) -> tuple[float, ...] | None:
  """Returns the scores that an answer's tokens tell, or None."""
  if data['method'] != 'logprobs':
    return None
  first = data['choices'][0]
  return wordslib.weigh(
      data['candidates'], first.get('tokens'), data.get('tag', ''),
      str(first.get('text')))


def limit(form: manners.Form, count: int) -> int:
  """Returns the most tokens of an answer about so many candidates."""
  stated = RUNGS[form.rung][0] == 'stated'
  room = hosted.ROOM if form.think >= LADDER.room else 0
  return (70 + 20 * count if stated else LENGTH) + room


def request(
    model: str, prompt: prompts.Prompt,
    form: manners.Form = manners.Form()) -> dict[str, Any]:
  """Returns the arguments of `chat.completions.create`.

  Args:
    model: Name of the model.
    prompt: A `Prompt`.
    form: How to ask.
  """
  method, kind = RUNGS[form.rung]
  count = len(prompt.candidates)
  out = dict(model=model, **THINKS[form.think])
  out[form.limit] = limit(form, count)
  if method == 'stated':
    content = forms.instruction(prompt) + forms.form(prompt)
    if kind == 'json_schema':
      out['response_format'] = {'type': kind, 'json_schema': {
          'name': 'advice', 'strict': True, 'schema': forms.schema(prompt)}}
    elif kind == 'json_object':
      out['response_format'] = {'type': kind}
  else:
    content = (
        f'{prompt.mission}{prompt.question}\n\nBegin with'
        f' "{forms.tag(prompt)}: ". Then answer with one of these and nothing'
        f' else: {"; ".join(prompt.candidates)}')
    if method == 'logprobs':
      out.update(logprobs=True, top_logprobs=kind)
    elif kind > 1:
      # Where each call reasons at length, one has to do.
      out['n'] = 1 if form.think else kind
    if form.cool:
      out['temperature'] = 0.0 if method == 'logprobs' else 1.0
  told = forms.system(prompt)
  out['messages'] = [
      {'role': 'system', 'content': told},
      {'role': 'user', 'content': content}] if form.system else [
          {'role': 'user', 'content': f'{told}\n\n{content}'}]
  if prompt.picture:
    last = out['messages'][-1]
    url = pictures.PREFIX + prompt.picture
    last['content'] = [
        {'type': 'image_url', 'image_url': {'url': url}},
        {'type': 'text', 'text': last['content']}]
  return out


def slim(answer: Any) -> dict:
  """Returns what of an answer is kept, and what it says of its cost.

  Servers differ in what they leave out, and in its types.

  Returns:
    A dict with `read` and `written`, as they came, and `choices`: dicts with
    `text`, `end` (finish_reason), `thoughts` and `refusal` (whether there were
    any), and `tokens`: see `words.weigh`.

  Raises:
    FailedCall: An error in the place of an answer.
  """
  trouble = getattr(answer, 'error', None)
  if trouble:
    text = secrets.mask(str(trouble))[:300]
    raise errors.FailedCall(f'The server answers with an error: {text}')
  usage = answer.usage
  return {
      'choices': [
          slim_choice(x.model_dump(warnings=False)) for x in answer.choices],
      'read': [getattr(usage, 'prompt_tokens', None)],
      'written': [getattr(usage, 'completion_tokens', None)]}


def slim_choice(choice: dict) -> dict:
  message = choice.get('message') or {}
  content = (choice.get('logprobs') or {}).get('content')
  tokens = content and [
      (x['token'], [(y['token'], y['logprob']) for y in
                    [x, *(x.get('top_logprobs') or ())]])
      for x in content]
  text = message.get('content') or ''
  return {
      'text': text if isinstance(text, str) else json.dumps(text),
      'tokens': tokens or None,
      'end': choice.get('finish_reason'),
      'thoughts': bool(
          message.get('reasoning_content') or message.get('reasoning')),
      'refusal': bool(message.get('refusal'))}
