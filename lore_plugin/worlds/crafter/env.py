"""Crafter with seeds that reach it, in symbols or as pictures.

Upstream's own environment, which a checkout has, needs pictures and draws
other worlds in each process. This one runs wherever the package `crafter` is
installed, and the same seed makes the same game.
"""

import collections
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import elements
import numpy as np

from ... import errors
from .. import seeds
from . import sight

TASKS = ('reward', 'noreward')
OBS = ('symbolic', 'image')
FACING = ((-1, 0), (1, 0), (0, -1), (0, 1))


class Crafter:
  """One game of Crafter an episode.

  Observations, besides `reward`, `is_first`, `is_last` and `is_terminal`:

  - `materials`, `objects`: The cells of the view, for `obs='symbolic'`; see
    `sight.Sight`. Shape [63], i32.
  - `inventory`: How much the player owns of each item, in the game's order.
    Shape [16], i32 in [0, 9].
  - `facing`: Which way it looks: left, right, up, down. Shape [], i32.
  - `sleeping`: Whether it sleeps. Shape [], i32.
  - `image`: The picture, for `obs='image'`. Shape [*size, 3], u8.
  - `log/achievement_<name>`: 1 from the step on at which it was unlocked in
    this episode, else 0. Of these the score of an agent is made.
  - `log/unlocked`: How many were unlocked in this episode.

  An episode that reaches its time limit ends without `is_terminal`.

  Args:
    task: 'reward', or 'noreward' for a game whose rewards are all 0.
    obs: 'symbolic' or 'image'.
    size: Height and width of the image in pixels.
    length: Steps after which an episode ends.
    seed: Seed of the run, at least 0.
    index: Which of the run's environments this is, at least 0.
    heldout: Draw worlds with seeds that training never uses.

  Raises:
    EnvError: The task does not exist, an argument is out of range, or the
      package is not installed.
  """

  def __init__(
      self, task: str = 'reward', obs: str = 'symbolic',
      size: Sequence[int] = (64, 64), length: int = 10000, seed: int = 0,
      index: int = 0, heldout: bool = False):
    for value, allowed, what in (
        (task, TASKS, 'Crafter task'), (obs, OBS, 'obs')):
      errors.choose(value, allowed, what, errors.EnvError)
    self._obs = obs
    self._seeds = seeds.episode_seeds(seed, index, heldout)
    self._env = make(tuple(size), task == 'reward', int(length))
    if obs == 'symbolic':
      # Nobody looks at the pictures, which take most of the time of a step.
      self._env.render = lambda *args, **kwargs: None
    self._env._sem_view = lambda: None
    self._names = tuple(self._env.action_names)
    self._items: tuple[str, ...] = ()
    self._done = True
    self._env.reset()
    self._items = tuple(self._env._player.inventory)
    self._achievements = tuple(self._env._player.achievements)

  @property
  def env(self) -> Any:
    """The simulator."""
    return self._env

  @property
  def action_names(self) -> tuple[str, ...]:
    """The game's words for its actions."""
    return self._names

  @functools.cached_property
  def obs_space(self) -> dict[str, elements.Space]:
    cells = (sight.WIDE * sight.HIGH,)
    spaces = {
        'materials': elements.Space(
            np.int32, cells, 0, len(sight.MATERIALS)),
        'objects': elements.Space(np.int32, cells, 0, len(sight.OBJECTS)),
        'inventory': elements.Space(np.int32, (len(self._items),), 0, 10),
        'facing': elements.Space(np.int32, (), 0, len(FACING)),
        'sleeping': elements.Space(np.int32, (), 0, 2),
    } if self._obs == 'symbolic' else {
        'image': elements.Space(
            np.uint8, self._env.observation_space.shape)}
    logs = ('unlocked', *(f'achievement_{x}' for x in self._achievements))
    return {
        **spaces,
        **{f'log/{x}': elements.Space(np.float32) for x in logs},
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool),
    }

  @functools.cached_property
  def act_space(self) -> dict[str, elements.Space]:
    return {
        'action': elements.Space(np.int32, (), 0, len(self._names)),
        'reset': elements.Space(bool),
    }

  def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
    if action['reset'] or self._done:
      self._done = False
      # The simulator's own seed, and how many episodes it has played.
      self._env._seed, self._env._episode = next(self._seeds), 0
      image = self._env.reset()
      return self._observe(image, 0.0, first=True)
    image, reward, self._done, info = self._env.step(int(action['action']))
    return self._observe(
        image, reward, last=self._done, terminal=info['discount'] == 0)

  def render(self, size: Sequence[int] = (256, 256)) -> np.ndarray:
    """Returns a picture of the game. Shape [*size, 3], u8."""
    return type(self._env).render(self._env, np.array(size))

  def close(self) -> None:
    pass

  def _observe(self, image, reward, first=False, last=False, terminal=False):
    if self._obs == 'image':
      obs = {'image': image}
    else:
      seen = sight.see(self._env)
      obs = {
          'materials': seen.materials.reshape(-1).astype(np.int32),
          'objects': seen.objects.reshape(-1).astype(np.int32),
          'inventory': np.array(
              [seen.inventory[x] for x in self._items], np.int32),
          'facing': np.int32(FACING.index(seen.facing)),
          'sleeping': np.int32(seen.sleeping)}
    done = self._env._player.achievements
    logs = {
        f'log/achievement_{k}': np.float32(v > 0) for k, v in done.items()}
    return {
        **obs, **logs,
        'log/unlocked': np.float32(sum(v > 0 for v in done.values())),
        'reward': np.float32(reward),
        'is_first': first,
        'is_last': bool(last),
        'is_terminal': bool(terminal),
    }


def make(size: tuple[int, ...], reward: bool, length: int) -> Any:
  """Makes the simulator, repaired so that a seed determines the game.

  As published it keeps what lives in a part of the world in a set, and walks
  through it in the order of addresses in memory.

  Raises:
    EnvError: The package is not installed, or fails.
  """
  try:
    import crafter
  except ImportError as e:
    raise errors.EnvError(
        f'Crafter needs the package crafter, which can\'t be imported ({e}). '
        'Type: pip install crafter') from e
  env = crafter.Env(size=size, reward=reward, length=length, seed=0)
  kind: Any = type(env._world)
  env._world.__class__ = _ordered(kind)
  return env


@functools.cache
def _ordered(world):
  """Returns the simulator's class of worlds, with things in their order."""
  class Ordered(world):

    def reset(self, seed=None):
      super().reset(seed)
      self._chunks = collections.defaultdict(Things)

  return Ordered


class Things(dict):
  """What a set does for the simulator, in the order of insertion."""

  def add(self, thing: Any) -> None:
    self[thing] = None

  def remove(self, thing: Any) -> None:
    del self[thing]
