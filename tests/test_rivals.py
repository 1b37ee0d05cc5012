"""Rules that take the place of the trust control, step by step."""

import pytest

from lore_plugin import errors
from lore_plugin.runs import rivals
from lore_plugin.runs import suites

import helpers


def episode(rival, length, score=1.0, env=0):
  """Plays one episode; returns how far advice was followed at each step."""
  followed = []
  for i in range(length):
    last = i == length - 1
    follow, ended = rival.step(
        env, i, False, score if last else 0.0, i == 0, last)
    followed.append(follow)
    assert (ended is not None) == last
  assert ended.score == score and ended.length == length
  return followed


def test_follow_then_distil_by_hand():
  rival = rivals.read('follow-then-distil 10')()
  seen = []
  for i in range(25):
    seen.append((rival.proof, rival.step(0, i, False, 0.0, i == 0, False)[0]))
  weights, followed = zip(*seen)
  assert followed == (1.0,) * 10 + (0.0,) * 15
  assert weights[:11] == (1.0,) * 11
  assert weights[15] == pytest.approx(0.5)
  assert weights[20:] == (0.0,) * 5
  assert (rival.taken, rival.followed, rival.trust) == (25, 10, 1.0)


def test_kickstarting_never_follows_but_has_advice_stored():
  rival = rivals.read('kickstarting 10')()
  for i in range(20):
    weight = rival.proof
    follow, _ = rival.step(0, i, False, 0.0, i == 0, False)
    assert follow < 1e-5
    # What is stored is what advice was asked for: where follow is above 0.
    assert (follow > 0) == (i < 10)
    assert weight == pytest.approx(max(0.0, 1 - i / 10))
  assert rival.followed == 0


def test_jsrl_hands_over_as_success_holds():
  rival = rivals.read('jsrl 2')()
  assert rival.proof == 0
  # Until something succeeded, it is followed throughout.
  assert episode(rival, 7, score=0.0) == [1.0] * 7
  # Then as long as successes take, here 4 steps.
  for _ in range(19):
    episode(rival, 4)
  assert episode(rival, 6) == [1, 1, 0, 0, 0, 0]
  for _ in range(19):
    episode(rival, 4, score=0.0)
  # Success has not held: nothing is handed over.
  assert episode(rival, 6)[:3] == [1, 1, 0]
  for _ in range(19):
    episode(rival, 4)
  assert episode(rival, 6) == [0] * 6


@pytest.mark.parametrize('rule', [
    'follow-then-distil 30', 'kickstarting 30', 'jsrl 3'])
def test_goes_on_where_it_was(rule):
  first = rivals.read(rule)()
  for i in range(45):
    episode(first, 3, score=float(i % 4 > 0))
  second = rivals.read(rule)()
  second.load(first.save())
  for i in range(90):
    assert second.proof == first.proof
    assert episode(first, 4) == episode(second, 4), i
  assert first.describe() == second.describe() == f'not compared: {rule}'


@pytest.mark.parametrize('text, match', [
    ('follow 20', "Unknown rival 'follow'.*follow-then-distil"),
    ('', 'Unknown rival'), ('jsrl', 'whole number of at least 1'),
    ('jsrl 0', 'at least 1'), ('jsrl -3', 'at least 1'),
    ('kickstarting 1e3', "not '1e3'")])
def test_wrong_rules_are_said(text, match):
  with pytest.raises(errors.ConfigError, match=match):
    rivals.read(text)


def test_a_rival_is_another_arm():
  data = helpers.arms(lore={}, a={'rival': 'jsrl 2'}, b={'rival': 'jsrl 3'})
  suite = suites.parse(data)
  assert [x.replaced for x in suite.arms] == [
      {}, {'rival': 'jsrl 2'}, {'rival': 'jsrl 3'}]
  config = suites.resolve(suite)['lore', 'dummy_line']
  assert len({suites.fingerprint(config, x.replaced) for x in suite.arms}) == 3
  data['arms']['c'] = {'rival': 'jsrl 3'}
  with pytest.raises(errors.ConfigError, match="'b' and 'c'.*same config"):
    suites.resolve(suites.parse(data))
  data['arms']['c'] = {'rival': 'jump 3'}
  with pytest.raises(errors.ConfigError, match="Unknown rival 'jump'"):
    suites.parse(data)
