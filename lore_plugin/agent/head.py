"""The policy head, and the action of it that is advised."""

import contextlib
import threading
from collections.abc import Mapping

import elements

from .. import errors


class AdvisedHead:
  """Stands in for the policy head and mixes advice in while asked to.

  Upstream calls its head in one place per function, out of our reach. Whether
  a mixing context is open is known while jax traces, so it costs nothing at
  run time. Threads trace independently: upstream's parallel script compiles
  its policy while the learner compiles its loss.
  """

  def __init__(self, head, key):
    self.head = head
    self.key = key
    self.local = threading.local()

  def __call__(self, inp, bdims):
    dists = self.head(inp, bdims)
    mixer = getattr(self.local, 'mixer', None)
    if mixer is None:
      return dists
    return {**dists, self.key: mixer(inp, bdims, dists[self.key])}

  def __getattr__(self, name):
    return getattr(self.__dict__['head'], name)

  @contextlib.contextmanager
  def mixing(self, mixer):
    """Applies mixer(inp, bdims, dist) -> dist to the advised action."""
    self.local.mixer = mixer
    try:
      yield
    finally:
      self.local.mixer = None

  @staticmethod
  def replace(dist, logits):
    """Returns the distribution with other logits."""
    result = type(dist)(logits)
    result.minent, result.maxent = dist.minent, dist.maxent
    return result


def advised_action(act_space: Mapping[str, elements.Space]) -> str:
  """Returns the name of the one discrete action that can be advised.

  Raises:
    EnvError: If there is none, or more than one.
  """
  keys = [
      k for k, v in act_space.items()
      if k != 'reset' and v.discrete and v.shape == ()]
  others = [k for k in act_space if k != 'reset' and k not in keys]
  if len(keys) != 1 or others:
    found = ', '.join(
        f'{k}: {v}' for k, v in act_space.items() if k != 'reset')
    raise errors.EnvError(
        'LoRe advises exactly one discrete action of shape (), but this '
        f'task has {{{found}}}. Choose a task with a discrete action space, '
        'or leave lore out of --configs.')
  return keys[0]
