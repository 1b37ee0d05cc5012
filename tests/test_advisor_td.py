"""What the agent knows, on its way to the call policy."""

import math

import numpy as np

from lore_plugin.agent import advised
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor.policy import Limits
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.advisor.types import Description, Option

WORDS = ('left', 'right')
OPTIONS = (Option('key', (0,)), Option('door', (1,)))


def test_by_hand():
  error = advised.td_error(
      np.array([1.0, 1.0, 0.0, 2.0], np.float32),
      np.array([10.0, 10.0, 4.0, 3.0]), np.array([8.0, 8.0, 5.0, np.nan]),
      np.array([False, False, True, False]),
      np.array([False, True, False, False]), 0.5)
  # 1 + 0.5 * 10 - 8; the end is worth nothing; no step; value not known.
  np.testing.assert_array_equal(error, [-2.0, -7.0, np.nan, np.nan])


def test_perfect_critic_makes_no_error():
  value = 0.9 ** np.arange(5)[::-1]  # A reward of 1 after the last of them.
  error = advised.td_error(
      np.zeros(4), value[1:], value[:-1], np.zeros(4, bool),
      np.zeros(4, bool), 0.9)
  np.testing.assert_allclose(error, 0, atol=1e-12)


class Inner:
  """Stands in for the jitted agent: plays back values."""

  def __init__(self, values, sure=()):
    self.values = list(values)
    self.sure = list(sure)

  def init_policy(self, batch_size):
    return ()

  def policy(self, carry, obs, mode):
    outs = {advised.U: np.zeros(1, np.float32)}
    if self.values:
      outs[advised.VALUE] = np.array([self.values.pop(0)], np.float32)
    if self.sure:
      outs[advised.SURE] = np.array([self.sure.pop(0)], np.float32)
    return carry, {'action': np.zeros(1, np.int32)}, outs


def play(values, limits, steps, sure=()):
  """Runs steps of (reward, first, last, terminal); returns what was asked."""
  provider = Mock()
  advisor = service.Advisor(provider, 2, limits=limits)
  seen = []
  consider = advisor.consider
  advisor.consider = lambda *args, td, **kwargs: (
      seen.append(float(td[0])), consider(*args, td=td, **kwargs))
  agent = advised.AdvisedAgent(
      Inner(values, sure), advisor, 2, discount=0.5)
  carry = agent.init_policy(1)
  for i, (reward, first, last, terminal) in enumerate(steps):
    state = Description(f't{i}', 'm', WORDS, OPTIONS, version='t-1')
    carry, _, outs = agent.policy(carry, {
        advised.STATE: state.encode(256)[None],
        'reward': np.array([reward], np.float32),
        'is_first': np.array([first]), 'is_last': np.array([last]),
        'is_terminal': np.array([terminal])})
    assert advised.VALUE not in outs
  asked = [x.description.text for x in provider.queries]
  agent.close()
  return seen, asked


STEP = (0.0, False, False, False)
FIRST = (0.0, True, False, False)
END = (1.0, False, True, True)


def test_error_of_the_step_before_decides():
  seen, asked = play(
      [4, 10, 20, 0, 4, 8], Limits(min_td=1.0),
      [FIRST, STEP, STEP, END, FIRST, STEP])
  # Known one step later: 0.5 * 10 - 4, then 0.5 * 20 - 10, then 1 - 20; none
  # across the border of two episodes.
  np.testing.assert_array_equal(seen, [np.nan, np.nan, 1, 0, -19, np.nan])
  # It asks where there is nothing to judge by, and not where the critic was
  # right.
  assert asked == ['t0', 't1', 't2', 't4', 't5']


def test_without_the_critic_nothing_is_held_back():
  seen, asked = play([], Limits(min_td=1.0), [FIRST, STEP, STEP])
  assert all(map(math.isnan, seen)) and asked == ['t0', 't1', 't2']


def test_a_sure_network_saves_calls():
  _, asked = play(
      [], Limits(sure=0.9), [FIRST, STEP, STEP, END, FIRST, STEP],
      sure=[0.95, 0.5, 0.95, 0.95, 0.95, 0.2])
  # As of the step before, and never across the border of two episodes.
  assert asked == ['t0', 't2', 't4']
