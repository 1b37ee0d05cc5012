"""The judge: advice alone, without an agent and without jax."""

import json
import subprocess
import sys

import pytest

from lore_plugin import errors
from lore_plugin.advisor import types
from lore_plugin.play import judge

WORLD = ('--lore.world', 'minigrid')


def run(capsys, *argv):
  judge.main([*argv, *WORLD, '--json'])
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
      'BlockedUnlockPickup', '--advice', 'adversarial', '--episodes', '3',
      *WORLD])
  out = capsys.readouterr().out
  assert '0.00 [0.00, ' in out and 'failed 3 times' in out or (
      'failed 2 times' in out)


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
