"""What the providers behind an SDK share: reading answers, naming errors."""

import email.utils
import json
import math
import os
import re
import time

from ... import errors

LONGEST = 100_000  # Characters of an answer that are read.

SECRETS = ('ANTHROPIC_API_KEY', 'ANTHROPIC_AUTH_TOKEN', 'OPENAI_API_KEY')


def score_names(count):
  """Returns the names under which a model states its scores."""
  return [f'score_{i + 1}' for i in range(count)]


def instruction(prompt):
  """Returns the question, the candidates by number, and what to do.

  Args:
    prompt: A `Prompt`.
  """
  listed = '\n'.join(
      f'{i + 1}. {word}' for i, word in enumerate(prompt.candidates))
  return (
      f'{prompt.mission}{prompt.question}\n\nCandidates:\n{listed}\n\nScore'
      ' each candidate from 0 (useless now) to 100 (best now).')


def form(count):
  """Returns the sentence that asks for scores as text."""
  example = json.dumps(dict.fromkeys(score_names(count), 0))
  return (
      ' Answer with one JSON object and nothing else, in this form:'
      f' {example}')


def schema(words):
  """Returns the JSON schema of the scores. Takes K words."""
  names = score_names(len(words))
  return {
      'type': 'object',
      'properties': {
          name: {
              'type': 'integer', 'minimum': 0, 'maximum': 100,
              'description': word}
          for name, word in zip(names, words)},
      'required': names,
      'additionalProperties': False}


def system(prompt):
  """Returns the instructions with the worked examples; the same each time."""
  return f'{prompt.system.strip()}\n\nExamples:\n\n{prompt.prefix}'


def read_scores(found, count):
  """Returns log-probabilities in proportion to the first scores that fit.

  Args:
    found: What may hold scores: dicts, or strings with JSON in them.
    count: Number of candidates K.

  Returns:
    K floats; None if nothing fits.
  """
  for values in found:
    # Some servers wrap the arguments, or send them as a string.
    if isinstance(values, str):
      values = next(iter(objects(values)), None)
    if isinstance(values, dict):
      values = values.get('arguments', values.get('parameters', values))
    if isinstance(values, dict):
      values = [values.get(x) for x in score_names(count)]
      if all(usable(x) for x in values):
        return to_scores(values)
  return None


def read_text(text):
  """Returns what in a text may hold scores, the most regular first."""
  text = text[:LONGEST]
  return [*objects(text), loose(text)]


def objects(text):
  """Returns the JSON objects in a text, in order."""
  found = []
  decoder = json.JSONDecoder()
  at = 0
  # Braces that open nothing cost one attempt each.
  for _ in range(100):
    at = text.find('{', at)
    if at < 0:
      break
    try:
      value, at = decoder.raw_decode(text, at)
      found.append(value)
    except (ValueError, RecursionError):
      at += 1
  return found


def loose(text):
  """Returns the first value of each 'score_1': 30 in a text, complete or not.
  """
  out = {}
  for name, value in re.findall(
      r'\b(score_\d{1,3})["\']? {0,3}[:=] {0,3}["\']?(\d{1,3}(?:\.\d{1,9})?)'
      r'(?![\d.])', text):
    out.setdefault(name, float(value))
  return out


def usable(value):
  """Returns whether a value is a score from 0 to 100."""
  return (
      isinstance(value, (int, float)) and not isinstance(value, bool) and
      0 <= value <= 100)


def to_scores(values):
  """Turns scores from 0 to 100 into log-probabilities.

  One is added, so that a zero is small and not impossible.
  """
  total = sum(values) + len(values)
  return tuple(math.log((x + 1) / total) for x in values)


class Prices:
  """What tokens cost.

  Args:
    config: Mapping with `price`: `input` and `output`, US dollars for a
      million tokens.
  """

  def __init__(self, config):
    price = config.get('price', None) or {}
    self.input = 1e-6 * float(price.get('input', 0.0))
    self.output = 1e-6 * float(price.get('output', 0.0))

  def __call__(self, read, written):
    """Returns US dollars; tokens that were cached count in full."""
    return self.input * read + self.output * written


def bound(args, written):
  """Returns the most tokens a request can read: no tokenizer makes more
  tokens of a text than it has bytes; a thousand are for what a server puts
  around it."""
  return len(json.dumps(args).encode()) + 1000 + written


def whole(value):
  """Returns a count of tokens as a number, whatever a server sent."""
  try:
    return max(0, min(int(value), 10 ** 9))
  except (TypeError, ValueError, OverflowError):
    return 0


def translate(sdk, error):
  """Returns the error of ours that says what an error of an SDK means.

  Args:
    sdk: The module `anthropic` or `openai`; both name their errors alike.
    error: Any exception.
  """
  if isinstance(error, errors.CallError):
    return error
  if isinstance(error, sdk.APIStatusError):
    status = error.status_code
    message = f'HTTP {status}: {hide(str(error.message))}'
    if status in (429, 503, 529):
      return errors.BusyCall(message, hint(error.response.headers))
    if status in (413, 422):
      # This state asks too much; others may not.
      return errors.ParseError(message)
    if 400 <= status < 500 and status not in (408, 409):
      return errors.RejectedCall(message)
    return errors.FailedCall(message)
  out = errors.FailedCall(f'{type(error).__name__}: {hide(str(error))}')
  # Without a connection nothing was asked, so nothing was paid.
  cause = error
  while cause is not None:
    if type(cause).__name__ in ('ConnectError', 'ConnectTimeout'):
      out.paid = False
    cause = cause.__cause__
  return out


def hint(headers):
  """Returns the seconds that a server asks us to wait, or None."""
  for name, unit in (('retry-after-ms', 1e-3), ('retry-after', 1.0)):
    text = headers.get(name, '')
    try:
      value = float(text) * unit
    except ValueError:
      try:
        then = email.utils.parsedate_to_datetime(text).timestamp()
      except (TypeError, ValueError, OverflowError):
        continue
      value = max(0.0, then - time.time())
    if math.isfinite(value) and value >= 0:
      return value
  return None


def hide(text):
  """Returns the beginning of a message without anything like a key."""
  for name in SECRETS:
    if os.environ.get(name):
      text = text.replace(os.environ[name], '***')
  return re.sub(r'\bsk-[\w-]{8,}', '***', text)[:300]
