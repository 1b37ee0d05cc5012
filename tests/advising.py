"""States in words, and steps with them, for tests of the advisor."""

import numpy as np

from lore_plugin.advisor.types import Description, Option

WORDS = ('left', 'right', 'forward', '')
SIZE = 512


def describe(text='a', options=(('key', (0,)), ('look', (1, 2))), **kwargs):
  return Description(
      text, 'mission', kwargs.pop('actions', WORDS),
      tuple(Option(*x) for x in options), version='t-1', **kwargs)


def encode(*descs):
  descs = [describe(x) if isinstance(x, str) else x for x in descs]
  return np.stack([x.encode(SIZE) for x in descs])


def consider(advisor, *descs, u=0.0):
  states = encode(*descs)
  count = len(states)
  zeros = np.zeros(count, bool)
  advisor.consider(
      states, list(range(count)), np.full(count, u, np.float32),
      np.zeros(count, np.float32), zeros, zeros)
  return advisor.lookup(states)
