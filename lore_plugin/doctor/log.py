"""What a run has left in its logdir, whether it has finished or not."""

import dataclasses
import json
import os

import numpy as np

from .. import errors
from .. import logdir as logdirlib
from ..upstream import checkpoint


@dataclasses.dataclass
class Log:
  """What a run has left in its logdir.

  Attributes:
    config: Its configuration, keys joined by dots.
    rows: Rows of metrics.jsonl with increasing `step`.
    steps: Steps at which training episodes ended. Shape [E], i64.
    scores: Their returns. Shape [E], f64.
    journal: Its episodes with and without advice; see `read_episodes`.
    summary: summary.json, or None.
    broken: Lines that could not be read.
    ahead: What `logdir.ahead` says of its newest checkpoint, or ''.
  """
  config: dict
  rows: list
  steps: np.ndarray
  scores: np.ndarray
  journal: list
  summary: dict | None = None
  broken: int = 0
  ahead: str = ''

  def series(self, key: str) -> np.ndarray:
    """Returns steps and finite values of a metric. Each [N], f64."""
    points = [
        (x['step'], x[key]) for x in self.rows
        if isinstance(x.get(key), (int, float)) and np.isfinite(x[key])]
    return np.array(points, np.float64).reshape(-1, 2).T

  def last(self, key: str) -> float | None:
    """Returns the last value of a metric, or None."""
    _, values = self.series(key)
    return float(values[-1]) if len(values) else None

  @property
  def advised(self) -> bool:
    return bool(self.config.get('lore.enabled'))

  @property
  def end(self) -> int:
    """The last step that anything was logged of."""
    return int(max(
        [x['step'] for x in self.rows[-1:]] + self.steps[-1:].tolist() + [0]))


def read(logdir: str | os.PathLike) -> Log:
  """Reads what a run has left, also if it is under way or was killed.

  Raises:
    ConfigError: There is nothing to examine.
  """
  logdir = logdirlib.expand(logdir)
  if not logdir.is_dir():
    raise errors.ConfigError(
        f'{str(logdir)!r} is not a folder. Give the --logdir of a run, or '
        'nothing to examine the installation.')
  names = {x.name for x in logdir.iterdir()}
  if 'config.yaml' not in names:
    inner = sorted(x.parent for x in logdir.glob('*/config.yaml'))
    hint = f' Runs are inside of it, such as {inner[0]}.' if inner else ''
    raise errors.ConfigError(
        f'{logdir} has no config.yaml, so no run has begun there'
        + (': it is empty.' if not names else '.') + hint)
  config = _config(logdir / 'config.yaml')
  if not names & {'metrics.jsonl', 'scores.jsonl'}:
    raise errors.ConfigError(
        f'{logdir} has neither metrics.jsonl nor scores.jsonl: the run has '
        'logged nothing yet, or its logger.outputs lack jsonl.')
  steps, scores, _ = logdirlib.read_outcomes(logdir)
  return Log(
      config, logdirlib.read_metrics(logdir), steps, scores,
      [x for x in logdirlib.read_episodes(logdir) if x['advised'] is not None],
      logdirlib.read_summary(logdir),
      sum(_broken(logdir / x) for x in names if x.endswith('.jsonl')),
      logdirlib.ahead(
          logdir, _saved(logdir, str(config.get('script', 'train')))))


def _saved(logdir, script):
  """Returns the step of the newest checkpoint, None if that is unknown."""
  try:
    return checkpoint.reached(logdir, script)
  except (errors.LoreError, OSError):
    return None


def _config(path):
  import elements
  import ruamel.yaml
  try:
    data = ruamel.yaml.YAML(typ='safe').load(path.read_text())
    return dict(elements.Config(data).flat)
  except Exception as e:
    raise errors.ConfigError(
        f'Can\'t read {path}: {type(e).__name__}. It may be half written; '
        'start the run again with the same --logdir.') from e


def _broken(path):
  """Counts lines that are no JSON."""
  count = 0
  text = path.read_text(encoding='utf-8', errors='replace')
  for line in text.splitlines():
    try:
      json.loads(line)
    except ValueError:
      count += 1
  return count
