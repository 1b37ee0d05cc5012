"""The judge: advice alone, without an agent and without jax."""

import json
import subprocess
import sys

import pytest

from lore_plugin import curves
from lore_plugin import errors
from lore_plugin.advisor import types
from lore_plugin.play import judge


def run(capsys, *argv):
  judge.main([*argv, '--json'])
  return [json.loads(x) for x in capsys.readouterr().out.splitlines()]


def test_one_object_a_task_and_advice(capsys):
  found = run(
      capsys, 'DoorKey-5x5', 'minigrid_MultiRoom-N2-S4', '--advice',
      'scripted', 'uniform', '--episodes', '5')
  assert [(x['task'], x['advice']) for x in found] == [
      ('minigrid_DoorKey-5x5', 'scripted'),
      ('minigrid_DoorKey-5x5', 'uniform'),
      ('minigrid_MultiRoom-N2-S4', 'scripted'),
      ('minigrid_MultiRoom-N2-S4', 'uniform')]
  assert found[0]['success'] == 1 and found[0]['interval'][1] == 1
  assert 0 < found[0]['calls'] <= found[0]['questions'] <= 15
  assert found[1]['calls'] == 0
  assert found[0]['step_ms'] > 0 and not found[0]['failed_at']


def test_the_same_again(capsys):
  once, again = (
      run(capsys, 'DoorKey-5x5', '--advice', 'uniform', '--episodes', '4')
      for _ in range(2))
  for x in (*once, *again):
    x.pop('step_ms')
  assert once == again


def test_where_bad_advice_fails(capsys):
  judge.main([
      'BlockedUnlockPickup', '--advice', 'adversarial', '--episodes', '3'])
  out = capsys.readouterr().out
  assert '0.00 [0.00, ' in out and 'failed 3 times' in out or (
      'failed 2 times' in out)


def test_experience_gets_out_of_what_bad_advice_leads_into(capsys):
  # Without it the blocking ball is never moved: 0 of 3, see above.
  (found,) = run(
      capsys, 'BlockedUnlockPickup', '--advice', 'adversarial',
      '--episodes', '6', '--experience', 'on')
  assert found['success'] >= 0.5
  assert found['late']['success'] >= found['success']


class Broken(types.Provider):
  name = 'broken'

  def ask(self, query):
    raise errors.FailedCall('no line')


def test_a_provider_that_fails_is_said(capsys, monkeypatch):
  monkeypatch.setattr(
      judge.providers, 'create', lambda *args: Broken())
  found, = run(capsys, 'DoorKey-5x5', '--advice', 'mock', '--episodes', '2')
  assert found['failures'] == found['calls'] > 0
  assert found['failure'] == 'no line'


@pytest.mark.parametrize('argv, words', [
    (['DoorKey-5x5', '--advice', 'gpt'], 'Unknown advice'),
    (['DoorKey-5x5', '--episodes', '0'], 'at least 1'),
    (['DorKey-5x5'], 'Close to it'),
    (['DoorKey-5x5', '--lore.advisor.modle', 'x'], 'Did you mean')])
def test_bad_input(argv, words):
  with pytest.raises(errors.LoreError, match=words):
    judge.main(argv)


@pytest.mark.process
def test_no_jax_is_needed():
  code = (
      'import sys; sys.modules["jax"] = None; from lore_plugin.play import '
      'judge; judge.main(["DoorKey-5x5", "--episodes", "1", "--json"])')
  done = subprocess.run(
      [sys.executable, '-c', code], capture_output=True, text=True)
  assert done.returncode == 0, done.stderr


def test_scores_with_a_bootstrap():
  import numpy as np
  done = np.array([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
  score = lambda x: curves.crafter_score(x.mean(0))
  low, high = judge.resample(done, score)
  assert low < score(done) < high < 100
  assert (low, high) == judge.resample(done, score)
  # One that is always unlocked, one in a quarter: exp(mean log(1 + s)) - 1.
  assert score(done) == pytest.approx((101 * 26) ** 0.5 - 1)
  assert judge.resample(done[:1], score) == (score(done[:1]),) * 2


def test_a_task_that_tells_no_success_shows_its_return(capsys):
  argv = ('gymnasium_CartPole-v1', '--advice', 'uniform', '--episodes', '3',
          '--lore.advisor.mode', 'action')
  judge.main([*argv, '--json'])
  found = json.loads(capsys.readouterr().out)
  low, high = found['return_interval']
  assert not found['tells_success'] and low <= found['return'] <= high
  judge.main(list(argv))
  assert f'return {found["return"]:.2f} [' in capsys.readouterr().out


class Paid(types.Provider):
  name = 'paid'

  def __init__(self):
    self.count = 0

  def ask(self, query):
    self.count += 1
    if self.count == 1:
      error = errors.ParseError('no scores')
      error.tokens, error.money = 50, 0.25
      raise error
    scores = tuple(-float(i) for i in range(len(query.candidates)))
    return types.Reply(scores, 'x', 90, 10, 0.5)


def test_what_was_spent_and_what_a_run_would_cost(capsys, monkeypatch):
  monkeypatch.setattr(judge.providers, 'create', lambda *args: Paid())
  argv = ('DoorKey-5x5', '--advice', 'mock', '--episodes', '2')
  judge.main([*argv, '--json'])
  found = json.loads(capsys.readouterr().out)
  answered = found['calls'] - 1
  assert found['tokens'] == 50 + 100 * answered
  assert found['money'] == 0.25 + 0.5 * answered
  steps = found['length'] * found['episodes']
  assert found['money_run'] == pytest.approx(found['money'] * 1e5 / steps)
  judge.main(list(argv))
  out = capsys.readouterr().out
  assert f'{found["money"]:.4f} dollars so far' in out
  assert f'100,000 steps costs at most {found["money_run"]:.2f}' in out


def result(task, advice, success):
  return {
      'task': task, 'advice': advice, 'success': success, 'return': 0.0,
      'tells_success': True}


def test_what_comes_next():
  found = [
      result('minigrid_DoorKey-8x8', 'local', 0.4),
      result('minigrid_DoorKey-8x8', 'uniform', 0.6),
      result('crafter_symbolic', 'local', 0.5),
      result('crafter_symbolic', 'uniform', 0.1)]
  assert judge.follow(found, ['--lore.advisor.threads', '2']) == (
      'python -m lore_plugin --configs minigrid lore --task '
      'minigrid_DoorKey-8x8 --lore.advisor.provider uniform '
      '--lore.advisor.threads 2')
  assert '--configs crafter_small lore' in judge.follow(found[2:], [])
  assert judge.compare(found).startswith('In minigrid_DoorKey-8x8 no advice')
  # One advice alone is compared with nothing.
  assert judge.compare(found[2:]) == judge.compare(found[:1]) == ''


def test_what_was_played_is_shown_before_an_error(capsys):
  with pytest.raises(errors.LoreError, match='minigrid_Nowhere, advice'):
    judge.main([
        'DoorKey-5x5', 'Nowhere', '--advice', 'uniform', '--episodes', '1'])
  assert 'DoorKey-5x5' in capsys.readouterr().out
