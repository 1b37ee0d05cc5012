"""What the trust control costs beside the best that it could have done."""

import numpy as np
import pytest

from lore_plugin.agent import trust as trustlib


class Chain:
  """A chain of N cells; its right end pays 1 and ends the episode.

  The agent alone steps right with probability 0.7; an adversary makes it
  step left with probability 0.9, which is all the harm there is: values and
  regret follow from solving a linear system.
  """

  N, LIMIT = 6, 24

  def value(self, right):
    """Expected return of an episode that starts at cell 0."""
    values = np.zeros(self.N)
    for _ in range(self.LIMIT):
      ahead = np.append(values[1:], 0.0)
      ahead[-1] = 1.0
      back = np.concatenate([[values[0]], values[:-1]])
      values = right * ahead + (1 - right) * back
    return values[0]

  def run(self, trust, right, episodes, seed, envs=4):
    """Plays episodes; returns the arm of each."""
    # Arms are drawn apart from what comes of them.
    rng = np.random.default_rng((seed, 1))
    place, first = np.zeros(envs, int), np.ones(envs, bool)
    left = np.full(envs, self.LIMIT)
    reward, last = np.zeros(envs), np.zeros(envs, bool)
    arms = []
    while len(arms) < episodes:
      for env in range(envs):
        follow, ended = trust.step(
            env, int(place[env]), False, reward[env], first[env], last[env])
        if ended:
          arms.append(ended.arm)
          place[env], left[env] = 0, self.LIMIT
          first[env], last[env], reward[env] = True, False, 0.0
          continue
        first[env] = False
        chance = right[1] * follow + right[0] * (1 - follow)
        place[env] += 1 if rng.random() < chance else -int(place[env] > 0)
        left[env] -= 1
        reward[env] = float(place[env] == self.N)
        last[env] = place[env] == self.N or not left[env]
    return np.array(arms[:episodes])


def test_chain_value_by_hand():
  chain = Chain()
  assert chain.value(1.0) == 1.0
  assert chain.value(0.0) == 0.0
  chain.N, chain.LIMIT = 1, 2
  # Two tries at one step.
  assert chain.value(0.5) == pytest.approx(0.75)


def test_regret_against_an_adversary_grows_slower_than_time():
  chain = Chain()
  right = 0.7, 0.1
  gap = chain.value(right[0]) - chain.value(right[1])
  assert gap > 0.8
  marks = np.array([100, 400, 1600])
  settings = trustlib.Settings(control=0.1)
  regrets = np.mean([
      gap * np.cumsum(chain.run(
          trustlib.Trust(settings, seed), right, marks[-1], seed))[marks - 1]
      for seed in range(5)], 0)
  rates = regrets / marks
  # Four times the episodes cost about twice the regret: the square root.
  assert rates[1] < 0.65 * rates[0]
  assert rates[2] < 0.65 * rates[1]
  always = gap * marks
  assert regrets[2] < 0.05 * always[2]


def test_regret_beside_good_advice_is_the_control_group():
  chain = Chain()
  right = 0.3, 0.95
  arms = chain.run(trustlib.Trust(), right, 800, 0)
  assert (arms[400:] == 0).mean() < 0.1
