"""Environments to play in, and steps in them."""

import elements
import embodied
import numpy as np


def act(env, action=0, reset=False):
  return env.step({'action': np.int32(action), 'reset': reset})


def walk(env, steps, seed=0):
  rng = np.random.default_rng(seed)
  length = int(env.act_space['action'].high)
  return [
      act(env, rng.integers(length), reset=not i) for i in range(steps)]


def same(xs, ys):
  return len(xs) == len(ys) and all(
      x.keys() == y.keys() and all(np.array_equal(x[k], y[k]) for k in x)
      for x, y in zip(xs, ys))


def settings(task='minigrid_DoorKey-5x5', enabled=True, **lore):
  lore = {
      'text_bytes': 2048, 'world': 'auto', 'actions': '',
      'advisor': {'mode': 'subgoal'},
      **lore}
  return elements.Config(
      task=task, seed=3, lore={'enabled': enabled, **lore},
      env={'minigrid': {'obs': 'symbolic', 'size': [64, 64]}})


def no_fallback(config, index, **overrides):
  raise AssertionError('MiniGrid tasks must not reach the fallback.')


class Toy(embodied.Env):
  """Two numbers and three actions, or whatever action space is given."""

  def __init__(self, action=None):
    self.action = action or elements.Space(np.int32, (), 0, 3)

  @property
  def obs_space(self):
    return {
        'place': elements.Space(np.float32, (2,)),
        'reward': elements.Space(np.float32),
        'is_first': elements.Space(bool),
        'is_last': elements.Space(bool),
        'is_terminal': elements.Space(bool)}

  @property
  def act_space(self):
    return {'action': self.action, 'reset': elements.Space(bool)}

  def step(self, action):
    return {
        'place': np.array([0.5, 2], np.float32), 'reward': np.float32(0),
        'is_first': bool(action['reset']), 'is_last': False,
        'is_terminal': False}
