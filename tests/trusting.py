"""Episodes beside the trust control, for tests of it."""

import numpy as np

from lore_plugin.agent import compare

LENGTH = 20


def play(trust, earns, episodes, seed=0, envs=4, states=None, length=LENGTH):
  """Plays whole episodes side by side; returns who was advised, in order.

  Args:
    trust: A `Trust`.
    earns: Gives the return of an episode from its arm and a generator.
    episodes: How many.
    seed: Of the returns.
    envs: Environments side by side.
    states: Gives the state at a step from whether advice was followed.
    length: Steps of an episode.
  """
  # Arms are drawn apart from what comes of them.
  rng = np.random.default_rng((seed, 1))
  states = states or (lambda follow, t, rng: t)
  arms = []
  follow = np.zeros(envs)
  for _ in range(-(-episodes // envs)):
    for t in range(length):
      for env in range(envs):
        last = t == length - 1
        reward = 0.0
        if last:
          reward = earns(trust.running[env].arm, rng)
        follow[env], ended = trust.step(
            env, states(follow[env], t, rng), False, reward, t == 0, last)
        assert 0 <= follow[env] <= 1
        assert (ended is not None) == last
        if ended:
          arms.append(ended.arm)
  return arms


def means(control, advised, number=20):
  """Returns the means of so many segments of either arm."""
  return [compare.Mean(control, number), compare.Mean(advised, number)]


def bernoulli(control, advised):
  return lambda arm, rng: float(rng.random() < (control, advised)[arm])
