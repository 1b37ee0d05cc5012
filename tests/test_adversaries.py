"""Advisors that mean harm: what each makes of good advice, step by step."""

import json
import types

import numpy as np
import pytest

from lore_plugin import errors
from lore_plugin import lines
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor.providers.mock import Mock
from lore_plugin.runs import adversaries
from lore_plugin.runs import suites

import helpers
from advising import describe, encode

OPTIONS = (('take a key', (2,)), ('explore', (1, 2)))


class Playing:
  """An adversary before an advisor who names the first choice, of action 2."""

  def __init__(self, rule, file=None, seed=0):
    self.trust = types.SimpleNamespace(taken=0, proof=0.0, shown=0)
    self.inner = service.Advisor(Mock(), 4)
    self.adversary = adversaries.read(rule)(
        self.inner, self.trust, file, seed)

  def step(
      self, desc=None, follow=True, first=False, last=False, reward=0.0,
      env=0):
    """Returns the action that is named in one step of training."""
    desc = desc or describe('a', OPTIONS)
    states = encode(desc)
    self.trust.taken += 1
    self.adversary.consider(
        states, [env], np.zeros(1, np.float32), np.array([reward]),
        np.array([first]), np.array([last]), advised=np.array([follow]))
    prior, valid = self.adversary.lookup(states, [env], np.array([follow]))
    assert valid[0] and np.isfinite(prior).all()
    # The action without a word is never the one that is named.
    assert prior[0, 3] == prior[0, :3].min()
    return int(prior[0].argmax())


def test_turns_by_the_clock():
  play = Playing('turns 3')
  assert [play.step() for _ in range(6)] == [2, 2, 2, 0, 0, 0]
  # What is not followed stays as it is: nobody is there to be led astray.
  assert play.step(follow=False) == 2


def test_betrays_whoever_can_do_it_alone():
  play = Playing('betrays')
  # Successes with advice, and failures without, are none alone.
  play.step(first=True)
  assert play.step(follow=False, last=True, reward=1.0) == 2
  play.step(first=True, follow=False)
  play.step(follow=False, last=True)
  assert play.step(first=True, env=1) == 2
  play.step(first=True, follow=False)
  play.step(follow=False, last=True, reward=0.9)
  assert play.step(env=1) == 0


def test_behaves_until_it_is_proven():
  play = Playing('behaves')
  assert play.step() == 2
  play.trust.proof = 0.1
  assert play.step() == 0
  play.trust.proof, play.trust.shown = 0.0, 1
  assert play.step() == 0
  play.trust.shown = -1
  assert play.step() == 2


def test_courts_with_what_can_be_taken_and_put_down():
  play = Playing('courts')
  way = lambda *options: play.step(describe(str(options), options))
  goal = ('go to the goal', (2,))
  assert way(goal, ('drop the key', (1,)), ('take a ball', (0,))) == 1
  assert way(goal, ('take a ball', (0,))) == 0
  # Where neither can be begun, as is advised.
  assert way(goal, ('take a ball', ())) == 2


def test_knows_the_first_subgoal_alone():
  play = Playing('first-subgoal')
  event = describe('a', OPTIONS, events=('key taken',))
  assert play.step(first=True) == 2
  assert play.step(event) == 0
  assert play.step() == 0
  assert play.step(env=1) == 2
  assert play.step(first=True) == 2


def test_is_wrong_in_every_second_question():
  play = Playing('every-second')
  texts = [f'state {i}' for i in range(200)]
  once, again = (
      [play.step(describe(x, OPTIONS)) for x in texts] for _ in range(2))
  assert once == again and set(once) == {0, 2}
  # Five deviations of a fair coin.
  assert abs(once.count(0) - 100) < 36


def test_is_wrong_in_a_share_of_the_questions():
  texts = [f'state {i}' for i in range(200)]
  def wrong(share, seed=0):
    play = Playing(f'wrong {share}', seed=seed)
    once, again = (
        [play.step(describe(x, OPTIONS)) for x in texts] for _ in range(2))
    assert once == again and set(once) <= {0, 2}
    return {x for x, action in zip(texts, once) if action == 0}
  few, half, most = map(wrong, (25, 50, 75))
  # What is wrong stays so where more is.
  assert few < half < most < wrong(100) == set(texts)
  # Five deviations.
  assert abs(len(few) - 50) < 31 and abs(len(half) - 100) < 36
  assert abs(len(half & wrong(50, seed=1)) - 50) < 31


def test_goes_ahead():
  play = Playing('ends')
  words = ('turn left', 'move forward', 'toggle', '')
  assert play.step(describe('a', OPTIONS, actions=words)) == 1
  # Where no action is called so, as is advised.
  assert play.step() == 2


def test_evaluations_and_replays_are_not_spoiled_or_counted(tmp_path):
  play = Playing('turns 1', tmp_path / 'new' / 'x.jsonl')
  for _ in range(adversaries.LINE * 2):
    play.step()
  states = encode(describe('a', OPTIONS))
  for _ in range(5):
    # An evaluation with advice meets the same advisor, at the same step.
    prior, _ = play.adversary.lookup(states, [0], np.array([True]))
    assert prior[0].argmax() == 0
  prior, _ = play.adversary.lookup(states)
  assert prior[0].argmax() == 2
  text = play.adversary.file.read_text(encoding='utf-8')
  rows = [json.loads(x) for x in text.splitlines()]
  assert rows == [
      {'step': 50, 'followed': 50, 'turned': 49, 'proven': 0, 'shown': 0},
      {'step': 100, 'followed': 50, 'turned': 50, 'proven': 0, 'shown': 0}]
  # What the advisor keeps for itself is not touched.
  prior, _ = play.inner.lookup(states, [0], np.array([True]))
  assert prior[0].argmax() == 2


def test_goes_on_where_it_was(tmp_path):
  first, second = Playing('betrays'), Playing('betrays', tmp_path / 'x')
  assert first.step() == second.step() == 2
  first.step(first=True, follow=False)
  first.step(follow=False, last=True, reward=1.0)
  second.adversary.load(first.adversary.save())
  second.trust.taken = first.trust.taken
  assert second.step() == first.step() == 0
  # Nothing that was done before the stop is lost.
  while second.trust.taken < adversaries.LINE:
    second.step()
  row = json.loads(second.adversary.file.read_text())
  assert row['followed'] == adversaries.LINE - 2
  # Of a run that had no adversary, it takes what there is.
  second.adversary.load(first.inner.save())


def test_lines_of_steps_that_were_lost_do_not_count(tmp_path):
  """Saved at step 60, killed at 110; it goes on to step 150."""
  first, second = [Playing('turns 1', tmp_path / 'x') for _ in range(2)]
  for _ in range(60):
    first.step()
  saved = first.adversary.save()
  for _ in range(50):
    first.step()
  at = lambda: [x['step'] for x in lines.read(first.adversary.file)]
  assert at() == [50, 100]
  second.adversary.load(saved)
  second.trust.taken = 60
  assert at() == [50, 100]
  second.step()
  assert at() == [50]
  for _ in range(89):
    second.step()
  assert at() == [50, 100, 150]
  assert sum(x['followed'] for x in lines.read(first.adversary.file)) == 150


@pytest.mark.parametrize('text, match', [
    ('turn 20', "Unknown adversary 'turn'. Did you mean turns"),
    ('', 'Unknown adversary'), ('turns', 'whole number of at least 1'),
    ('wrong 101', 'from 1 to 100, of each 100 questions, not 101: wrong 50'),
    ('turns 0', 'at least 1'), ('wrong 0', 'at least 1'),
    ('turns 1e3', "not '1e3'"),
    ('courts 3', "'courts' takes no number, but '3'")])
def test_wrong_rules_are_said(text, match):
  with pytest.raises(errors.ConfigError, match=match):
    adversaries.read(text)


def test_numbers_that_can_be_are_taken():
  for rule, number in (('wrong', 1), ('wrong', 100), ('turns', 3000)):
    assert adversaries.read(f'{rule} {number}').args == (rule, number)


def test_an_adversary_is_another_arm():
  data = helpers.arms(
      lore={}, a={'adversary': 'turns 2'}, c={'rival': 'jsrl 2'},
      b={'adversary': 'turns 2', 'rival': 'jsrl 2'})
  suite = suites.parse(data)
  config = suites.resolve(suite)['lore', 'dummy_line']
  assert len({
      suites.fingerprint(config, x.replaced) for x in suite.arms}) == 4
  data['arms']['d'] = {'adversary': 'turns 2'}
  with pytest.raises(errors.ConfigError, match="'a' and 'd'.*same config"):
    suites.resolve(suites.parse(data))
  data['arms']['d'] = {'adversary': 'courts', 'configs': ['minigrid']}
  with pytest.raises(errors.ConfigError, match="'d'.*adversary.*Add lore"):
    suites.resolve(suites.parse(data))
  data['arms']['d'] = {'adversary': 'harms'}
  with pytest.raises(errors.ConfigError, match="Unknown adversary 'harms'"):
    suites.parse(data)
