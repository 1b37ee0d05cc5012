"""Answers in a candidate's own words: what their tokens tell about the others.

A server that tells the log-probabilities of an answer's tokens, and of their
alternatives, tells how likely each candidate was in a single call. Where it
tells none, the words themselves are counted.
"""

import functools
import math
import re
from collections.abc import Iterable, Sequence
from typing import Any

from ... import errors
from . import forms

# Where the candidates hold less of the probability than this, the model was
# about to say something else, and what is left is noise.
SHARE = 0.3

# Words before an answer that are no part of it.
LEADS = (
    'answer', 'the answer is', 'final answer', 'next', 'subgoal', 'action',
    'choice', 'option')

# Tokens of an answer, each with its alternatives and their log-probabilities.
Tokens = Sequence[tuple[Any, Sequence[tuple[Any, Any]]]]


def weigh(
    words: Sequence[str], tokens: Tokens | None, tag: str = '',
    text: str | None = None) -> tuple[float, ...] | None:
  """Returns the log-probability of each candidate from those of tokens.

  Follows the answer token by token. An alternative that could begin some of
  the candidates gives them its probability in equal shares; a candidate that
  nothing began gets a little less than the least likely alternative.

  Args:
    words: Candidates; K entries.
    tokens: List of (token, alternatives), where alternatives are pairs of
      token and log-probability; None without any.
    tag: What the answer may begin with.
    text: The answer as text.

  Returns:
    K finite floats; None if the candidates hold less than `SHARE`.
  """
  words = [plain(x) for x in words]
  mass = [0.0] * len(words)
  floor = 0.0
  begun, before = '', 0.0

  def give(text, logprob):
    fits = fitting(words, text, tag)
    for i in fits:
      mass[i] += math.exp(logprob) / len(fits)

  for token, alternatives in answer(decode(tokens or (), text)):
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
    # Once one is left, what follows tells nothing about the others.
    if len(fitting(words, begun, tag)) <= 1 and strip(begun, tag, words):
      break
  give(begun, before)
  if sum(mass) < SHARE:
    return None
  return tuple(math.log(x) if x > 0 else floor - 1.0 for x in mass)


def answer(tokens: Tokens) -> Tokens:
  """Returns the tokens after what a model thought aloud, if it did."""
  texts = [x for x, _ in tokens]
  if re.match(r'\s*<think', ''.join(texts)):
    for i in range(len(texts)):
      if re.search(r'</think\w*>\s*$', ''.join(texts[:i + 1])):
        return tokens[i + 1:]
  return tokens


def decode(tokens: Tokens, text: str | None = None) -> Tokens:
  """Returns tokens as text, where a server sends its vocabulary's symbols.

  Byte-pair vocabularies write each byte as a printable character ('Ġto' is
  ' to'), others mark a blank ('▁to').

  Args:
    tokens: See `weigh`.
    text: The answer as text; a mark that stands in it is none.
  """
  every = [
      x for token, others in tokens for x in (token, *(y for y, _ in others))
      if isinstance(x, str)]
  marks = [
      x for x in 'ĠĊ▁' if any(x in y for y in every) and x not in (text or '')]
  if not marks:
    return tokens
  fn = (lambda x: x.replace('▁', ' ')) if marks == ['▁'] else from_bytes
  return [
      (fn(token), [
          (fn(x) if isinstance(x, str) else x, y) for x, y in others])
      for token, others in tokens]


def from_bytes(token: str) -> str:
  """Returns the text of a token of a byte-level vocabulary."""
  table = byte_table()
  if not all(x in table for x in token):
    return token
  return bytes(table[x] for x in token).decode('utf-8', 'replace')


@functools.cache
def byte_table() -> dict[str, int]:
  """Returns {character: byte} as GPT-2's vocabulary has it, which most share:
  printable bytes stand for themselves, the others for U+0100 and on."""
  shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
  hidden = [x for x in range(256) if x not in shown]
  return {
      **{chr(x): x for x in shown},
      **{chr(256 + i): x for i, x in enumerate(hidden)}}


def fitting(words: Sequence[str], begun: str, tag: str = '') -> list[int]:
  """Returns the indices of the words that a text begins, or that begin it."""
  begun = strip(begun, tag, words)
  if not begun:
    return []
  return [
      i for i, x in enumerate(words) if x.startswith(begun) or (
          begun.startswith(x) and not begun[len(x)].isalnum())]


def strip(text: str, tag: str = '', words: Sequence[str] = ()) -> str:
  """Returns a text without its tag, 'Answer:' and the like.

  Args:
    text: An answer, or its beginning; '' comes back of one that has said
      nothing else yet.
    tag: What it may begin with.
    words: Candidates, without case.
  """
  text = plain(text)
  for lead in (tag, *LEADS) if text else ():
    if lead and lead.startswith(text) and not any(
        x.startswith(text) for x in words):
      return ''
    rest = text[len(lead):]
    if lead and text.startswith(lead) and (
        rest.lstrip()[:1] in (':', '-', '=') or
        rest[:1] == ' ' and lead in (tag, 'the answer is')):
      return strip(
          rest.lstrip(' :=-'), tag if tag != lead else '', words)
  return text


def plain(text: str) -> str:
  """Returns a text without case, outer quotation marks and white space."""
  return text.casefold().strip(' \t\n"\'`*')


def check_tag(text: str, tag: str) -> None:
  """Raises a ParseError if an answer begins with another question's tag."""
  found = re.match(
      rf'\W*(?:answer\W{{1,3}})?([{forms.LETTERS}]{{4}})\s*[:=-]', text, re.I)
  if tag and found and found.group(1).lower() != tag:
    raise errors.MixedUp(found.group(1), tag)


def tally(
    words: Sequence[str], texts: Iterable[str],
    tag: str = '') -> tuple[float, ...] | None:
  """Returns the log of each candidate's smoothed share of the answers.

  Args:
    words: Candidates; K entries.
    texts: Answers; any number.
    tag: What an answer may begin with.

  Returns:
    K floats; None if no answer names a candidate.
  """
  counts = [0] * len(words)
  words = [x.casefold() for x in words]
  for text in texts:
    text = strip(text, tag, words)
    text = ' '.join(text.strip(' \t\n.\'"!').split())
    named = [i for i, x in enumerate(words) if x in text]
    exact = [i for i in named if words[i] == text]
    # An answer that names several says nothing.
    for i in exact or (named if len(named) == 1 else ()):
      counts[i] += 1
  if not any(counts):
    return None
  total = sum(counts) + 0.5 * len(words)
  return tuple(math.log((x + 0.5) / total) for x in counts)
