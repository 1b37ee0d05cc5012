"""Any Gymnasium task as an environment: --task gymnasium_<ID>."""

import difflib
import functools
import importlib
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import elements
import numpy as np

from ... import errors
from .. import failing
from .. import naming
from .. import seeds as seedlib
from . import spaces

if TYPE_CHECKING:
  import gymnasium


class Gymnasium:
  """One registered Gymnasium task.

  Observations are those of the task, flat: a Dict gives one entry a key, a
  Tuple one a place, everything else is called `obs`, or `image` if it is one.
  Images are resized. `is_terminal` is termination alone, never a time limit.
  `log/success` is what the environment says in its info under `success` or
  `is_success`; tasks that say neither have no such entry.

  Args:
    task: A registered id, also in Gymnasium's form 'package:ID'.
    imports: Packages that register environments, separated by commas.
    kwargs: Keyword arguments of the environment, as a JSON object.
    size: Height and width of images in pixels.
    seed: Seed of the run, at least 0.
    index: Which of the run's environments this is, at least 0.
    heldout: Draw episodes with seeds that training never uses.

  Raises:
    EnvError: The id is not registered, the environment can't be made, or its
      spaces can't be read.
  """

  def __init__(
      self, task: str, imports: str = '', kwargs: str = '',
      size: Sequence[int] = (64, 64), seed: int = 0, index: int = 0,
      heldout: bool = False):
    self._task = task
    self._who = f'The environment of {task!r}'
    self._env = make_gym(task, imports, kwargs)
    try:
      self._read = spaces.flatten(
          self._env.observation_space, 'obs', tuple(size), task)
      self._acts, self._act = spaces.actions(self._env.action_space, task)
    except errors.EnvError:
      self._env.close()
      raise
    self._seeds = seedlib.episode_seeds(seed, index, heldout)
    self._seed: int | None = None
    self._steps = 0
    self._done = True
    self._success = self._find_success()

  @property
  def env(self) -> 'gymnasium.Env':
    """The gymnasium environment."""
    return self._env

  @property
  def action_names(self) -> tuple[str, ...]:
    """The environment's own words for its discrete actions, or ()."""
    return naming.find(self._env)

  @functools.cached_property
  def obs_space(self) -> dict[str, elements.Space]:
    return {
        **{k: space for k, (space, _) in self._read.items()},
        **({'log/success': elements.Space(np.float32)} if self._success
           else {}),
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool),
    }

  @functools.cached_property
  def act_space(self) -> dict[str, elements.Space]:
    return {**self._acts, 'reset': elements.Space(bool)}

  def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
    if action['reset'] or self._done:
      self._seed = next(self._seeds) % 2 ** 31
      self._steps, self._done = 0, False
      raw, _ = self._call('reset', seed=self._seed)
      return self._observe(raw, 0.0, {}, first=True)
    self._steps += 1
    raw, reward, terminated, truncated, info = self._call(
        'step', self._act(action))
    self._done = bool(terminated or truncated)
    return self._observe(
        raw, reward, info, last=self._done, terminal=bool(terminated))

  def render(self) -> Any:
    """Returns a picture of the task, [H, W, 3], u8; None if it has none."""
    return self._env.render()

  def close(self) -> None:
    self._env.close()

  def _find_success(self):
    """Returns the name under which the task tells success, or ''.

    Only a step shows it; every episode is reset by a seed of its own after.
    """
    self._call('reset', seed=0)
    *_, info = self._call('step', self._env.action_space.sample())
    return next((x for x in ('success', 'is_success') if x in info), '')

  def _call(self, name, *args, **kwargs):
    return failing.call(
        self._who, self._where(), getattr(self._env, name), *args, **kwargs)

  def _where(self):
    return f'step {self._steps} of the episode with seed {self._seed}'

  def _observe(
      self, raw, reward, info, first=False, last=False, terminal=False):
    obs = {k: read(raw) for k, (_, read) in self._read.items()}
    failing.check(
        self._who, self._where(), {**obs, 'reward': np.float64(reward)})
    if self._success:
      obs['log/success'] = np.float32(
          bool(np.all(info.get(self._success, False))))
    return {
        **obs,
        'reward': np.float32(reward),
        'is_first': first,
        'is_last': last,
        'is_terminal': terminal,
    }


def make_gym(
    task: str, imports: str = '', kwargs: str = '') -> 'gymnasium.Env':
  """Makes the gymnasium environment of a task; see `Gymnasium`."""
  import gymnasium
  for name in filter(None, (x.strip() for x in imports.split(','))):
    try:
      importlib.import_module(name)
    except Exception as e:
      raise errors.EnvError(
          f'env.gymnasium.imports names {name!r}, which can\'t be imported '
          f'({type(e).__name__}: {e}). Name packages that register '
          'environments, separated by commas.') from e
  arguments = _arguments(kwargs)
  if task.startswith('ALE/'):
    # It registers Atari's games when it is imported.
    try:
      importlib.import_module('ale_py')
    except ImportError as e:
      raise errors.EnvError(
          f'The task {task!r} is one of Atari\'s, which needs the package '
          f'ale_py ({e}). Type: pip install ale-py') from e
  if ':' not in task and task not in gymnasium.registry:
    close = difflib.get_close_matches(task, list(gymnasium.registry), 5, 0.4)
    raise errors.EnvError(
        f'No Gymnasium environment is registered as {task!r}. Close to it: '
        f'{", ".join(close) or "none"}. If a package of yours registers it, '
        'type --env.gymnasium.imports PACKAGE.')
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')
      return gymnasium.make(task, disable_env_checker=True, **arguments)
  except Exception as e:
    raise errors.EnvError(
        f'The Gymnasium environment {task!r} can\'t be made: '
        f'{type(e).__name__}: {e}') from e


def _arguments(text):
  try:
    found = json.loads(text or '{}')
  except ValueError as e:
    raise errors.EnvError(
        f'env.gymnasium.kwargs is {text!r}, which is no JSON: {e}. Type, for '
        'example, --env.gymnasium.kwargs \'{"is_slippery": false}\'') from e
  if not isinstance(found, dict):
    raise errors.EnvError(
        f'env.gymnasium.kwargs is {text!r}, but must be a JSON object such as '
        '\'{"is_slippery": false}\'.')
  return found
