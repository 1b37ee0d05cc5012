"""The trust of an advised agent, as runs save it and begin from it."""

import sys
import threading

import numpy as np
import pytest
from agents import Inner

from lore_plugin.advisor import advisor as service
from lore_plugin.advisor import experience
from lore_plugin.advisor import types
from lore_plugin.advisor.providers import mock
from lore_plugin.agent import advised
from lore_plugin.agent import trust as trustlib

OPTIONS = (types.Option('key', (0,)), types.Option('door', (1,)))


class Saved(Inner):
  """One that has parameters."""

  def __init__(self):
    self.params = {'enc/w': np.zeros(2)}

  def save(self):
    return {'params': dict(self.params)}

  def load(self, data, regex=None):
    pass


def make():
  return advised.AdvisedAgent(
      Saved(), service.Advisor(
          mock.Mock(), 2, experience=experience.Experience(0)), 2,
      trustlib.Trust(seed=0))


def describe(text):
  return types.Description(
      text, 'm', ('left', 'right'), OPTIONS, version='t-1').encode(256)[None]


def play(agent, episodes, length=4):
  """Advised episodes succeed, others fail."""
  carry = agent.init_policy(1)
  for episode in range(episodes):
    for i in range(length):
      last = np.array([i == length - 1])
      won = last & any(x.arm for x in agent.trust.running.values())
      carry, _, _ = agent.policy(carry, {
          advised.STATE: describe(f'{episode % 7} {i}'),
          'reward': won.astype(np.float32), 'is_first': np.array([i == 0]),
          'is_last': last, 'is_terminal': last})


@pytest.fixture(scope='module')
def proven():
  agent = make()
  play(agent, 100)
  assert agent.trust.shown == 1 and agent.trust.proof > 0.3
  yield agent.save()
  agent.close()


def test_a_run_that_goes_on_keeps_its_evidence(proven):
  agent = make()
  agent.load(proven)
  assert agent.trust.shown == 1 and agent.trust.taken == 400
  agent.close()


@pytest.mark.parametrize('regex', ['.*', 'enc/'])
def test_a_new_run_begins_without_evidence(proven, regex):
  """It may have another advisor on another task, and counts from 0."""
  agent = make()
  agent.load(proven, regex)
  trust = agent.trust
  assert (trust.shown, trust.proof, trust.taken) == (0, 0.0, 0)
  agent.close()


COUNTS = ('calls', 'answered', 'hits', 'misses')


def test_a_run_that_goes_on_keeps_its_counters(proven):
  agent = make()
  agent.load(proven)
  # Seven layouts of four steps; nothing is asked where an episode ends.
  assert agent.stats()['calls'] == proven['advisor']['counts']['calls'] == 21
  assert agent.advisor.steps == 400
  agent.close()


@pytest.mark.parametrize('regex', ['.*', 'enc/'])
def test_a_new_run_counts_what_it_does_itself(proven, regex):
  """Not the calls, steps, refusals and rests of the run it begins from."""
  agent = make()
  fresh = agent.stats()
  policy = agent.advisor.policy.save()
  agent.load(proven, regex)
  stats = agent.stats()
  assert {k: stats[k] for k in COUNTS} == dict.fromkeys(COUNTS, 0.0)
  assert agent.advisor.steps == 0 and agent.advisor.policy.save() == policy
  changed = {k for k in fresh.keys() | stats if fresh.get(k) != stats.get(k)}
  # What choices led to is taken over.
  assert changed <= set(agent.advisor.guide.experience.stats())
  assert (
      agent.advisor.guide.experience.save()
      == proven['advisor']['experience'])
  play(agent, 1)
  assert agent.stats()['calls'] == 3 and agent.advisor.steps == 4
  assert agent.advisor.spent()['calls'] == 3
  # Where that run goes on, it goes on with its own.
  again = make()
  again.load(proven, regex)
  again.load(agent.save())
  assert again.stats()['calls'] == 3 and again.advisor.steps == 4
  again.close()
  agent.close()


def test_is_saved_while_another_thread_acts(proven):
  agent, failed, done = make(), [], threading.Event()
  agent.load(proven)
  def save():
    while not done.is_set():
      try:
        agent.save()
      except RuntimeError as e:
        failed.append(e)
  before = sys.getswitchinterval()
  sys.setswitchinterval(1e-6)
  thread = threading.Thread(target=save)
  thread.start()
  try:
    play(agent, 60)
  finally:
    done.set()
    thread.join()
    sys.setswitchinterval(before)
    agent.close()
  assert not failed
