"""A small world for comparing runs, put into upstream in the place of `dummy`.

The published upstream has no environments at all, so both runs of a
comparison call `prepare` before they call a main().
"""

import functools
import sys
import types

import elements
import embodied
import numpy as np


class Tiny(embodied.Env):
  """Walk along a line of 8 cells; the right end pays and ends the episode."""

  def __init__(self, task, **kwargs):
    self.place = 0
    self.length = 0
    self.done = True

  @property
  def obs_space(self):
    return {
        'vector': elements.Space(np.float32, 8),
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool),
        'log/place': elements.Space(np.float32),
    }

  @property
  def act_space(self):
    return {
        'action': elements.Space(np.int32, (), 0, 3),
        'reset': elements.Space(bool),
    }

  def step(self, action):
    if action['reset'] or self.done:
      self.place, self.length, self.done = 3, 0, False
      return self._obs(is_first=True)
    self.length += 1
    self.place = int(np.clip(self.place + action['action'] - 1, 0, 7))
    goal = self.place == 7
    self.done = goal or self.length >= 12
    return self._obs(float(goal), is_last=self.done, is_terminal=goal)

  def _obs(self, reward=0.0, **flags):
    return {
        'vector': np.eye(8, dtype=np.float32)[self.place],
        'reward': np.float32(reward),
        'log/place': np.float32(self.place),
        **{k: flags.get(k, False)
           for k in ('is_first', 'is_last', 'is_terminal')},
    }


def prepare():
  module = types.ModuleType('embodied.envs.dummy')
  module.Dummy = Tiny
  sys.modules['embodied.envs.dummy'] = module
  # What `lore.deterministic` does, done here once more as upstream alone is to
  # know nothing of the package.
  embodied.streams.Prefetch = embodied.streams.Map
  embodied.replay.Replay = functools.partial(
      embodied.replay.Replay, save_wait=True)
