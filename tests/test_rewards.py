"""Rivals that pay for steps: what is added to rewards, and to nothing else."""

import elements
import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin.agent import advised
from lore_plugin.agent import columns
from lore_plugin.runs import replaced
from lore_plugin.runs import rewards

import agents


def seat(surprise=0.0, env=0):
  return advised.Seat(env, 0.0, surprise)


def config(disagreement=0.0, horizon=5):
  gate = {'disagreement': disagreement}
  return elements.Config(agent={'horizon': horizon}, lore={'gate': gate})


def test_shaping_by_hand():
  rival = rewards.read('shaping 10')()
  rival.discount = 0.5
  # Potentials 0.1, 0, 0.1, 0.1; each step pays for the action before it.
  paid = [rival.pay(seat(), i == 0, chosen) for i, chosen in enumerate(
      [True, False, True, True, False])]
  assert paid == pytest.approx([0, 0.1, 0 - 0.2, 0.1, 0.1 - 0.2])
  # An episode begins with nothing, and environments are apart.
  assert rival.pay(seat(), True, True) == 0
  assert rival.pay(seat(env=1), False, True) == 0
  assert rival.pay(seat(), False, True) == pytest.approx(0.1)


@pytest.mark.parametrize('discount', [0.9, 0.997, 1.0])
def test_shaping_adds_up_to_the_last_action(discount):
  """Discounted, the sum telescopes: it can't pay for walking in circles."""
  rng = np.random.default_rng(0)
  rival = rewards.read('shaping 30')()
  rival.discount = discount
  chosen = rng.random(50) < 0.5
  paid = [rival.pay(seat(), i == 0, x) for i, x in enumerate(chosen)]
  total = sum(x * discount ** i for i, x in enumerate(paid))
  assert total == pytest.approx(0.3 * chosen[-2] * discount ** 49)


def test_bonus_by_hand():
  rival = rewards.read('bonus 20')()
  # 0.02 times the disagreement in its own mean so far: 1, 2, 3 of means
  # 1, 1.5, 2.
  assert [rival.pay(seat(x), False, False) for x in (0, 1.0)] == [0, 0.04]
  rival = rewards.read('bonus 20')()
  paid = [rival.pay(seat(x), False, False) for x in (1.0, 2.0, 3.0)]
  assert paid == pytest.approx([0.02, 0.02 * 2 / 1.5, 0.03])
  other = rewards.read('bonus 20')()
  other.load(rival.save())
  assert other.pay(seat(4.0), False, False) == rival.pay(
      seat(4.0), False, False)


@pytest.mark.parametrize('rule', ['shaping 10', 'bonus 1'])
def test_advice_is_neither_followed_nor_distilled(rule):
  rival = rewards.read(rule)()
  for i in range(6):
    follow, _ = rival.step(0, i, False, 0.0, i == 0, i == 5)
    assert 0 < follow < 1e-5
  assert (rival.trust, rival.proof, rival.gate) == (0, 0, 0)
  assert rival.describe() == f'not compared: {rule}'


@pytest.mark.parametrize('text, match', [
    ('shape 3', "Unknown rival 'shape'.*shaping"),
    ('bonus', 'whole number of at least 1, not .*bonus 1'),
    ('jsrl 0', 'at least 1')])
def test_wrong_rules_are_said(text, match):
  with pytest.raises(errors.ConfigError, match=match):
    replaced.check({'rival': text})


def test_a_bonus_needs_the_ensemble_before_anything_is_compiled():
  with pytest.raises(errors.ConfigError, match='disagreement to 1'):
    rewards.made('bonus 1', config())
  with rewards.made('bonus 1', config(1.0)):
    assert advised.AdvisedAgent.func is rewards.PaidAgent
  for rule in ('jsrl 3', 'none'):
    with rewards.made(rule, config()):
      assert advised.AdvisedAgent is not rewards.PaidAgent


class Advisor:
  """Advises the middle one of three actions, where it has an answer."""

  guide = None
  table = None

  def __init__(self):
    self.asked = []
    self.valid = True

  def events(self, states):
    return [False] * len(states)

  def consider(self, *args, **kwargs):
    pass

  def lookup(self, states, envs, advised):
    prior = np.float32([[-1, 2, -1]] * len(states))
    return prior, np.full(len(states), self.valid)

  def did(self, envs, actions):
    pass


class Inner(agents.Inner):
  """Takes the actions that it is told to."""

  def __init__(self, actions):
    self.actions = iter(actions)

  def policy(self, carry, obs, mode):
    carry, _, outs = super().policy(carry, obs, mode)
    return carry, {'action': np.int32([next(self.actions)])}, outs

  def stream(self, st):
    return st


def test_replay_is_paid_and_nothing_else(monkeypatch):
  monkeypatch.setattr(
      rewards.PaidAgent, '_note_followed', lambda *args: None)
  advisor, actions = Advisor(), [1, 0, 1, 1, 0]
  agent = rewards.PaidAgent(
      0.5, Inner(actions), advisor, 3, rewards.read('shaping 10')())
  carry, extra = agent.init_policy(1), []
  for i in range(len(actions)):
    advisor.valid = i != 3
    obs = {
        'reward': np.float32([i]), 'is_first': np.array([i == 0]),
        'is_last': np.array([False]),
        advised.STATE: np.zeros((1, 4), np.uint8)}
    carry, _, outs = agent.policy(carry, obs)
    extra.append(float(outs[rewards.EXTRA][0]))
  # As by hand above, but without advice the fourth action has no potential.
  assert extra == pytest.approx([0, 0.1, -0.2, 0.1, -0.2])
  batch = {
      columns.PRIOR: np.zeros((1, 5, 3), np.float32),
      columns.VALID: np.ones((1, 5), bool), 'reward': np.ones((1, 5)),
      rewards.EXTRA: np.float32([extra])}
  found = next(iter(agent.stream(iter([batch]))))
  assert found['reward'][0] == pytest.approx([1, 1.1, 0.8, 1.1, 0.8])
  assert found.keys() == {'reward', columns.ADVICE}
  assert batch['reward'].tolist() == [[1] * 5]
  # Evaluation pays nothing.
  agent.agent = Inner([1])
  _, _, outs = agent.policy(carry, obs, 'eval')
  assert rewards.EXTRA not in outs
