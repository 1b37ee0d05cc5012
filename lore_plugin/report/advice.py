"""Shows what the advisor of a run was asked, and what came of it.

  python -m lore_plugin advice LOGDIR [PATTERN] [--json]

For each question: what was asked; the choices with the probability that the
model gives them, its best one marked; what the call cost; and how the advised
episodes ended in which it was met, and each choice was pursued. The questions
are those of the run's store, in the order in which they were answered.

PATTERN is a regular expression; only questions are shown that have it in their
mission, text, choices or answer.
"""

import argparse
import json
import os
import re
import shlex
import sys
import textwrap
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .. import config as configlib
from .. import errors
from .. import logdir as logdirlib
from ..advisor import build
from ..advisor import ground
from ..advisor import store as storelib

# Letters of a question's hash that are shown, enough to find it again.
SHOWN = 8
WIDTH = 78


def main(argv: Sequence[str] | None = None) -> None:
  """Prints the advice of a run.

  Raises:
    LoreError: The folder is of no advised run, or the pattern is none.
  """
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin advice', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter)
  add = parser.add_argument
  add('logdir', help='folder of a training run, also of one that still runs')
  add('pattern', nargs='?', default='', help='regular expression to look for')
  add('--json', action='store_true', help='print one JSON object')
  args = parser.parse_intermixed_args(
      sys.argv[1:] if argv is None else list(argv))
  found = read(args.logdir)
  found['questions'] = search(found['questions'], args.pattern)
  if args.json:
    print(json.dumps(found, indent=1, allow_nan=False))
    return
  print(text(found, args.pattern))
  print(f'\nNext: python -m lore_plugin report {shlex.quote(args.logdir)}'
        ' --open')


def read(logdir: str | os.PathLike) -> dict[str, Any]:
  """Reads a run's advice.

  Args:
    logdir: The run.

  Returns:
    A dict that JSON can hold: `logdir`, `store`; `calls`, `tokens` and
    `dollars` of all accounts in the store; `episodes`, what advised and
    control episodes came to; `questions`, see `question`; `unanswered`, the
    calls without an answer.

  Raises:
    ConfigError: No run, or one without advice.
    StoreError: The store can't be read.
  """
  folder = logdirlib.expand(logdir)
  config = configlib.saved(folder)
  path = build.locate(
      str(config.get('lore.advisor.store', '')), str(folder))
  if not path.is_file():
    raise errors.ConfigError(
        f'The run in {str(folder)!r} has no stored advice: there is no '
        f'{str(path)!r}. ' + (
            'It was trained without lore.'
            if not config.get('lore.enabled', True) else
            f'Type python -m lore_plugin doctor {shlex.quote(str(folder))}.'))
  store = storelib.Store(path, readonly=True)
  try:
    replies = [x for _, x in everything(store) if x]
    calls, tokens, dollars = store.query(
        'select coalesce(sum(calls), 0), coalesce(sum(tokens), 0),'
        ' coalesce(sum(money), 0) from accounts')[0]
    lost = store.query(
        'select status, reason, raw, tokens, money, reserved from ledger'
        " where status != 'settled' order by id")
  finally:
    store.close()
  episodes = met(folder)
  return {
      'logdir': str(folder), 'store': str(path), 'calls': int(calls),
      'tokens': int(tokens), 'dollars': float(dollars),
      'episodes': {
          name: outcome([x for x in episodes if x['advised'] in arms])
          for name, arms in (
              ('advised', (1,)), ('control', (0, logdirlib.PARTLY)))},
      'questions': [question(x, episodes) for x in replies],
      'unanswered': [{
          'status': status, 'reason': reason, 'raw': raw, 'tokens': int(read_),
          'dollars': float(money), 'asked': clock(reserved)}
          for status, reason, raw, read_, money, reserved in lost]}


def everything(store: storelib.Store) -> Iterable[tuple[int, dict | None]]:
  """Yields number and row of all replies, None for a damaged one."""
  after = 0
  while rows := store.since(after):
    yield from rows
    after = rows[-1][0]


def met(folder: str | os.PathLike) -> list[dict]:
  """Returns the training episodes, each with the `questions` it met.

  These are pairs of a question's name and the choice pursued, '' where none
  was drawn. Runs of earlier versions did not note them; it is None there.
  """
  journal = {x['step']: x for x in logdirlib.read_journal(folder)}
  return [{
      **x, 'questions': journal.get(x['step'], {}).get('questions')}
      for x in logdirlib.read_episodes(folder)]


def question(row: dict, episodes: Sequence[dict]) -> dict:
  """Returns what is known of one question.

  Args:
    row: Its reply, as the store has it.
    episodes: What `met` returned.

  Returns:
    `question` (its name), `asked` (time of the answer), `provider`, `model`,
    `mission`, `text`, `choices` (pairs of words and probability, the likeliest
    first), `best` (the first of these), `tokens`, `dollars`, `seconds`, `raw`;
    `led_to`, the `outcome` of the episodes that met it, None where the run did
    not note that; `pursued`, the same of each choice.
  """
  name = row['state']
  choices = ground.ranked(row['candidates'], row['scores'])
  told = [x for x in episodes if x['questions'] is not None]
  pursued: dict[str, list] = {}
  here = []
  for x in told:
    drawn = [y for key, y in x['questions'] if name.startswith(key)]
    here += [x] if drawn else []
    for words in filter(None, dict.fromkeys(drawn)):
      pursued.setdefault(words, []).append(x)
  return {
      'question': name, 'asked': clock(row['created']),
      'provider': row['provider'], 'model': row['model'],
      'mission': row['mission'], 'text': row['text'],
      'choices': [[words, round(share, 4)] for words, share in choices],
      'best': choices[0][0],
      'tokens': row['tokens_in'] + row['tokens_out'],
      'dollars': row['money'], 'seconds': round(row['seconds'], 3),
      'raw': row['raw'], 'led_to': outcome(here) if told else None,
      'pursued': {k: outcome(v) for k, v in pursued.items()}}


def outcome(episodes: Sequence[dict]) -> dict:
  """Returns `episodes`, their number, mean `return`, and `success`.

  The latter is None where the environment does not say what a success is, or
  nothing ended. `cut` is how many control episodes took too long: their rest
  was advised, and they count as no success whatever they earned.
  """
  mean = lambda x: round(float(np.mean(x)), 4) if x else None
  wins = [logdirlib.won(x) for x in episodes]
  return {
      'episodes': len(episodes),
      'success': None if None in wins else mean(wins),
      'return': mean([x['score'] for x in episodes]),
      'cut': sum(x['advised'] == logdirlib.PARTLY for x in episodes)}


def search(questions: Sequence[dict], pattern: str) -> list[dict]:
  """Returns the questions that a regular expression finds.

  Raises:
    ConfigError: It is no regular expression.
  """
  try:
    find = re.compile(pattern, re.IGNORECASE).search
  except re.error as e:
    raise errors.ConfigError(
        f'{pattern!r} is no regular expression: {e}. Put a backslash before '
        'what has a meaning of its own: \\( \\[ \\*') from e
  return [
      x for x in questions if find('\n'.join((
          x['mission'], x['text'], x['raw'], *(c for c, _ in x['choices']))))]


def text(found: dict, pattern: str = '') -> str:
  """Formats what `read` returned for the terminal."""
  lines = [
      f'{len(found["questions"])} questions'
      + (f' with {pattern!r}' if pattern else '')
      + f', {found["calls"]:,} calls, {found["tokens"]:,} tokens, '
      f'${found["dollars"]:.4f}']
  lines += [
      f'{name.capitalize()} episodes: {told(x)}'
      for name, x in found['episodes'].items()]
  for x in found['questions']:
    lines += ['', *block(x)]
  if found['unanswered']:
    lines += ['', f'Calls without an answer: {len(found["unanswered"])}']
  for x in found['unanswered']:
    why = x['reason'] or (
        'under way, or interrupted' if x['status'] == 'reserved' else 'failed')
    lines.append(
        f'  {x["asked"]}  {why}, {x["tokens"]:,} tokens, ${x["dollars"]:.4f}'
        + (f': {x["raw"]!r:.100}' if x['raw'] else ''))
  return '\n'.join(lines)


def block(x: dict) -> list[str]:
  """Formats one question."""
  cost = (
      f'{x["tokens"]:,} tokens, ${x["dollars"]:.4f}, {x["seconds"]:.1f} s')
  wrap = lambda words: textwrap.wrap(
      words, WIDTH, initial_indent='  ', subsequent_indent='  ')
  width = max(len(words) for words, _ in x['choices'])
  # Of a file the name says enough.
  model = x['model'].partition(':')[0]
  lines = [
      f'{x["question"][:SHOWN]}  {x["asked"]}  {x["provider"]} ({model}), '
      f'{cost}', *wrap(x['mission']), *wrap(x['text'])]
  for words, share in x['choices']:
    mark = '>' if words == x['best'] else ' '
    led = x['pursued'].get(words)
    lines.append(f'  {mark} {words:<{width}}  {share:.2f}' + (
        f'  pursued in {told(led)}' if led else ''))
  if x['led_to']:
    lines.append(f'  Met in advised episodes: {told(x["led_to"])}')
  return lines


def told(x: dict) -> str:
  """Says what episodes came to."""
  if not x['episodes']:
    return 'none has ended'
  success = '' if x['success'] is None else f', success {x["success"]:.2f}'
  cut = f' ({x["cut"]:,} took too long, and were advised then)'
  return (
      f'{x["episodes"]:,}{cut if x["cut"] else ""}{success}, mean return '
      f'{x["return"]:.2f}')


def clock(seconds: float) -> str:
  return time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(seconds))
