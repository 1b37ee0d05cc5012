"""What a user sees of a run: a status line while it trains, a table after."""

import json
import math
import pathlib
import time

import elements
import numpy as np

from . import worlds

WINDOW = 1000
MARKS = (6000, 8000, 10000)
GOAL = 0.9
# Episodes that a window needs before its rate counts as reached. Failures end
# late: the first to end in a run are the lucky ones.
ENOUGH = 10


def attach(logger, config):
  """Adds the status line to upstream's logger, for runs that are ours."""
  if watched(config):
    logger.outputs.append(StatusOutput(logger.step, config.run.steps))
  return logger


def watched(config):
  """Whether a run is ours to comment: advised, or on our environments."""
  return config.lore.enabled or worlds.has_heldout(config.task)


class StatusOutput:
  """A logger output that prints one line about how the run is doing.

  Args:
    step: Upstream's step counter.
    total: Environment steps at which the run ends.
    clock: Returns seconds; replaced in tests.
  """

  FIELDS = (
      ('beta', 'epstats/log/lore_beta/avg', '{:.2f}'),
      ('KL', 'train/lore/kl', '{:.3f}'),
      ('lambda', 'train/lore/lambda', '{:.3f}'),
      ('calls', 'train/advisor/calls', '{:.0f}'),
      ('hits', 'train/advisor/hit_rate', '{:.1%}'),
  )

  UPLIFT = tuple(
      f'train/lore/{x}' for x in ('uplift', 'uplift_low', 'uplift_high'))
  SURE = 'train/lore/uplift_sure'

  def __init__(self, step, total, clock=time.monotonic):
    self.step = step
    self.total = total
    self.clock = clock
    self.start = None
    self.episodes = []
    self.last = {}

  def __call__(self, summaries):
    for step, name, value in summaries:
      if name == 'episode/score':
        self.episodes.append((step, float(value)))
      elif np.ndim(value) == 0 and not isinstance(value, str):
        self.last[name] = float(value)
    elements.print(self.line(), color='cyan', flush=True)

  def line(self):
    step, now = int(self.step), self.clock()
    # A resumed run starts in the middle; its speed counts from there.
    self.start = self.start or (step, now)
    parts = [
        f'{step:,}/{self.total:,.0f} steps', f'ETA {self._eta(step, now)}']
    recent = [s > 0 for t, s in self.episodes if t > step - WINDOW]
    if recent:
      parts.append(f'success {np.mean(recent):.2f} (last {WINDOW:,} steps)')
    parts += [
        f'{label} {form.format(self.last[key])}'
        for label, key, form in self.FIELDS if key in self.last]
    if all(x in self.last for x in self.UPLIFT):
      parts.append('advice ' + verdict(
          *(self.last[x] for x in self.UPLIFT),
          sure=self.last.get(self.SURE, 0) > 0.5))
    return '[LoRe] ' + ', '.join(parts)

  def _eta(self, step, now):
    done, took = step - self.start[0], now - self.start[1]
    if done <= 0 or took <= 0:
      return '--'
    return duration((self.total - step) * took / done)


def read_episodes(logdir):
  """Reads the training episodes of a run, as upstream's logger wrote them.

  A run that was killed repeats the steps since its last checkpoint. What it
  wrote about them the first time is dropped.

  Returns:
    steps: Environment step at which each episode ended; increasing. [N], i64.
    scores: Return of each episode. [N], f64.
  """
  rows = []
  for name in ('scores.jsonl', 'metrics.jsonl'):
    path = pathlib.Path(logdir) / name
    if not path.exists():
      continue
    for line in path.read_text(encoding='utf-8').splitlines():
      try:
        row = json.loads(line)
      except ValueError:
        continue  # A line that the process died in.
      if 'episode/score' in row:
        while rows and rows[-1][0] >= row['step']:
          rows.pop()
        rows.append((row['step'], row['episode/score']))
    break
  steps, scores = zip(*rows) if rows else ((), ())
  return np.array(steps, np.int64), np.array(scores, np.float64)


def windows(steps, scores, end, width=WINDOW):
  """Success rate of each window of environment steps.

  Args:
    steps: Steps at which episodes ended. [N], i64.
    scores: Their returns; above 0 is a success. [N], f64.
    end: Environment steps of the run.
    width: Steps a window spans; window k is (k * width, (k + 1) * width].

  Returns:
    Rate of each whole window; nan where no episode ended. [end // width], f64.
  """
  index = (np.asarray(steps) - 1) // width
  wins = np.asarray(scores) > 0
  return np.array([
      wins[index == k].mean() if (index == k).any() else np.nan
      for k in range(int(end) // width)])


def cumulative(steps, scores, end):
  """Success rate of all episodes that ended by a step; nan if none did."""
  done = np.asarray(steps) <= end
  return (np.asarray(scores)[done] > 0).mean() if done.any() else np.nan


def steps_to(steps, scores, end, goal=GOAL, width=WINDOW):
  """First step of the first window that reaches the goal, or None.

  Windows with fewer than 10 episodes are passed over.

  Args:
    steps: Steps at which episodes ended. [N], i64.
    scores: Their returns; above 0 is a success. [N], f64.
    end: Environment steps of the run.
    goal: Success rate to reach, in [0, 1].
    width: Steps a window spans.
  """
  rates = windows(steps, scores, end, width)
  counts = np.bincount(
      (np.asarray(steps, int) - 1) // width, minlength=len(rates))
  hits = np.flatnonzero((rates >= goal) & (counts[:len(rates)] >= ENOUGH))
  return int(hits[0]) * width if len(hits) else None


def wilson(successes, count, z=1.959964):
  """Wilson score interval of a proportion.

  Source: Wilson 1927, Probable inference, eq. 5. Covers 95 % by default.

  Args:
    successes: Number of successes, in [0, count].
    count: Number of trials, at least 1.
    z: Normal quantile of the confidence level.

  Returns:
    Lower and upper bound in [0, 1].
  """
  p, zz = successes / count, z * z / count
  centre = (p + zz / 2) / (1 + zz)
  half = z * math.sqrt(p * (1 - p) / count + zz / count / 4) / (1 + zz)
  return max(0.0, centre - half), min(1.0, centre + half)


def verdict(estimate, low, high, since=None, sure=True):
  """Says in words what an uplift and its interval show.

  Args:
    estimate: Return of advised less that of unadvised episodes.
    low: Lower end of its interval of 95 %.
    high: Upper end.
    since: Environment step at which the verdict became this one, if known.
    sure: Whether a wider interval, fit for looking after every episode, says
      so too. Of many looks at 95 % some are wrong.
  """
  interval = f'{estimate:+.2f} [{low:+.2f}, {high:+.2f}]'
  if low > 0:
    return f'{"helps" if sure else "may help"}: {interval}'
  if high < 0:
    off = '' if since is None else f', switched off at step {since:,}'
    word = f'harmful{off}' if sure else 'may do harm'
    return f'{word}: {interval}'
  return f'no effect shown: {interval}'


def duration(seconds):
  """Writes a time span: 75 -> '1 min 15 s'."""
  seconds = int(round(seconds))
  hours, rest = divmod(seconds, 3600)
  minutes, seconds = divmod(rest, 60)
  if hours:
    return f'{hours} h {minutes} min'
  return f'{minutes} min {seconds} s' if minutes else f'{seconds} s'


def summarise(logdir, steps, extra):
  """Collects a run's figures and keeps them as <logdir>/summary.json.

  Args:
    logdir: The run.
    steps: Environment steps that it was to take.
    extra: What only the process knows, such as the evaluation.
  """
  when, scores = read_episodes(logdir)
  rates = windows(when, scores, steps)
  summary = {
      'windows': [None if np.isnan(x) else round(float(x), 4) for x in rates],
      'at': {str(x): {
          'window': _plain(rates[x // WINDOW - 1]),
          'cumulative': _plain(cumulative(when, scores, x)),
      } for x in MARKS if x <= steps},
      'steps_to_goal': steps_to(when, scores, steps),
      'episodes': len(scores),
      **extra,
  }
  path = pathlib.Path(logdir) / 'summary.json'
  path.write_text(json.dumps(summary, indent=2) + '\n', encoding='utf-8')
  return summary


def _plain(x):
  return None if np.isnan(x) else float(x)


def table(summary, logdir):
  """Formats what `summarise` collected for the terminal."""
  rate = lambda x: '   --' if x is None else f'{x:5.2f}'
  lines = ['', f'{"Success rate while training":<34}window  so far']
  for mark, row in summary['at'].items():
    lines.append(
        f'  at {int(mark):>6,} steps {"":<17}'
        f'{rate(row["window"])}   {rate(row["cumulative"])}')
  reached = summary['steps_to_goal']
  lines.append(
      f'  first {WINDOW:,}-step window at {GOAL} or more: ' + (
          'none' if reached is None else f'begins at {reached:,}'))
  alone = summary.get('alone')
  if alone:
    low, high = alone['interval']
    lines.append(
        f'Agent alone, {alone["episodes"]} held-out layouts: '
        f'{alone["success"]:.2f} [{low:.2f}, {high:.2f}]')
  if 'verdict' in summary:
    lines.append(f'Advice, by comparison: {summary["verdict"]}')
  advisor = summary.get('advisor')
  if advisor:
    lines.append(
        f'Advisor {advisor["provider"]}: {advisor["calls"]:.0f} calls, '
        f'{advisor["hit_rate"]:.1%} of look-ups from the cache, '
        f'{advisor["seconds"]:.0f} s waited')
  lines.append(f'Wall time: {duration(summary["seconds"])}')
  lines.append(f'Files: {logdir}')
  return '\n'.join(lines)
