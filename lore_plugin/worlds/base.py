"""What a describer is."""

import abc


class Describer(abc.ABC):
  """Puts an observation into words.

  A describer is a function of one observation: it keeps no memory, so that
  the same observation has the same words and advice can be stored by them.

  Attributes:
    version: Name and version; changes whenever the words change.

  Args:
    obs_space: Spaces of the observations.
    act_space: Spaces of the actions, with a single discrete 'action'.
  """

  version = ''

  def __init__(self, obs_space, act_space):
    self.obs_space = obs_space
    self.act_space = act_space

  @abc.abstractmethod
  def describe(self, obs, events=()):
    """Returns the `Description` of an observation.

    Args:
      obs: What the agent sees; a dict of arrays and strings.
      events: Macro boundaries that the step crossed.
    """
