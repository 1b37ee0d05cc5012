import pytest

from lore_plugin import errors
from lore_plugin.advisor.policy import CallPolicy, Limits


def episode(policy, ret, env=0, steps=3, kind=None):
  for i in range(steps):
    last = i == steps - 1
    policy.step(env, ret if last else 0.0, i == 0, last)
    if kind and not i:
      policy.asked(env, kind)


class TestOff:

  def test_never_refuses(self):
    policy = CallPolicy()
    for _ in range(10):
      policy.step(0, float('nan'), False, True, float('nan'))
      assert policy.refuse(0, float('nan'), 1, False, 'x') == ''
      policy.asked(0, 'x')

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

  @pytest.mark.parametrize('ret, steps', [(1.0, 6), (0.0, 3)])
  def test_longer_after_success(self, ret, steps):
    policy = CallPolicy(Limits(cooldown=3, growth=2.0))
    episode(policy, ret)
    policy.step(0, 0.0, True)
    policy.asked(0)
    for _ in range(steps - 1):
      policy.step(0)
      assert policy.refuse(0, 0.0) == 'cooldown'
    policy.step(0)
    assert policy.refuse(0, 0.0) == ''


class TestBackoff:

  def test_doubles_and_ends(self):
    policy = CallPolicy(Limits(backoff=4))
    for wait in (4, 8, 16):
      episode(policy, 0.0, kind='door')
      for _ in range(wait - 1):
        policy.step(0)
        assert policy.refuse(0, 0.0, kind='door') == 'backoff'
      assert policy.refuse(0, 0.0, kind='key') == ''
      policy.step(0)
      assert policy.refuse(0, 0.0, kind='door') == ''
    episode(policy, 1.0, kind='door')
    assert policy.refuse(0, 0.0, kind='door') == ''

  def test_is_bounded(self):
    policy = CallPolicy(Limits(backoff=1))
    for _ in range(2000):
      episode(policy, 0.0, kind='door')
    times, until = policy.situations['door']
    assert times == policy.LONGEST
    assert until <= policy.steps[0] + 2 ** policy.LONGEST


class TestConditions:

  def test_macro(self):
    policy = CallPolicy(Limits(macro=True))
    assert policy.refuse(0, 0.0, boundary=False) == 'between'
    assert policy.refuse(0, 0.0, boundary=True) == ''

  def test_visits_and_novelty(self):
    policy = CallPolicy(Limits(visits=2, novelty=3))
    got = [policy.refuse(0, 0.0, visits=i) for i in range(1, 6)]
    assert got == ['rare', '', '', 'familiar', 'familiar']

  def test_uncertainty(self):
    policy = CallPolicy(Limits(min_u=0.5))
    assert policy.refuse(0, 0.49) == 'certain'
    assert policy.refuse(0, float('nan')) == 'certain'
    assert policy.refuse(0, 0.5) == ''

  def test_surprise(self):
    policy = CallPolicy(Limits(min_td=2.0))
    policy.step(0)
    assert policy.refuse(0, 0.0) == ''  # Nobody tells the error.
    for _ in range(5):
      policy.step(0, td=-1.0)
    assert policy.refuse(0, 0.0) == 'expected'
    policy.step(0, td=3.0)
    assert policy.refuse(0, 0.0) == ''

  def test_plateau(self):
    policy = CallPolicy(Limits(plateau=3))
    assert policy.refuse(0, 0.0) == ''
    for _ in range(4):
      episode(policy, 0.0)
      assert policy.refuse(0, 0.0) == ''
    for _ in range(3):
      episode(policy, 1.0)
      assert policy.refuse(0, 0.0) == 'rising'
    for _ in range(60):
      episode(policy, 0.3)
    assert policy.refuse(0, 0.0) == ''

  def test_all_and_any(self):
    parts = dict(macro=True, min_u=0.5)
    both = CallPolicy(Limits(**parts, combine='all'))
    one = CallPolicy(Limits(**parts, combine='any'))
    for boundary, u, want_both, want_one in [
        (True, 1.0, '', ''), (True, 0.0, 'certain', ''),
        (False, 1.0, 'between', ''), (False, 0.0, 'between', 'between')]:
      assert both.refuse(0, u, boundary=boundary) == want_both
      assert one.refuse(0, u, boundary=boundary) == want_one

  def test_reasons(self):
    policy = CallPolicy(Limits())
    assert policy.refuse(0, 0.0) == '' and policy.reasons == ('new',)
    policy = CallPolicy(Limits(
        macro=True, min_u=0.5, visits=2, novelty=5, combine='any'))
    policy.refuse(0, 1.0, visits=3, boundary=False)
    assert policy.reasons == ('visits', 'novelty', 'uncertainty')
    policy.refuse(0, 0.0, visits=9, boundary=True)
    assert policy.reasons == ('macro', 'visits')
    policy = CallPolicy(Limits(min_td=1.0, plateau=1))
    policy.step(0, is_last=True, td=1.0)
    assert policy.refuse(0, 0.0) == ''
    assert policy.reasons == ('plateau', 'surprise')

  def test_unknown_combination(self):
    with pytest.raises(errors.ConfigError, match="'or'.*all, any"):
      CallPolicy(Limits(combine='or'))


def test_forgets_environments():
  policy = CallPolicy(Limits(cooldown=3))
  policy.step(0, td=1.0)
  policy.asked(0)
  policy.forget(0)
  policy.forget(0)
  assert policy.refuse(0, 0.0) == ''


class TestLearned:

  @pytest.mark.parametrize('sure, reason', [
      (0.0, ''), (0.89, ''), (0.9, 'learned'), (1.0, 'learned')])
  def test_what_the_network_knows_is_not_asked(self, sure, reason):
    policy = CallPolicy(Limits(sure=0.9))
    assert policy.refuse(0, 0.0, sure=sure) == reason

  def test_off(self):
    assert CallPolicy().refuse(0, 0.0, sure=1.0) == ''
