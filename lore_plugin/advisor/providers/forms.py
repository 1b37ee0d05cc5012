"""Scores from 0 to 100 as JSON: how they are asked for, and how they are read.

Each question has a tag of four consonants, which the answer is to repeat.
Where answers are mixed up on their way, by a proxy or a cache, an answer with
the tag of another question is not believed. One without any is: not every
model repeats it.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ... import errors
from .. import prompts

LONGEST = 100_000  # Characters of an answer that are read.

# No word, and no number that could be taken for a score.
LETTERS = 'bcdfghjklmnpqrstvwxz'


def tag(prompt: prompts.Prompt) -> str:
  """Returns the tag of a question; the same each time.

  Args:
    prompt: A `Prompt`.
  """
  data = '\0'.join((
      prompt.mission, prompt.question, prompt.picture, *prompt.candidates))
  digest = hashlib.sha256(data.encode('utf-8', 'surrogatepass')).digest()
  return ''.join(LETTERS[x % len(LETTERS)] for x in digest[:4])


def check_tag(text: str, wanted: str) -> None:
  """Raises a ParseError if a text carries only tags of other questions."""
  found = [x.lower() for x in re.findall(
      r'\btag\b\\?["\']?\s{0,3}[:=]\s{0,3}\\?["\']?([a-z]{4})\b',
      text[:LONGEST], re.I)]
  if wanted and found and wanted not in found:
    raise errors.MixedUp(found[0], wanted)


def score_names(count: int) -> list[str]:
  """Returns the names under which a model states its scores."""
  return [f'score_{i + 1}' for i in range(count)]


def instruction(prompt: prompts.Prompt) -> str:
  """Returns the question, the candidates by number, and what to do.

  Args:
    prompt: A `Prompt`.
  """
  listed = '\n'.join(
      f'{i + 1}. {word}' for i, word in enumerate(prompt.candidates))
  return (
      f'{prompt.mission}{prompt.question}\n\nCandidates:\n{listed}\n\nScore'
      ' each candidate from 0 (useless now) to 100 (best now).')


def form(prompt: prompts.Prompt) -> str:
  """Returns the sentence that asks for scores as text.

  What stands for the scores is no number: a form that is merely repeated can't
  be taken for an answer.
  """
  example = ', '.join(
      f'"{x}": N' for x in score_names(len(prompt.candidates)))
  return (
      ' Answer with one JSON object and nothing else, in this form, with a'
      f' number for each N: {{{example}, "tag": "{tag(prompt)}"}}')


def schema(prompt: prompts.Prompt) -> dict:
  """Returns the JSON schema of the scores and the tag."""
  names = score_names(len(prompt.candidates))
  return {
      'type': 'object',
      'properties': {
          **{
              name: {
                  'type': 'integer', 'minimum': 0, 'maximum': 100,
                  'description': word}
              for name, word in zip(names, prompt.candidates)},
          'tag': {'type': 'string', 'enum': [tag(prompt)]}},
      'required': [*names, 'tag'],
      'additionalProperties': False}


def system(prompt: prompts.Prompt) -> str:
  """Returns the instructions with the worked examples; the same each time."""
  return f'{prompt.system.strip()}\n\nExamples:\n\n{prompt.prefix}'


def read_scores(found: Iterable, count: int) -> tuple[float, ...] | None:
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


def read_text(text: str) -> list:
  """Returns what in a text may hold scores, the most regular first."""
  text = thoughtless(text[:LONGEST])
  return [*objects(text), loose(text)]


def thoughtless(text: str) -> str:
  """Returns a text without what a model thought aloud before its answer."""
  return re.sub(r'^\s*<(think\w*)>.*?</\1>', '', text, flags=re.S)


def objects(text: str) -> list:
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


def loose(text: str) -> dict:
  """Returns the first value of each 'score_1': 30 in a text, complete or not.

  A number is read whole or not at all: 1e400 and 9e1 are none.
  """
  out: dict[str, float] = {}
  for name, value in re.findall(
      r'\b(score_\d{1,3})["\']? {0,3}[:=] {0,3}["\']?(\d{1,3}(?:\.\d{1,9})?)'
      r'(?!\w|[.,]\d)', text):
    out.setdefault(name, float(value))
  return out


def usable(value: Any) -> bool:
  """Returns whether a value is a score from 0 to 100."""
  return (
      isinstance(value, (int, float)) and not isinstance(value, bool) and
      0 <= value <= 100)


def to_scores(values: Sequence[float]) -> tuple[float, ...]:
  """Turns scores from 0 to 100 into log-probabilities.

  One is added, so that a zero is small and not impossible.
  """
  total = sum(values) + len(values)
  return tuple(math.log((x + 1) / total) for x in values)
