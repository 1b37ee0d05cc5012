"""A grid world and its words: --lore.world garden:GardenWorld"""

import gymnasium
import numpy as np
from gymnasium import spaces

from lore_plugin import Question, Situation, World

MOVES = ((0, -1), (0, 1), (-1, 0), (1, 0))  # Up, down, left, right.


class Garden(gymnasium.Env):
  """Fetch water at the well, and water the flower."""

  observation_space = spaces.Dict(
      gardener=spaces.MultiDiscrete((6, 6)), well=spaces.MultiDiscrete((6, 6)),
      flower=spaces.MultiDiscrete((6, 6)), water=spaces.Discrete(2))
  action_space = spaces.Discrete(5)  # Four moves, and to use what is here.

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    cells = self.np_random.choice(36, 3, replace=False)
    self.gardener, self.well, self.flower = (
        np.array(divmod(int(x), 6)) for x in cells)
    self.water = 0
    return self.look(), {}

  def look(self):
    places = {'gardener': self.gardener, 'well': self.well,
              'flower': self.flower}
    return {**{k: v.copy() for k, v in places.items()}, 'water': self.water}

  def step(self, action):
    done = False
    if action < 4:
      self.gardener = np.clip(self.gardener + MOVES[action], 0, 5)
    elif (self.gardener == self.well).all():
      self.water = 1
    elif self.water and (self.gardener == self.flower).all():
      done = True
    return self.look(), float(done), done, False, {'success': done}


gymnasium.register('Garden-v0', Garden, max_episode_steps=60)


class GardenWorld(World):
  """Everything is in view; what matters is whether there is water."""

  version = 'garden-1'
  actions = ('go up', 'go down', 'go left', 'go right', 'use')

  def reset(self):
    pass

  def observe(self, obs, action=None):
    ways = {'water the flower': self.way(obs, 'flower')}
    if not obs['water']:
      ways['fill the can at the well'] = self.way(obs, 'well')
    facts = f'You carry {"a full" if obs["water"] else "an empty"} can.'
    return Situation(
        Question('fill the can, then water the flower', facts, tuple(ways)),
        tuple(ways.values()))

  def way(self, obs, goal):
    """Returns the actions that begin a shortest way to something."""
    away = obs[goal] - obs['gardener']
    if not away.any():
      return (4,)
    return tuple(
        a for a, move in enumerate(MOVES) if np.dot(move, away) > 0)
