"""What the agent knows, on its way to the call policy."""

import numpy as np

from lore_plugin.agent import advised
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor.policy import Limits
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option

WORDS = ('left', 'right')
OPTIONS = (Option('key', (0,)), Option('door', (1,)))


class Inner:
  """Stands in for the jitted agent: plays back how sure a network is."""

  def __init__(self, sure):
    self.sure = list(sure)

  def init_policy(self, batch_size):
    return ()

  def policy(self, carry, obs, mode):
    outs = {advised.U: np.zeros(1, np.float32)}
    outs[advised.SURE] = np.array([self.sure.pop(0)], np.float32)
    return carry, {'action': np.zeros(1, np.int32)}, outs


def play(limits, steps, sure):
  """Runs steps of (reward, first, last, terminal); returns what was asked."""
  provider = Mock()
  advisor = service.Advisor(provider, 2, limits=limits)
  agent = advised.AdvisedAgent(Inner(sure), advisor, 2)
  carry = agent.init_policy(1)
  for i, (reward, first, last, terminal) in enumerate(steps):
    state = Description(f't{i}', 'm', WORDS, OPTIONS, version='t-1')
    carry, _, _ = agent.policy(carry, {
        advised.STATE: state.encode(256)[None],
        'reward': np.array([reward], np.float32),
        'is_first': np.array([first]), 'is_last': np.array([last]),
        'is_terminal': np.array([terminal])})
  asked = [x.description.text for x in provider.queries]
  agent.close()
  return asked


STEP = (0.0, False, False, False)
FIRST = (0.0, True, False, False)
END = (1.0, False, True, True)


def test_a_sure_network_saves_calls():
  asked = play(
      Limits(sure=0.9), [FIRST, STEP, STEP, END, FIRST, STEP],
      sure=[0.95, 0.5, 0.95, 0.95, 0.95, 0.2])
  # As of the step before, and never across the border of two episodes.
  assert asked == ['t0', 't2', 't4']
