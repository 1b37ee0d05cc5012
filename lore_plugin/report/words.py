"""Says in words what the statistics show, and what they do not."""

import math
from collections.abc import Iterator
from typing import Any

from .. import curves
from ..runs import results
from . import stats

METHOD = (
    'The seed is the unit. IQM is the mean without the lowest and the highest '
    'quarter of the seeds, a quarter rounded down. Square brackets are 95 % '
    'intervals of Student\'s kind for trimmed means; with fewer than '
    f'{stats.FEW} seeds there is none, and round brackets give the lowest and '
    'the highest seed. Of ten seeds that are drawn from a normal distribution '
    'they cover 0.94, from a very skewed one 0.90. '
    'Steps to 0.9 are counted to the end of the first window of 1,000 '
    'environment steps in which at least 10 episodes began and 0.9 of them '
    'succeeded; steps to 0.9 alone to the first evaluation without advice at '
    '0.9, or, where the run made none, to the end of the tenth episode '
    'without advice in a row that succeeded. A run that never gets there '
    'counts as long as the shortest run of the section (restricted mean): a '
    'ratio can therefore never exceed that of an arm that never gets there, '
    'which is given beside it. Advised runs have few episodes without '
    'advice, so that ten in a row take them longer than evaluations would. '
    'Whether an arm differs is a permutation test of the means over seeds, '
    'corrected for the number of arms by Holm\'s procedure, apart for each '
    'outcome. "No difference shown" does not mean that there is none. Where '
    'all seeds agree an interval has no width, which is not certainty.')
NAMES = {
    'steps': 'steps to 0.9', 'alone_steps': 'steps to 0.9 alone',
    'final': 'success in the last 3,000 steps',
    'alone': 'success of the agent alone after training'}
# Of an environment that does not say what a success is.
RETURNS = {
    'final': 'mean return in the last 3,000 steps',
    'alone': 'mean return of the agent alone after training'}
# The least and the most that an episode can come to.
BOUNDS = {'success': (0.0, 1.0), 'return': (-math.inf, math.inf)}


def find(
    arm: str, base: str, compared: dict[str, Any],
    section: dict[str, Any]) -> Iterator[dict[str, Any]]:
  """States what a comparison shows, and apart from it what it does not.

  Yields:
    A dict with `arm`, `text`, and `shown`, whether it is a difference.
  """
  few = min(section['arms'][x]['finished'] for x in (arm, base))
  start = f'{arm} against {base}'
  if compared['least_p'] > 1 - stats.LEVEL:
    counts = ' against '.join(
        str(section['arms'][x]['finished']) for x in (arm, base))
    yield {
        'arm': arm, 'shown': False,
        'text': f'{start}: too few seeds to show anything ({counts}; the '
        f'least possible p is {compared["least_p"]:.2f}).'}
    return
  parts = []
  returns = section.get('measure') == 'return'
  for key, name in (RETURNS if returns else NAMES).items():
    x = compared[key]
    if x is None or not x.shown:
      continue
    what = 'times the' if key.endswith('steps') else 'in'
    form = '.2f' if key.endswith('steps') else '+.2f'
    parts.append(f'{tell(x, form)} {what} {name} (p = {chance(x.p)})')
  flag = f' ({few} seeds only)' if few < stats.ENOUGH else ''
  texts = [(True, '; '.join(parts))] if parts else []
  # Apart, as no effect must look like one.
  if returns and not parts:
    texts.append((False, 'no difference shown in mean return'))
  if not returns and not compared['steps'].shown:
    texts.append((False, hidden(compared)))
  for shown, text in texts:
    yield {'arm': arm, 'shown': shown, 'text': f'{start}: {text}{flag}.'}


def hidden(compared: dict[str, Any]) -> str:
  """Says how much a ratio of steps that shows nothing leaves open."""
  x = compared['steps']
  text = (
      f'no difference shown in steps to 0.9: {tell(x, ".2f")} times '
      f'(p = {chance(x.p)}); an arm that never gets there would have '
      f'{compared["ceiling"]:.2f}')
  if compared['needed'] and compared['needed'] > x.count:
    text += (
        f', and to see a ratio of 1.3 takes about {compared["needed"]} seeds')
  return text


def chance(p: float) -> str:
  return 'below 0.001' if p < 0.001 else f'{p:.3f}'


def tell(x: stats.Estimate | None, form: str = ',.0f') -> str:
  """Writes an estimate: '0.42 [0.30, 0.61]', or '0.42 (0.30 to 0.61)'."""
  if x is None:
    return '--'
  num = lambda v: f'{v:{form}}'
  if x.wide:
    return f'{num(x.value)} [{num(x.low)}, {num(x.high)}]'
  if not math.isnan(x.least) and x.count > 1:
    return f'{num(x.value)} ({num(x.least)} to {num(x.most)})'
  return f'{num(x.value)} ({x.count} seed{"s" if x.count > 1 else ""})'


def warn(section: dict[str, Any], reference: str) -> list[str]:
  """Returns what a reader must know before the figures."""
  return [x for x in (
      few(section), lost(section), told(section), never(section),
      lengths(section),
      *commits(section),
      '' if section['reference'] or single(section) else
      f'There is no finished arm {reference!r} to compare with; --reference '
      'ARM names another.') if x]


def single(section: dict[str, Any]) -> bool:
  """Whether there is one run alone, and nothing to compare it with."""
  return sum(planned(x) for x in section['arms'].values()) == 1


def few(section: dict[str, Any]) -> str:
  found = {k: v['finished'] for k, v in section['arms'].items()
           if v['finished'] < stats.ENOUGH}
  if not found:
    return ''
  text = f'Fewer than {stats.ENOUGH} seeds: ' + ', '.join(
      f'{k} {v}' for k, v in found.items()) + '. Take them as a hint.'
  worst = [x['least_p'] for x in section['comparisons'].values()]
  if worst and max(worst) > 1 - stats.LEVEL:
    text += (
        f' No test of so few can give a p value below {max(worst):.2f}, so '
        'that nothing is shown where there is no more.')
  return text


def lost(section: dict[str, Any]) -> str:
  found = {
      k: v['crashed'] + v['missing'] for k, v in section['arms'].items()
      if v['crashed'] + v['missing']}
  return 'Runs without a result, in no figure: ' + ', '.join(
      f'{k} {v}' for k, v in found.items()) + '.' if found else ''


def told(section: dict[str, Any]) -> str:
  return (
      'The environment does not say what a success is (log/success): all is '
      'of the mean return, and how soon an arm succeeds is not known.'
  ) if section['measure'] == 'return' else ''


def never(section: dict[str, Any]) -> str:
  if section['measure'] == 'return':
    return ''
  if section['limit'] < curves.WINDOW:
    return (
        f'No run has a whole window of {curves.WINDOW:,} steps, so that none '
        f'can reach {section["goal"]}: the times say nothing.')
  found = {
      k: v['finished'] - v['steps_to_goal_reached']
      for k, v in section['arms'].items() if v['finished']}
  found = {
      k: f'{v} of {section["arms"][k]["finished"]}'
      for k, v in found.items() if v}
  return (
      f'Runs that never reached {section["goal"]} within '
      f'{section["limit"]:,} steps, and count as that long: ' + ', '.join(
          f'{k} {v}' for k, v in found.items()) + '.') if found else ''


def lengths(section: dict[str, Any]) -> str:
  return (
      'Runs of different lengths: ' + ', '.join(
          f'{k} {v["steps"]:,}' for k, v in section['arms'].items())
      + ' steps. All are cut off at the shortest.'
  ) if len(section['steps']) > 1 else ''


def commits(section: dict[str, Any]) -> Iterator[str]:
  found = sorted({c for v in section['arms'].values() for c in v['commits']})
  if len(found) > 1:
    yield 'Runs of different commits, which may be of different methods: ' + (
        ', '.join(x[:10] for x in found) + '.')
  if any('changed' in x for x in found):
    yield 'Some runs come from code that was changed since its commit.'
  if 'None' in found:
    yield 'Some runs do not say of which commit they are.'


def planned(arm: dict[str, Any]) -> int:
  """How many runs of an arm there should be."""
  return sum(arm[x] for x in results.STATUS)
