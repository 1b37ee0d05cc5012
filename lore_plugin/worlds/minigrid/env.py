"""MiniGrid and BabyAI tasks as an `embodied.Env`, with their state in words.

The agent gets what MiniGrid shows it, its partial view and its compass, and
nothing of the full grid. What it did well or badly is counted in `log/`
entries, which reach the logger and never the agent.
"""

import contextlib
import functools
import io
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import elements
import numpy as np

from ... import errors
from .. import failing
from .. import seeds
from ..base import World, describe
from . import tasks
from .world import MiniGridWorld

if TYPE_CHECKING:
  import gymnasium

DOOR = 4
MISSION_UNITS = 64
LOGS = ('success', 'steps', 'key_taken', 'door_opened', 'invalid_action')


class MiniGrid:
  """One MiniGrid task.

  Observations, besides `reward`, `is_first`, `is_last` and `is_terminal`:

  - `grid`: The agent's view of V x V cells, for `obs='symbolic'`. Row by row
    as MiniGrid stores it; the carried object stands in the agent's own cell.
    Shape [V * V * 3], i32.
  - `image`: The same view as pixels, for `obs='image'`. Shape [*size, 3], u8.
  - `direction`: The compass, 0 to 3 for right, down, left, up. Shape [], i32.
  - `mission`: Hashed bag of the mission's words; only in tasks whose mission
    varies between episodes. Shape [64], f32.
  - `lore/state`: The view in words, if `text_bytes` is set. Shape
    [text_bytes], u8.
  - `log/success`, `log/key_taken`, `log/door_opened`, `log/invalid_action`: 1
    on the steps where it happened, else 0. `log/steps`: actions so far.

  An episode that reached the time limit ends without `is_terminal`.

  Args:
    task: 'DoorKey-5x5', 'BabyAI-GoToRedBall-v0' or any registered id.
    obs: 'symbolic' or 'image'.
    size: Height and width of the image in pixels.
    view: Width of the agent's view in cells; odd and at least 3.
    seed: Seed of the run, at least 0.
    index: Which of the run's environments this is, at least 0.
    heldout: Draw layouts with seeds that training never uses.
    text_bytes: Room for the state in words, or 0 for none.
    world: Class of the world that finds the words.
    steps: Whether to say how each choice begins, see `base.describe`.

  Raises:
    EnvError: The task does not exist, is no MiniGrid task or has no single
      discrete action; or an argument is out of range.
  """

  def __init__(
      self, task: str, obs: str = 'symbolic', size: Sequence[int] = (64, 64),
      view: int = 7, seed: int = 0, index: int = 0, heldout: bool = False,
      text_bytes: int = 0, world: type[World] = MiniGridWorld,
      steps: bool = False):
    errors.choose(
        obs, ('symbolic', 'image'), 'env.minigrid.obs', errors.EnvError)
    if view < 3 or view % 2 == 0:
      raise errors.EnvError(
          f'The view is {view} cells wide. It must be odd and at least 3. '
          f'Set --env.minigrid.view 7.')
    if obs == 'image' and min(size) < view:
      raise errors.EnvError(
          f'Images of {tuple(size)} pixels cannot show {view} cells. '
          f'Set --env.minigrid.size 64 64.')
    self._env = tasks.make_gym(task)
    self._inner = self._env.unwrapped
    self._sizes = tasks.sizes()
    self._inner.agent_view_size = view
    self._task = task
    self._who = f'The environment of {task!r}'
    self._obs = obs
    self._size = tuple(size)
    self._view = view
    self._seeds = seeds.episode_seeds(seed, index, heldout)
    self._text_bytes = int(text_bytes or 0)
    self._varies = tasks.mission_varies(self._inner)
    self._done = True
    self._raw: Any = None
    self._seed, self._count = 0, 0  # Where the episode is.
    self._world: Any = self._text_bytes and world(self._inner, task)
    self._steps = steps
    # What is missing, or does not fit, is an error before the run, not in it.
    try:
      self._reset(0)
    except errors.EnvError as e:
      if not isinstance(e.__cause__, (ImportError, FileNotFoundError)):
        raise
      raise errors.EnvError(
          f'The task {task!r} lacks something that this copy of its package '
          f'came without: {e.__cause__}. Install that, or choose another '
          f'task: {tasks.EXAMPLE}') from e
    if self._world:
      self._words(None)

  @property
  def env(self) -> 'gymnasium.Env':
    """The gymnasium environment."""
    return self._env

  @property
  def raw(self) -> dict[str, Any]:
    """What MiniGrid showed last: a dict of image, direction and mission."""
    return self._raw

  @functools.cached_property
  def obs_space(self) -> dict[str, elements.Space]:
    spaces = {}
    if self._obs == 'image':
      spaces['image'] = elements.Space(np.uint8, (*self._size, 3))
    else:
      spaces['grid'] = elements.Space(
          np.int32, (self._view * self._view * 3,), 0, max(self._sizes))
    spaces['direction'] = elements.Space(np.int32, (), 0, 4)
    if self._varies:
      spaces['mission'] = elements.Space(np.float32, (MISSION_UNITS,))
    if self._text_bytes:
      spaces['lore/state'] = elements.Space(np.uint8, (self._text_bytes,))
    for key in LOGS:
      spaces[f'log/{key}'] = elements.Space(np.float32)
    return {
        **spaces,
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool),
    }

  @functools.cached_property
  def act_space(self) -> dict[str, elements.Space]:
    return {
        'action': elements.Space(
            np.int32, (), 0, int(self._env.action_space.n)),
        'reset': elements.Space(bool),
    }

  def step(self, action: Mapping[str, Any]) -> dict[str, Any]:
    if action['reset'] or self._done:
      self._done = False
      self._reset(next(self._seeds))
      return self._observe(
          0.0, {}, None, first=True, last=False, terminal=False)
    act = int(action['action'])
    before = self._facts()
    self._count += 1
    self._raw, reward, terminated, truncated, info = failing.call(
        self._who, self._where(), self._env.step, act)
    failing.check(
        self._who, self._where(), {'reward': np.float64(reward)})
    self._done = terminated or truncated
    logs = self._compare(act, before, self._facts())
    # MiniGrid rewards what it asks for, and then ends; others may say more.
    if info.get('success', info.get('is_success', terminated and reward > 0)):
      logs['success'] = 1
    return self._observe(
        reward, logs, act, first=False, last=self._done,
        terminal=bool(terminated))

  def render(self) -> np.ndarray:
    """Returns the agent's view as pixels. Shape [*size, 3], u8."""
    height, width = self._size
    tile = min(height, width) // self._view
    image = np.zeros((height, width, 3), np.uint8)
    top, left = ((x - tile * self._view) // 2 for x in (height, width))
    image[top:top + tile * self._view, left:left + tile * self._view] = (
        self._inner.get_pov_render(tile))
    return image

  def close(self) -> None:
    self._env.close()

  def _where(self):
    return f'step {self._count} of the episode with seed {self._seed}'

  def _reset(self, seed):
    self._seed, self._count = seed, 0
    # Some BabyAI levels print each layout that they reject.
    with contextlib.redirect_stdout(io.StringIO()):
      self._raw, _ = failing.call(
          self._who, self._where(), self._env.reset, seed=seed)

  def _words(self, action):
    """Returns the state in words. Shape [text_bytes], u8."""
    if action is None:
      self._world.reset()
    situation = failing.call(
        f'The world {self._world.version}', self._where(),
        self._world.observe, self._raw, action)
    return describe(situation, self._world, self._steps).encode(
        self._text_bytes)

  def _observe(self, reward, logs, action, first, last, terminal):
    obs = {}
    if self._obs == 'image':
      obs['image'] = self.render()
    else:
      obs['grid'] = encode_view(self._raw['image'], self._sizes)
    obs['direction'] = np.int32(self._raw['direction'])
    if self._varies:
      obs['mission'] = encode_mission(self._raw['mission'])
    if self._text_bytes:
      obs['lore/state'] = self._words(action)
    logs = {'steps': self._inner.step_count, **logs}
    for key in LOGS:
      obs[f'log/{key}'] = np.float32(logs.get(key, 0))
    return {
        **obs,
        'reward': np.float32(reward),
        'is_first': first,
        'is_last': bool(last),
        'is_terminal': terminal,
    }

  def _facts(self):
    """Where the agent is, what it carries and what is in front of it."""
    env = self._inner
    front = env.grid.get(*env.front_pos)
    return (
        tuple(env.agent_pos), env.agent_dir, env.carrying,
        front and front.encode())

  def _compare(self, act, before, after):
    """Returns the log entries of one step."""
    logs = {}
    (pos0, dir0, hand0, front0), (pos1, dir1, hand1, front1) = before, after
    if before == after:
      logs['invalid_action'] = 1
    if hand1 and not hand0:
      logs['key_taken'] = hand1.type == 'key'
    if (pos0, dir0) == (pos1, dir1):
      doors = [x and x[0] == DOOR for x in (front0, front1)]
      if all(doors) and front0[2] != 0 and front1[2] == 0:
        logs['door_opened'] = 1
    return logs


def encode_view(image: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
  """Turns MiniGrid's view into the vector that the agent reads.

  Its numbers stay classes, which upstream turns into one-hot vectors and
  reconstructs as categories. A number that no table names counts as the
  last one that some table does.

  Args:
    image: Object, colour and state of each cell. Shape [V, V, 3], u8.
    sizes: How many objects, colours and states there are.

  Returns:
    Shape [V * V * 3], i32, each below the number of objects.
  """
  return np.minimum(image.reshape(-1), max(sizes) - 1).astype(np.int32)


def encode_mission(mission: str) -> np.ndarray:
  """Returns counts of the mission's words and word pairs, by hash.

  The order of words is kept only as far as pairs tell it, and two words may
  share an entry; a task whose missions differ in no other way looks the same.

  Args:
    mission: The task in words.

  Returns:
    Counts. Shape [64], f32.
  """
  words = mission.lower().replace(',', ' ').split()
  out = np.zeros(MISSION_UNITS, np.float32)
  for word in [*words, *(' '.join(x) for x in zip(words, words[1:]))]:
    out[zlib.crc32(word.encode('utf-8')) % MISSION_UNITS] += 1
  return out
