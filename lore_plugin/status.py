"""What a user sees of a run: how it goes while it trains, a table after."""

import contextlib
import hashlib
import json
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, SupportsInt

import elements
import numpy as np
import tqdm
import tqdm.contrib

from . import curves
from . import logdir as logdirlib
from . import worlds
from .advisor import counts
from .worlds import seeds

# Seconds between two lines where the output is no terminal.
EVERY = 60.0
# Refusals by which the call policy saves calls, as it should.
SAVED = (
    'refused_cooldown', 'refused_control', 'refused_last', 'refused_pending')


# The status of the run of this process: upstream's main() makes one run.
current: 'Status | None' = None


def attach(
    logger: elements.Logger, config: elements.Config) -> elements.Logger:
  """Adds the status to upstream's logger, for runs that are ours."""
  global current
  if watched(config):
    current = Status(
        logger.step, int(config.run.steps), bool(config.lore.enabled),
        logger.add)
    logger.outputs.append(current)
  return logger


def succeeded(win: float) -> None:
  """Logs of an episode that ended in this step whether it was a success."""
  if current:
    assert current.log  # As `attach` made it.
    current.log({'success': win}, prefix='episode')


def evaluated() -> None:
  """Marks an episode that ended in this step as none of training."""
  if current:
    assert current.log
    current.log({logdirlib.EVALUATION: 1.0})


def taken() -> int:
  """Returns the environment steps of training so far; 0 where nobody counts.
  """
  return int(current.step) if current else 0


def tick() -> None:
  """Moves a terminal's line on; called at each step."""
  if current and current.bar:
    current.bar.move(int(current.step))


def close() -> None:
  """Leaves the terminal as it was."""
  global current
  if current:
    current.wait()
    current = None


def watched(config: elements.Config) -> bool:
  """Whether a run is ours to comment: advised, or on our environments."""
  return config.lore.enabled or worlds.has_heldout(config.task)


class Status:
  """A logger output that shows how the run is doing.

  On a terminal one line that stays at the bottom; elsewhere a line a minute.

  Args:
    step: Upstream's step counter.
    total: Environment steps at which the run ends.
    advised: Whether there is an advisor.
    log: Adds metrics to the log: log(metrics, prefix).
    clock: Returns seconds; replaced in tests.
  """

  def __init__(
      self, step: SupportsInt, total: float, advised: bool = True,
      log: Callable[..., object] | None = None,
      clock: Callable[[], float] = time.monotonic):
    self.step = step
    self.total = total
    self.advised = advised
    self.log = log
    self.clock = clock
    self.start: tuple[int, float] | None = None
    self.said: float | None = None
    self.scores: list[tuple[int, float]] = []
    self.wins: list[tuple[int, float]] = []
    self.last: dict[str, float] = {}
    self.bar: Bar | None = None

  def __call__(self, summaries: Sequence[tuple[int, str, Any]]) -> None:
    # Script train_eval logs what it plays to evaluate under the same names.
    apart = {
        step for step, name, _ in summaries if name == logdirlib.EVALUATION}
    for step, name, value in summaries:
      if step in apart and name.startswith('episode/'):
        continue
      if name == 'episode/score':
        self.scores.append((step, float(value)))
      elif name == 'episode/success':
        self.wins.append((step, float(value)))
      elif np.ndim(value) == 0 and not isinstance(value, str):
        self.last[name] = float(value)
    for rows in (self.scores, self.wins):
      # Older ones are never looked at again.
      while rows and rows[0][0] <= int(self.step) - curves.WINDOW:
        rows.pop(0)
    self.show()

  def show(self) -> None:
    now = self.clock()
    # A resumed run starts in the middle; its speed counts from there.
    self.start = self.start or (int(self.step), now)
    if self.bar is None and sys.stdout.isatty():
      self.bar = Bar(self.total, int(self.step))
    if self.bar:
      self.bar.show(int(self.step), self.words())
    elif self.said is None or now - self.said >= EVERY:
      self.said = now
      elements.print(self.line(), color='cyan', flush=True)

  def wait(self) -> None:
    """Ends the status; upstream's logger calls it when it is closed."""
    if self.bar:
      self.bar.close()
      self.bar = None

  def line(self) -> str:
    step, now = int(self.step), self.clock()
    words = self.words()
    return (
        f'[LoRe] {step:,}/{self.total:,.0f} steps, ETA {self._eta(step, now)}'
        + (f', {words}' if words else ''))

  def words(self) -> str:
    """Says how it goes, the most important first."""
    span = f'(last {curves.WINDOW:,} steps)'
    parts = []
    if self.wins:
      parts.append(f'success {np.mean([x for _, x in self.wins]):.2f} {span}')
    elif self.scores:
      parts.append(f'return {np.mean([x for _, x in self.scores]):.2f} {span}')
    get = self.last.get
    if self.advised and 'train/advisor/calls' in self.last:
      part = lambda prefix: {
          k.removeprefix(prefix): v for k, v in self.last.items()
          if k.startswith(prefix)}
      asked = part('train/advisor/')
      parts += [
          advice(part('train/lore/'), counts.led(asked)), calls(asked)]
    parts += [f'{label} {get(key):{form}}' for label, key, form in (
        ('beta', 'epstats/log/lore_beta/avg', '.2f'),
        ('KL', 'train/lore/kl', '.3f'),
        ('lambda', 'train/lore/lambda', '.3f')) if key in self.last]
    return ', '.join(x for x in parts if x)

  def _eta(self, step, now):
    start = self.start or (step, now)
    done, took = step - start[0], now - start[1]
    if done <= 0 or took <= 0:
      return '--'
    return duration(max(0, self.total - step) * took / done)


class Bar:
  """One line at the bottom of a terminal; what is printed goes above it.

  Args:
    total: Steps at the end.
    step: Steps now.
  """

  def __init__(self, total: float, step: int = 0):
    self.streams = sys.stdout, sys.stderr
    self.meter = tqdm.tqdm(
        total=total, initial=step, file=sys.stdout, dynamic_ncols=True,
        bar_format='[LoRe] {percentage:.0f}% of {total:,}, ETA {remaining}, '
        '{desc}')
    sys.stdout, sys.stderr = (
        tqdm.contrib.DummyTqdmFile(x) for x in self.streams)

  def show(self, step: int, words: str) -> None:
    self.meter.set_description_str(words, refresh=False)
    self.move(step)
    self.meter.refresh()

  def move(self, step: int) -> None:
    self.meter.update(step - self.meter.n)

  def close(self) -> None:
    self.meter.close()
    sys.stdout, sys.stderr = self.streams


def calls(stats: Mapping[str, Any]) -> str:
  """Says what was asked and what came of it.

  Args:
    stats: Counters of the advisor. `spent_calls` and `spent_money`, where
      they are there, are the ledger's, which forgets nothing when a process
      is killed.
  """
  number = lambda key: int(stats.get(key) or 0)
  made = int(stats.get('spent_calls', number('calls')))
  money = stats.get('spent_money', stats.get('money')) or 0.0
  found = [
      (number('answered'), 'answered'), (number('failures'), 'failed'),
      (refusals(stats), 'refused')]
  detail = ', '.join(f'{n:,} {word}' for n, word in found if n)
  return f'{made:,} calls' + (f' ({detail})' if detail else '') + (
      f', ${money:.4f}' if money >= 5e-5 else '')


def refusals(stats: Mapping[str, Any]) -> int:
  """Returns how many calls were wanted and not made, but for saved ones."""
  return int(sum(
      v for k, v in stats.items()
      if k.startswith('refused_') and k not in SAVED))


def advice(stats: Mapping[str, float], led: bool = True) -> str:
  """Says what the comparison of episodes shows, or '' without one.

  Args:
    stats: What `trust.stats` returned.
    led: Whether there was advice, see `counts.led`.
  """
  if not led:
    return 'no advice yet: no answer has come'
  if not all(x in stats for x in ('uplift', 'uplift_low', 'uplift_high')):
    return ''
  return 'advice ' + verdict(
      stats['uplift'], stats['uplift_low'], stats['uplift_high'],
      shown=round(stats.get('uplift_shown', 0)),
      episodes=tuple(
          int(stats[f'{x}_episodes']) for x in ('advised', 'control'))
      if 'control_episodes' in stats else None)


def verdict(
    estimate: float, low: float, high: float, since: int | None = None,
    shown: int | None = None, episodes: Sequence[int] | None = None) -> str:
  """Says in words what an uplift and its interval show.

  Args:
    estimate: Return of advised less that of unadvised episodes.
    low: Lower end of its interval of 95 %.
    high: Upper end.
    since: Environment step at which the verdict became this one, if known.
    shown: What holds however often one looks: 1 that advice helps, -1 that it
      does harm, 0 neither. By default what the interval says: of many looks
      at one of 95 % some are wrong.
    episodes: Finished episodes with and without advice, if known. A running
      one may still be a success.
  """
  if episodes and not min(episodes):
    return (
        f'not compared yet: {episodes[0]:,} advised and {episodes[1]:,} '
        'control episodes have ended')
  interval = f'{estimate:+.2f} [{low:+.2f}, {high:+.2f}]'
  if episodes:
    interval += (
        f' ({episodes[0]:,} advised, {episodes[1]:,} control episodes)')
  said = int(low > 0) - int(high < 0)
  shown = said if shown is None else shown
  if shown > 0:
    return f'helps: {interval}'
  if shown < 0:
    off = '' if since is None else f', switched off at step {since:,}'
    return f'harmful{off}: {interval}'
  words = ('no effect shown', 'may help', 'may do harm')[said]
  return f'{words}: {interval}'


def duration(seconds: float) -> str:
  """Writes a time span: 75 -> '1 min 15 s'."""
  seconds = int(round(seconds))
  hours, rest = divmod(seconds, 3600)
  minutes, seconds = divmod(rest, 60)
  if hours:
    return f'{hours} h {minutes} min'
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def summarise(
    logdir: str | os.PathLike, steps: int, extra: dict) -> dict[str, Any]:
  """Collects a run's figures and keeps them in its folder.

  Args:
    logdir: The run.
    steps: Environment steps that it was to take.
    extra: What only the process knows, such as the evaluation.
  """
  when, scores, wins = logdirlib.read_outcomes(logdir)
  said = wins is not None
  mean = lambda values: None if not len(values) else float(np.mean(values))
  values = scores if wins is None else wins
  windows = curves.means(when, values, steps)
  summary = {
      'measure': 'success' if said else 'return',
      'windows': [
          None if np.isnan(x) else round(float(x), 4) for x in windows],
      'at': {str(x): {
          'window': plain(windows[x // curves.WINDOW - 1]),
          'cumulative': mean(values[when <= x]),
      } for x in curves.MARKS if x <= steps},
      'last': mean(values[when > steps - curves.WINDOW]),
      'steps_to_goal': curves.steps_to(when, values, steps) if said else None,
      'episodes': len(scores),
      'return': mean(scores),
      **extra,
  }
  logdirlib.write_summary(logdir, summary)
  return summary


def plain(x: float) -> float | None:
  return None if np.isnan(x) else float(x)


def table(summary: dict, logdir: str | os.PathLike) -> str:
  """Formats what `summarise` collected for the terminal."""
  rate = lambda x: '   --' if x is None else f'{x:5.2f}'
  success = summary['measure'] == 'success'
  title = 'Success rate while training' if success else (
      'Mean return while training')
  lines = ['', f'{title:<34}window  so far']
  for mark, row in summary['at'].items():
    lines.append(
        f'  at {int(mark):>6,} steps {"":<17}'
        f'{rate(row["window"])}   {rate(row["cumulative"])}')
  if not summary['at']:
    most = f'last {curves.WINDOW:,} steps at most'
    lines.append(f'  {most:<32}{rate(summary["last"])}')
  if success and summary['windows']:
    reached = summary['steps_to_goal']
    lines.append(
        f'  first {curves.WINDOW:,}-step window at {curves.GOAL} or more: '
        + ('none' if reached is None else f'begins at {reached:,}'))
  if summary.get('alone'):
    lines += alone(summary['alone'], seeds.drawn(
        # Runs of earlier versions were all of MiniGrid, and did not say so.
        summary.get('task', 'minigrid_')))
  if 'verdict' in summary:
    lines.append(f'Advice, by comparison: {summary["verdict"]}')
  advisor = summary.get('advisor')
  if advisor:
    lines.append(
        f'Advisor {advisor["provider"]}: {calls(advisor)}, '
        f'{advisor["hit_rate"]:.1%} of look-ups from the cache, '
        f'{advisor["seconds"]:.0f} s waited')
  lines.append(f'Wall time: {duration(summary["seconds"])}')
  lines.append(f'Files: {logdir}')
  return '\n'.join(lines)


def alone(found: Mapping[str, Any], drawn: str) -> list[str]:
  """Says in lines what the agent came to without advice.

  Args:
    found: What `play.rollout.proportion` returned.
    drawn: What its episodes are called; see `seeds.drawn`.
  """
  head = f'Agent alone, {found["episodes"]} {drawn} of new seeds: '
  if found['success'] is not None:
    low, high = found['interval']
    lines = [f'{head}{found["success"]:.2f} [{low:.2f}, {high:.2f}]']
  else:
    lines = [f'{head}return {found["score"]:.2f}' + (
        f', Crafter score {found["crafter_score"]:.1f} %'
        if 'crafter_score' in found else '')]
  return lines + [f'  {words}' for words in [curves.cut(found)] if words]


def show(summary: dict, logdir: str | os.PathLike) -> None:
  """Shows how a run ended, and what to type next."""
  print(table(summary, logdir), flush=True)
  follow = 'evaluate'
  words = silence(summary)
  if words and counts.needless(summary['advisor']):
    print(words, flush=True)
  elif words:
    follow = 'doctor'
    warn(words)
  print(
      f'Next: python -m lore_plugin {follow} {shlex.quote(str(logdir))}',
      flush=True)


@contextlib.contextmanager
def building(config: elements.Config) -> Iterator[None]:
  """Says that an agent is built and compiled, and how long it took before."""
  if not watched(config) or config.random_agent or (
      not config.flat.get('jax.precompile', True)):
    yield
    return
  path = logdirlib.cache() / 'startup.json'
  parts = ('agent', 'jax', 'batch_size', 'batch_length', 'report_length')
  text = json.dumps([config.task, bool(config.lore.enabled), {
      k: v for k, v in config.flat.items() if k.split('.')[0] in parts}],
      sort_keys=True, default=str)
  key = hashlib.sha256(text.encode()).hexdigest()[:16]
  known = logdirlib.read_json(path) or {}
  took = known.get(key)
  elements.print(
      'Building and compiling the agent, ' + (
          f'which took {duration(took)} last time.' if took else
          'which takes from half a minute to some minutes.'),
      color='yellow', flush=True)
  began = time.monotonic()
  yield
  known.pop(key, None)
  # The oldest of many go.
  known = dict([*known.items(), (key, time.monotonic() - began)][-100:])
  with contextlib.suppress(OSError):  # A comfort, no more.
    path.parent.mkdir(parents=True, exist_ok=True)
    logdirlib.write_json(path, known)


def warn(words: str) -> None:
  """Says what must not be overlooked, on both outputs."""
  frame = '!' * 72
  text = f'\n{frame}\n{words}\n{frame}'
  elements.print(text, color='red', flush=True)
  if not sys.stderr.isatty():
    # Whoever keeps only the errors is to see it, too.
    with contextlib.suppress(OSError):
      print(f'lore: {words}', file=sys.stderr, flush=True)


def silence(summary: dict) -> str:
  """Says that a run which was to be advised was not, or returns ''."""
  stats = summary.get('advisor')
  if not stats or stats['answered']:
    return ''
  sole = int(stats.get('sole', 0))
  if counts.needless(stats):
    return (
        f'Nobody was asked: in {sole:,} steps there was one choice alone, and '
        'the world\'s way to it was followed.')
  failed = {
      k.removeprefix('failures_'): int(v) for k, v in stats.items()
      if k.startswith('failures_') and v}
  refused = {
      k.removeprefix('refused_'): int(v) for k, v in stats.items()
      if k.startswith('refused_') and v}
  tell = lambda x: ', '.join(f'{v:,} {k}' for k, v in sorted(x.items()))
  why = f'{calls(stats)}'
  if failed:
    why += f'; failures: {tell(failed)}'
  if refused:
    why += f'; not asked: {tell(refused)}'
  if not (failed or refused or stats['calls']):
    why += '; nothing was asked at all'
  if stats.get('failure'):
    why += f'.\nFirst failure: {stats["failure"].rstrip(".")}'
  return (
      f'NO ANSWER CAME: the advisor {stats["provider"]} advised nothing in '
      f'this run.\n{why}.' + (
          f'\nIn {sole:,} steps there was one choice alone, and nobody to '
          'ask: there the world\'s way to it was followed.' if sole else ''))
