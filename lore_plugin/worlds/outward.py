"""Gymnasium's interface around what is ours, for agents of others.

`wrap` adds words and choices to a Gymnasium environment; `Episodes` is a task
of LoRe as a Gymnasium environment.
"""

import types
from collections.abc import Callable
from typing import Any, SupportsFloat

import elements
import gymnasium
import numpy as np

from .. import errors
from . import base
from . import check
from . import naming
from . import registry
from .gymnasium import spaces

# What MiniGrid shows, and its worlds read.
VIEW = ('image', 'direction', 'mission')
Maker = Callable[[object, str], base.World]


def wrap(
    env: gymnasium.Env, world: str | Maker = 'auto',
    task: str = '') -> 'Worded':
  """Adds a state in words, and choices, to a Gymnasium environment.

  Observations, actions and rewards stay as they are. Each info has an entry
  `situation`: a `Situation` with a question (mission, facts, choices) and for
  each choice the actions that begin it.

  Args:
    env: The environment; one discrete action. Wrappers that change what is
      observed, as of pixels, go around the result.
    world: As `--lore.world`: 'auto', a name or 'package.module:Class'; or a
      `World` class.
    task: The task's name, for the world; '' is the environment's own.

  Raises:
    ConfigError: There is no such world, or it can't read this environment.
    EnvError: The actions or observations can't be advised on.
  """
  return Worded(env, world, task)


class Worded(gymnasium.Wrapper):
  """See `wrap`.

  Attributes:
    world: The world.
    situation: The situation of the last step; None before the first reset.
  """

  def __init__(
      self, env: gymnasium.Env, world: str | Maker = 'auto', task: str = ''):
    super().__init__(env)
    inner = env.unwrapped
    task = task or (env.spec.id if env.spec else type(inner).__name__)
    if not isinstance(env.action_space, gymnasium.spaces.Discrete):
      raise errors.EnvError(
          f'The actions of {task!r} are {env.action_space}. LoRe advises '
          'tasks with a single discrete action: gymnasium.spaces.Discrete.')
    minigrid = any(x.__name__ == 'MiniGridEnv' for x in type(inner).__mro__)
    if minigrid:
      found = getattr(env.observation_space, 'spaces', {})
      if missing := [x for x in VIEW if x not in found]:
        raise errors.EnvError(
            f'{task!r} shows no {", ".join(missing)}, which its words are '
            'made of. Wrap it before other wrappers: '
            'FlatObsWrapper(lore_plugin.wrap(env)).')
    make: Maker = registry.choose(
        world, 'minigrid' if minigrid else '') if isinstance(
            world, str) else world
    self._start = int(env.action_space.start)
    self._read = None if minigrid else spaces.flatten(
        env.observation_space, 'obs', (64, 64), task)
    self.world = make(inner if minigrid else _seen(env, task), task)
    self.situation: base.Situation | None = None

  def reset(
      self, *, seed: int | None = None,
      options: dict | None = None) -> tuple[Any, dict[str, Any]]:
    obs, info = self.env.reset(seed=seed, options=options)
    self.world.reset()
    return obs, self._note(obs, info, None)

  def step(self, action: Any) -> tuple[
      Any, SupportsFloat, bool, bool, dict[str, Any]]:
    obs, reward, ended, cut, info = self.env.step(action)
    info = self._note(
        obs, info, int(action) - self._start, float(reward), ended, cut)
    return obs, reward, ended, cut, info

  def _note(self, obs, info, action, reward=0.0, ended=False, cut=False):
    seen = self._show(obs, action is None, reward, ended, cut)
    self.situation = self.world.observe(seen, action)
    return {**info, 'situation': self.situation}

  def _show(self, obs, first, reward=0.0, ended=False, cut=False):
    """Returns what the world is shown of a step, as in training."""
    if self._read is None:
      return obs
    return {
        **{k: read(obs) for k, (_, read) in self._read.items()},
        'reward': np.float32(reward), 'is_first': first,
        'is_last': bool(ended or cut), 'is_terminal': bool(ended)}

  def check(self, **kwargs: Any) -> list[list[base.Situation]]:
    """Plays episodes and asserts that the world keeps its promises.

    Args:
      **kwargs: See `check_world`: seeds, steps, size.

    Returns:
      The situations of all episodes, one list each.
    """
    return check.check_world(self.world, _Shown(self), **kwargs)


class _Shown:
  """What `check_world` plays: observations as the world is shown them."""

  def __init__(self, worded):
    self.worded = worded

  def reset(self, *, seed):
    obs, info = self.worded.env.reset(seed=seed)
    return self.worded._show(obs, True), info

  def step(self, action):
    worded = self.worded
    obs, reward, ended, cut, info = worded.env.step(action + worded._start)
    seen = worded._show(obs, False, reward, ended, cut)
    return seen, reward, ended, cut, info


def _seen(env, task):
  """Returns what a world may read of an environment, named as in training."""
  read = spaces.flatten(env.observation_space, 'obs', (64, 64), task)
  acts, _ = spaces.actions(env.action_space, task)
  return types.SimpleNamespace(
      obs_space={k: space for k, (space, _) in read.items()}, act_space=acts,
      action_names=naming.find(env), env=env,
      unwrapped=env.unwrapped)


class Episodes(gymnasium.Env):
  """A task of LoRe, or of upstream, as a Gymnasium environment.

  Observations are all that the agent gets, `reward`, `is_first`, `is_last`
  and `is_terminal` included. Infos hold what is logged: `success`.

  Args:
    make: Makes the environment of a seed: make(seed).
    seed: Seed with which it begins.
  """

  def __init__(self, make: Callable[[int], Any], seed: int):
    self._make = make
    self._env = make(seed)
    self.observation_space = gymnasium.spaces.Dict({
        k: outward(v) for k, v in self._env.obs_space.items()
        if not k.startswith('log/')})
    acts = {k: v for k, v in self._env.act_space.items() if k != 'reset'}
    self._single = list(acts) == ['action']
    self.action_space = outward(acts['action']) if self._single else (
        gymnasium.spaces.Dict({k: outward(v) for k, v in acts.items()}))
    self._idle = {k: np.zeros(v.shape, v.dtype) for k, v in acts.items()}

  def reset(
      self, *, seed: int | None = None,
      options: dict | None = None) -> tuple[Any, dict[str, Any]]:
    super().reset(seed=seed)
    if seed is not None:
      self._env.close()
      self._env = self._make(seed)
    obs, info = self._split(self._env.step({**self._idle, 'reset': True}))
    return obs, info

  def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
    acts = {'action': np.asarray(
        action, self._idle['action'].dtype)} if self._single else action
    obs, info = self._split(self._env.step({**acts, 'reset': False}))
    ended = bool(obs['is_terminal'])
    cut = bool(obs['is_last']) and not ended
    return obs, float(obs['reward']), ended, cut, info

  def _split(self, step):
    logs = {
        k.removeprefix('log/'): v if np.ndim(v) else float(v)
        for k, v in step.items() if k.startswith('log/')}
    obs = {}
    for key, space in self.observation_space.items():
      # Gymnasium has classes as numbers, everything else as arrays.
      value = np.asarray(step[key], space.dtype)
      whole = isinstance(space, gymnasium.spaces.Discrete)
      obs[key] = value[()] if whole else value
    return obs, logs

  def render(self) -> Any:
    return self._env.render()

  def close(self) -> None:
    self._env.close()


def outward(space: elements.Space) -> gymnasium.Space:
  """Returns one of upstream's spaces as Gymnasium's."""
  if space.discrete and not space.shape and np.issubdtype(
      space.dtype, np.integer):
    return gymnasium.spaces.Discrete(int(space.classes))
  if space.dtype == bool:
    return gymnasium.spaces.Box(0, 1, space.shape, np.int8)
  low, high = np.asarray(space.low), np.asarray(space.high)
  if np.issubdtype(space.dtype, np.integer):
    # Exclusive, but for the greatest number that there is.
    high = np.where(high == np.iinfo(space.dtype).max, high, high - 1)
  return gymnasium.spaces.Box(
      low.astype(space.dtype), high.astype(space.dtype), space.shape,
      space.dtype.type)
