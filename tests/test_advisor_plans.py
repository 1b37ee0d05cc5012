"""Subgoals that are followed from one macro boundary to the next."""

import numpy as np
import pytest
from test_advisor_service import WORDS, describe, encode
from test_advisor_td import Inner

from lore_plugin.agent import advised
from lore_plugin import errors
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor.providers.mock import Mock

BOTH = (('key', (0,)), ('look', (1, 2)))


@pytest.fixture
def make():
  made = []
  def fn(replies, **kwargs):
    made.append(service.Advisor(
        Mock(replies=replies), len(WORDS), plan=True,
        **kwargs))
    return made[-1]
  yield fn
  for advisor in made:
    advisor.close()


def step(advisor, desc, first=False, env=7):
  states = encode(desc)
  advisor.consider(
      states, [env], np.zeros(1, np.float32), np.zeros(1, np.float32),
      np.array([first]), np.zeros(1, bool))
  prior, valid = advisor.lookup(states, [env])
  return (int(prior[0].argmax()) if valid[0] else None)


def asked(advisor):
  return int(advisor.stats()['calls'])


def test_asks_at_boundaries_and_follows_in_between(make):
  advisor = make([(2.0, 0.0), (0.0, 2.0)])
  assert step(advisor, describe('a', BOTH), first=True) == 0
  # States that nobody was asked about; the key lies elsewhere in each.
  assert step(advisor, describe('b', (('key', (2,)), ('look', (1,))))) == 2
  assert step(advisor, describe('c', (('key', (1,)), ('look', (0,))))) == 1
  assert asked(advisor) == 1
  assert advisor.plans.done(7) == ['key']
  # An event ends the plan.
  assert step(advisor, describe(
      'd', (('key', (0,)), ('look', (1,))), events=('key taken',))) == 1
  assert asked(advisor) == 2
  assert advisor.plans.done(7) == ['key', 'look']


def test_a_subgoal_that_comes_or_goes_is_a_boundary(make):
  advisor = make([(0.0, 2.0), (3.0, 0.0, 0.0), (1.0, 2.0)])
  step(advisor, describe('a', BOTH), first=True)
  more = (*BOTH, ('door', (2,)))
  assert step(advisor, describe('b', more)) == 0
  assert asked(advisor) == 2
  assert step(advisor, describe('c', more)) == 0
  assert asked(advisor) == 2
  step(advisor, describe('d', BOTH))
  assert asked(advisor) == 3


def test_a_new_episode_makes_a_new_plan(make):
  advisor = make([(2.0, 0.0), (0.0, 2.0)])
  assert step(advisor, describe('a', BOTH), first=True) == 0
  assert step(advisor, describe('b', BOTH), first=True) in (1, 2)
  assert advisor.plans.done(7) == ['look']
  # Known from the store: no call, but a plan.
  assert step(advisor, describe('a', BOTH), first=True) == 0
  assert asked(advisor) == 2


def test_environments_have_plans_of_their_own(make):
  advisor = make([(2.0, 0.0), (0.0, 2.0)])
  assert step(advisor, describe('a', BOTH), first=True, env=1) == 0
  assert step(advisor, describe('b', BOTH), first=True, env=2) in (1, 2)
  assert step(advisor, describe('c', BOTH), env=1) == 0
  assert step(advisor, describe('c', BOTH), env=2) in (1, 2)


def test_without_an_answer_there_is_no_plan(make):
  class Failing(Mock):
    def ask(self, query):
      raise errors.RejectedCall('down')
  advisor = service.Advisor(Failing(), len(WORDS), plan=True)
  try:
    assert step(advisor, describe('a', BOTH), first=True) is None
    assert step(advisor, describe('b', BOTH)) is None
    assert advisor.plans.done(7) == []
  finally:
    advisor.close()


def test_asked_again_while_an_answer_is_missing(make):
  # An answer that can't be read is asked for once more.
  advisor = make(['unreadable', (2.0, 0.0)])
  assert step(advisor, describe('a', BOTH), first=True) is None
  assert step(advisor, describe('b', BOTH)) == 0
  assert asked(advisor) == 2


def test_progress_is_logged(make):
  rows = []
  agent = advised.AdvisedAgent(
      Inner(()), make([(2.0, 0.0), (0.0, 2.0)]), 'action', len(WORDS),
      journal=rows.append)
  carry, logged = agent.init_policy(1), []
  for i, desc in enumerate((
      describe('a', BOTH), describe('b', BOTH),
      describe('c', BOTH, events=('key taken',)), describe('d', BOTH))):
    carry, _, outs = agent.policy(carry, {
        advised.STATE: encode(desc), 'reward': np.zeros(1, np.float32),
        'is_first': np.array([i == 0]), 'is_last': np.array([i == 3]),
        'is_terminal': np.zeros(1, bool)})
    logged.append(float(outs['log/lore_plan'][0]))
  assert logged == [1, 1, 2, 2]
  assert [x['plan'] for x in rows] == [['key', 'look']]
  assert rows[0]['asked'] == [1, 3]


def test_actions_have_no_plan():
  with pytest.raises(errors.ConfigError, match='lore.advisor.mode subgoal'):
    service.Advisor(Mock(), len(WORDS), plan=True, mode='action')


def test_fewer_calls_and_as_good_in_a_real_world(tmp_path):
  """DoorKey by the rules' subgoals: fewer questions, solved all the same."""
  from lore_plugin import config as configlib
  from lore_plugin import launch
  from lore_plugin import upstream
  found = upstream.find()
  upstream.install()
  calls, wins = {}, {}
  for plan in (False, True):
    config = configlib.resolve(
        ['--configs', 'minigrid', 'lore', '--logdir',
         str(tmp_path / str(plan)), '--lore.advisor.provider', 'scripted',
         '--lore.advisor.plan', str(plan), '--lore.advisor.calls', '-1'],
        configlib.load(found.configs))
    advisor = service.Advisor.from_config(config, 7)
    env = launch.make_env(config, 0)
    try:
      rng, act, scores = np.random.default_rng(0), 0, []
      reset = True
      for _ in range(600):
        obs = env.step({'action': np.int32(act), 'reset': reset})
        states = obs['lore/state'][None]
        advisor.consider(
            states, [0], np.zeros(1, np.float32), obs['reward'][None],
            obs['is_first'][None], obs['is_last'][None])
        prior, valid = advisor.lookup(states, [0])
        probs = np.exp(prior[0] * valid[0])
        act = rng.choice(7, p=probs / probs.sum())
        reset = bool(obs['is_last'])
        if reset:
          scores.append(float(obs['reward']))
      calls[plan] = advisor.stats()['calls']
      wins[plan] = np.mean(np.array(scores) > 0), len(scores)
    finally:
      advisor.close()
      env.close()
  assert calls[True] < calls[False], calls
  assert wins[True][0] >= 0.9 and wins[True][1] >= 10, wins
