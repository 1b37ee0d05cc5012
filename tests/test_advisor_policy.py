import json

import pytest

from lore_plugin.advisor.policy import CallPolicy, Limits


class TestOff:

  def test_never_refuses(self):
    policy = CallPolicy()
    for _ in range(10):
      policy.step(0)
      assert policy.refuse(0, float('nan'), False) == ''
      policy.asked(0)

  def test_unknown_environment(self):
    assert CallPolicy(Limits(cooldown=5)).refuse(7, 0.0) == ''


class TestCooldown:

  def test_steps(self):
    policy = CallPolicy(Limits(cooldown=3))
    got = []
    for _ in range(7):
      policy.step(0)
      got.append(policy.refuse(0, 0.0))
      if not got[-1]:
        policy.asked(0)
    assert [not x for x in got] == [1, 0, 0, 1, 0, 0, 1]

  def test_each_environment_has_its_own(self):
    policy = CallPolicy(Limits(cooldown=3))
    for env in (0, 1):
      policy.step(env)
    policy.asked(0)
    assert policy.refuse(0, 0.0) == 'cooldown'
    assert policy.refuse(1, 0.0) == ''


class TestConditions:

  def test_macro(self):
    policy = CallPolicy(Limits(macro=True))
    assert policy.refuse(0, 0.0, boundary=False) == 'between'
    assert policy.refuse(0, 0.0, boundary=True) == ''

  def test_uncertainty(self):
    policy = CallPolicy(Limits(min_u=0.5))
    assert policy.refuse(0, 0.49) == 'certain'
    assert policy.refuse(0, float('nan')) == 'certain'
    assert policy.refuse(0, 0.5) == ''

  def test_all_must_hold(self):
    policy = CallPolicy(Limits(macro=True, min_u=0.5))
    for boundary, u, want in [
        (True, 1.0, ''), (True, 0.0, 'certain'), (False, 1.0, 'between'),
        (False, 0.0, 'between')]:
      assert policy.refuse(0, u, boundary=boundary) == want

  def test_reasons(self):
    assert CallPolicy().reasons == ('new',)
    assert CallPolicy(Limits(macro=True)).reasons == ('macro',)
    assert CallPolicy(Limits(macro=True, min_u=0.0)).reasons == (
        'macro', 'uncertainty')


class TestLearned:

  @pytest.mark.parametrize('sure, reason', [
      (0.0, ''), (0.89, ''), (0.9, 'learned'), (1.0, 'learned')])
  def test_what_the_network_knows_is_not_asked(self, sure, reason):
    policy = CallPolicy(Limits(sure=0.9))
    assert policy.refuse(0, 0.0, sure=sure) == reason

  def test_off(self):
    assert CallPolicy().refuse(0, 0.0, sure=1.0) == ''


class TestSaved:

  LIMITS = Limits(cooldown=4, macro=True, min_u=0.5)

  def play(self, policy, steps):
    out = []
    for i in steps:
      policy.step(0)
      out.append(policy.refuse(0, (i % 3) / 2, boundary=i % 5 != 4))
      if not out[-1]:
        policy.asked(0)
    return out

  def test_goes_on_as_if_nothing_had_happened(self):
    whole = self.play(CallPolicy(self.LIMITS), range(40))
    assert set(whole) == {'', 'cooldown', 'between', 'certain'}
    first = CallPolicy(self.LIMITS)
    start = self.play(first, range(17))
    second = CallPolicy(self.LIMITS)
    second.load(numbers(json.loads(json.dumps(first.save()))))
    assert start + self.play(second, range(17, 40)) == whole

  def test_of_parts_that_are_gone(self):
    policy = CallPolicy(Limits(cooldown=5))
    policy.load({
        'steps': {0: 7}, 'ready': {0: 9}, 'novelty': {'q': 1},
        'plateau': [{}, 0.1, 0.1, 2], 'surprise': [0.5, {}]})
    policy.step(0)
    assert policy.refuse(0, 0.0) == 'cooldown'

  def test_of_the_first_version(self):
    policy = CallPolicy(Limits(cooldown=5))
    policy.load({
        'steps': {0: 7}, 'td': {}, 'seats': {0: (9, True, 0.5, ['x'])},
        'situations': [('x', (1, 20))], 'means': (0.1, 0.2, 3, 0.0)})
    policy.step(0)
    assert policy.refuse(0, 0.0) == 'cooldown'
    policy.step(0)
    assert policy.refuse(0, 0.0) == ''


def numbers(value):
  """JSON turns the numbers of environments into text."""
  if isinstance(value, dict):
    return {
        int(k) if k.isdigit() else k: numbers(v)
        for k, v in value.items()}
  return [numbers(x) for x in value] if isinstance(value, list) else value
