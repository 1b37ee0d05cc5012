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
    f'{stats.FEW} seeds, and where the middle seeds agree and others do not, '
    'there is none, and round brackets give the lowest and the highest seed. '
    'Of ten seeds that are drawn from a normal distribution they cover 0.94, '
    'from a very skewed one 0.90, and of seeds that are nearly all alike '
    'less. Arms are compared by their means. '
    'Steps to 0.9 alone are counted to the first evaluation without advice '
    'at 0.9, or, where the run made none, to the end of the tenth episode '
    'without advice in a row that succeeded; steps to 0.9 to the end of the '
    'first window of 1,000 environment steps in which at least 10 episodes '
    'began and 0.9 of them succeeded. A run that never gets there '
    'counts as long as the shortest run of the section (restricted mean): a '
    'ratio can therefore never exceed that of an arm that never gets there, '
    'which is given beside it. Advised runs have few episodes without '
    'advice, so that ten in a row take them longer than evaluations would. '
    'Episodes count where they begin. Of those that began so late that the '
    'longest could not have ended the short ones are there, that is the '
    'successes: curves and marks end before them, and windows at 0.9 count '
    'what still ran as failed. "Late in training" is of the 3,000 steps '
    'before them. '
    'Whether an arm differs is a permutation test of the means over seeds, '
    'within pairs where both arms have the same seeds, at least '
    f'{stats.ENOUGH}, corrected for all planned arms by Holm\'s procedure, '
    'apart for each outcome. "No difference shown" does not mean that there '
    'is none: beside it stands what so many seeds would show four times in '
    'five. Where all seeds agree an interval has no width, which is not '
    'certainty.')
# The first outcome first.
NAMES = {
    'alone_steps': 'steps to 0.9 alone', 'steps': 'steps to 0.9',
    'final': 'success late in training',
    'alone': 'success of the agent alone after training'}
# Of an environment that does not say what a success is.
RETURNS = {
    'final': 'mean return late in training',
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
        f'least possible p is {compared["least_p"]:.2f}'
        + (f' with {compared["planned"]} planned arms'
           if compared['planned'] > 1 else '') + ').'}
    return
  parts, open_ones = [], []
  returns = section.get('measure') == 'return'
  for key, name in (RETURNS if returns else NAMES).items():
    x = compared[key]
    if x is None:
      continue
    if not x.shown:
      open_ones.append(hidden(key, name, compared))
      continue
    what = 'times the' if key.endswith('steps') else 'in'
    form = '.2f' if key.endswith('steps') else '+.2f'
    parts.append(f'{tell(x, form)} {what} {name} (p = {chance(x.p)})')
  flag = f' ({few} seeds only)' if few < stats.ENOUGH else ''
  # Apart, as no effect must look like one.
  if parts:
    yield {
        'arm': arm, 'shown': True,
        'text': f'{start}: {"; ".join(parts)}{flag}.'}
  if open_ones:
    yield {
        'arm': arm, 'shown': False,
        'text': f'{start}: no difference shown in {"; in ".join(open_ones)}'
        f'{flag}.'}


def hidden(key: str, name: str, compared: dict[str, Any]) -> str:
  """Says how much an outcome that shows nothing leaves open."""
  x = compared[key]
  ratio = key.endswith('steps')
  text = (
      f'{name}: {tell(x, ".2f" if ratio else "+.2f")}'
      f'{" times" if ratio else ""} (p = {chance(x.p)}')
  if x.error > 0:
    gap = stats.deviations(compared['planned']) * x.error
    shown = f'{math.exp(gap):.2f}' if ratio else f'{gap:.2g}'
    text += f', so many seeds show {shown}'
  if ratio:
    most = compared['ceiling'][key]
    needs = compared['needed'][key]
    text += f', an arm that never gets there would have {most:.2f}'
    if needs and needs > x.count:
      text += f', and to see a ratio of 1.3 takes about {needs} seeds'
  return f'{text})'


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
      few(section), lost(section), repeated(section), told(section),
      never(section), measures(section), lengths(section),
      *commits(section),
      '' if section['reference'] or single(section) else
      f'There is no finished arm {reference!r} to compare with; --reference '
      'ARM names another.') if x]


def by(section: dict[str, Any]) -> str:
  """What tells when the agent alone got there."""
  return 'evaluations without advice' if section['evaluated'] else (
      'ten episodes in a row without advice')


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


def repeated(section: dict[str, Any]) -> str:
  found = {
      k: v['repeated'] for k, v in section['arms'].items() if v['repeated']}
  return (
      'Runs that failed and were made again; the failed ones are in no '
      'figure: ' + ', '.join(
          f'{k}, seed {" ".join(map(str, v))}' for k, v in found.items())
      + '.') if found else ''


def measures(section: dict[str, Any]) -> str:
  """Two measures of the agent alone have no ratio."""
  found = {k: v['evaluated'] for k, v in section['arms'].items()
           if v['finished']}
  if section['measure'] == 'return' or len(set(found.values())) < 2:
    return ''
  return (
      'Steps to 0.9 alone are those of evaluations for some arms, and of ten '
      'control episodes in a row for ' + ', '.join(
          k for k, x in found.items() if not x)
      + ', which evaluated nothing while they trained: the two are not '
      'compared.')


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
      + f' steps. All is of the first {section["limit"]:,}; the agent alone '
      'after training is left out where it was not evaluated there.'
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
