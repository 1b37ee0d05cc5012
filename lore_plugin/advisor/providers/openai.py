"""Any server that speaks OpenAI's interface: vLLM, llama.cpp, Ollama, ...

Candidate probabilities come from the best that the server gives, and the next
best from the first answer on that lacks it:

  logprobs  the model answers in the candidates' words; the log-probabilities
            of its tokens and of their alternatives tell about all of them
  stated    the model states a score from 0 to 100 for each, by a JSON schema
  samples   the model answers several times, and the answers are counted
"""

import json
import math
import os
import time

from ... import errors
from .. import prompts
from .. import types
from . import common

MODEL = 'gpt-4.1-mini'
METHODS = ('logprobs', 'stated', 'samples')
TOP = 20  # The most alternatives to a token that servers tell.
LENGTH = 12  # Tokens of an answer in words.
SAMPLES = 8

# What reading an answer of another shape may raise.
MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, ArithmeticError,
    RecursionError)


class OpenAI(types.Provider):
  """Asks a compatible server.

  The SDK's time-outs and error classes are used, its own retries are not: a
  request that it repeats unseen would be paid twice under one reservation, and
  would go on after the step's time limit. What is repeated, how often and
  when, the `Asker` decides by the class of the error, and reserves each time.

  Args:
    config: Mapping with `model`, `timeout`, `url` and `price`. `url`, or
      OPENAI_BASE_URL in the environment, leads to another server than
      OpenAI's; such a server may need no key.
    seed: Not used.
    client: An `openai.OpenAI`; None makes one from the environment.

  Raises:
    MissingKey: No OPENAI_API_KEY in the environment, and no other server.
    AdvisorError: The SDK is not installed.
  """

  name = 'openai'
  paid = True
  calibrate = True

  def __init__(self, config, seed=0, *, client=None):
    del seed
    try:
      import openai
    except ImportError as e:
      raise errors.AdvisorError(
          f'The advisor openai needs its SDK ({e}). Type `pip install openai`,'
          ' or choose --lore.advisor.provider local.') from e
    self.sdk = openai
    self.model = str(config.get('model', '')) or MODEL
    self.price = common.Prices(config)
    self.method = METHODS[0]
    self.samples = SAMPLES
    url = str(config.get('url', '')) or os.environ.get('OPENAI_BASE_URL', '')
    if client is None:
      key = os.environ.get('OPENAI_API_KEY')
      if not key and not url:
        raise errors.MissingKey(
            'No API key for the advisor openai. Type `export'
            ' OPENAI_API_KEY=...`, or --lore.advisor.url http://... for a'
            ' server that needs none.')
      client = openai.OpenAI(
          timeout=float(config.get('timeout', 20.0)),
          max_retries=0,
          **({'base_url': url} if url else {}),
          **({} if key else {'api_key': 'none'}))
    self.client = client

  def ask(self, query):
    start = time.perf_counter()
    prompt = prompts.render(query)
    method, samples = self.method, self.samples
    try:
      answer = self.client.chat.completions.create(
          **request(self.model, prompt, method, samples))
      # Servers differ in what they leave out, and in its types.
      choices = [slim(x.model_dump(warnings=False)) for x in answer.choices]
      raw = json.dumps({
          'method': method, 'candidates': prompt.candidates,
          'choices': choices}, ensure_ascii=False)
      usage = answer.usage
      read = common.whole(getattr(usage, 'prompt_tokens', 0))
      written = common.whole(getattr(usage, 'completion_tokens', 0))
    except Exception as e:
      error = common.translate(self.sdk, e)
      if method == 'samples' and samples > 1 and isinstance(
          error, errors.RejectedCall) and "'n'" in str(error):
        # The server gives one answer a request, so one has to do.
        self.samples = 1
        error = errors.ParseError(str(error))
        error.paid = False
      raise error from e
    money = self.price(read, written)
    try:
      scores = self.parse(raw, len(prompt.candidates))
    except errors.ParseError as e:
      # Several threads may find out at once; one step down is enough.
      if self.method == method:
        self.method = METHODS[min(METHODS.index(method) + 1, 2)]
      e.tokens, e.money, e.raw = read + written, money, raw
      raise
    return types.Reply(
        scores, raw, read, written, money, time.perf_counter() - start)

  def estimate(self, query):
    args = request(
        self.model, prompts.render(query), self.method, self.samples)
    written = args['max_tokens'] * args.get('n', 1)
    tokens = common.bound(args, written)
    return tokens, self.price(tokens - written, written)

  def parse(self, raw, count):
    try:
      data = json.loads(raw)
      words, choices = data['candidates'], data['choices']
      texts = [str(x['text']) for x in choices]
      if data['method'] == 'logprobs':
        scores = weigh(words, choices[0]['tokens'])
      elif data['method'] == 'stated':
        scores = common.read_scores(
            [y for x in texts for y in common.read_text(x)], count)
      else:
        scores = tally(words, texts)
    except MALFORMED as e:
      raise errors.ParseError(f'The answer is not in order: {e!r}.') from e
    if scores is None or len(scores) != count:
      raise errors.ParseError(
          f'Found no scores of {count} candidates in {raw!r:.200}.')
    return scores

  def close(self):
    self.client.close()


def request(model, prompt, method, samples=SAMPLES):
  """Returns the arguments of `chat.completions.create`.

  Args:
    model: Name of the model.
    prompt: A `Prompt`.
    method: One of `METHODS`.
    samples: Answers, for that method.
  """
  out = dict(model=model)
  if method == 'stated':
    count = len(prompt.candidates)
    content = common.instruction(prompt) + common.form(count)
    out['max_tokens'] = 50 + 20 * count
    out['response_format'] = {'type': 'json_schema', 'json_schema': {
        'name': 'advice', 'strict': True,
        'schema': common.schema(prompt.candidates)}}
  else:
    listed = '; '.join(prompt.candidates)
    content = (
        f'{prompt.mission}{prompt.question}\n\nAnswer with one of these and'
        f' nothing else: {listed}')
    out['max_tokens'] = LENGTH
    if method == 'logprobs':
      out.update(logprobs=True, top_logprobs=TOP, temperature=0.0)
    else:
      out.update(n=samples, temperature=1.0)
  out['messages'] = [
      {'role': 'system', 'content': common.system(prompt)},
      {'role': 'user', 'content': content}]
  return out


def slim(choice):
  """Returns what of an answer is kept: its text, and its tokens.

  Returns:
    A dict with `text`, and `tokens`: a list of (token, alternatives), where
    alternatives are pairs of token and log-probability; None without any.
  """
  message = choice.get('message') or {}
  content = (choice.get('logprobs') or {}).get('content')
  tokens = content and [
      (x['token'], [(y['token'], y['logprob']) for y in
                    [x, *(x.get('top_logprobs') or ())]])
      for x in content]
  return {'text': message.get('content') or '', 'tokens': tokens or None}


def weigh(words, tokens):
  """Returns the log-probability of each candidate from those of tokens.

  Follows the answer token by token. An alternative that could begin some of
  the candidates gives them its probability in equal shares; a candidate that
  nothing began gets a little less than the least likely alternative.

  Args:
    words: Candidates; K entries.
    tokens: See `slim`.

  Returns:
    K finite floats; None if nothing began a candidate.
  """
  words = [plain(x) for x in words]
  mass = [0.0] * len(words)
  floor = 0.0
  begun, before, fits = '', 0.0, range(len(words))

  def give(text, logprob):
    for i in fitting(words, text):
      mass[i] += math.exp(logprob) / len(fitting(words, text))

  for token, alternatives in tokens or ():
    known = {
        text: max(logprob, -100.0) for text, logprob in alternatives
        if isinstance(text, str) and isinstance(logprob, (int, float)) and
        logprob < 1e-3}
    if token not in known:
      break
    floor = min(floor, before + min(known.values()))
    for text, logprob in known.items():
      if text != token:
        give(begun + text, before + logprob)
    begun += token
    before += known[token]
    fits = fitting(words, begun)
    # Once one is left, what follows tells nothing about the others.
    if len(fits) <= 1 and plain(begun):
      break
  give(begun, before)
  if not any(mass):
    return None
  return tuple(math.log(x) if x > 0 else floor - 1.0 for x in mass)


def fitting(words, begun):
  """Returns the indices of the words that a text begins, or that begin it."""
  begun = plain(begun)
  if not begun:
    return []
  return [
      i for i, x in enumerate(words) if x.startswith(begun) or (
          begun.startswith(x) and not begun[len(x)].isalnum())]


def plain(text):
  """Returns a text without case, outer quotation marks and white space."""
  return text.casefold().strip(' \t\n"\'`*')


def tally(words, texts):
  """Returns the log of each candidate's smoothed share of the answers.

  Args:
    words: Candidates; K entries.
    texts: Answers; any number.

  Returns:
    K floats; None if no answer names a candidate.
  """
  counts = [0] * len(words)
  for text in texts:
    text = ' '.join(text.casefold().strip(' \t\n.\'"!').split())
    named = [i for i, x in enumerate(words) if x.casefold() in text]
    exact = [i for i in named if words[i].casefold() == text]
    # An answer that names several says nothing.
    for i in exact or (named if len(named) == 1 else ()):
      counts[i] += 1
  if not any(counts):
    return None
  total = sum(counts) + 0.5 * len(words)
  return tuple(math.log((x + 0.5) / total) for x in counts)
