"""What runs logged becomes rows, whatever happened to them."""

import json
import time

from lore_plugin import logdir as logdirlib
from lore_plugin.advisor import store as storelib
from lore_plugin.runs import ablate
from lore_plugin.runs import collect

from helpers import SUITE


def test_shared_advisors_of_two_machines():
  old = collect.Old(None, None)
  first, second = ({'calls': x, 'began': x} for x in (5, 7))
  old.shared = {'a': first}
  assert old.merge({'a': second}) == {'a': first, 'a-2': second}
  old.shared = old.merge({'a': second})
  # Collected again, later.
  again = {**second, 'calls': 9}
  assert old.merge({'a': again}) == {'a': first, 'a-2': again}


def lines(path, rows):
  path.write_text(''.join(json.dumps(x) + '\n' for x in rows) + '{"step": 9')


def test_collect_by_hand(tmp_path):
  """A run that was killed at step 8 and went on from step 5."""
  logdir = tmp_path
  lines(logdir / 'scores.jsonl', [
      {'step': s, 'episode/score': v}
      for s, v in ((3, 0.0), (7, 0.5), (6, 0.9), (9, 0.0))])
  lines(logdir / 'metrics.jsonl', [
      {'step': 3, 'episode/length': 3.0},
      {'step': 4, 'train/lore/kl': 0.1, 'train/lore/trust': 0.5},
      {'step': 7, 'episode/length': 4.0},
      {'step': 8, 'train/lore/kl': 0.9},
      {'step': 6, 'episode/length': 2.0},
      {'step': 9, 'episode/length': 5.0},
      {'step': 9, 'train/lore/kl': 0.25}])
  (logdir / 'config.yaml').write_text('task: minigrid_DoorKey-5x5')
  lines(logdir / 'episodes.jsonl', [
      {'step': 3, 'advised': 1, 'calls': 2.0, 'length': 3},
      {'step': 7, 'advised': 1, 'calls': 4.0, 'length': 4},
      {'step': 6, 'advised': 0, 'calls': 3.0, 'length': 2}])
  rows = logdirlib.read_metrics(logdir)
  assert [x['step'] for x in rows] == [3, 4, 6, 9]
  assert list(collect.read_episodes(logdir, rows)) == [
      (3, 0, 0, 0.0, 3, 1, 2), (6, 1, 1, 0.9, 2, 0, 3),
      (9, 2, 0, 0.0, 5, '', '')]
  series = list(collect.read_series(rows))
  index = 1 + list(collect.METRICS).index('kl')
  assert [(x[0], x[index]) for x in series] == [(4, 0.1), (9, 0.25)]
  assert series[0][1 + list(collect.METRICS).index('trust')] == 0.5


def test_control_episodes_that_were_advised_in_the_end(tmp_path):
  """They keep their success, and are of neither arm."""
  lines(tmp_path / 'scores.jsonl', [
      {'step': s, 'episode/score': 0.9, 'episode/success': 1.0}
      for s in (3, 6)])
  lines(tmp_path / 'metrics.jsonl', [
      {'step': s, 'episode/score': 0.9, 'episode/success': 1.0,
       'episode/length': 3.0, 'train/lore/kl': 0.1} for s in (3, 6)])
  lines(tmp_path / 'episodes.jsonl', [
      {'step': 3, 'advised': 0, 'calls': 2.0, 'length': 3, 'changed': 64},
      {'step': 6, 'advised': 0, 'calls': 2.0, 'length': 3, 'changed': None}])
  rows = logdirlib.read_metrics(tmp_path)
  assert list(collect.read_episodes(tmp_path, rows)) == [
      (3, 0, 1, 0.9, 3, 0.5, 2), (6, 1, 1, 0.9, 3, 0, 2)]


def test_runs_without_advisor_made_no_calls(tmp_path):
  lines(tmp_path / 'scores.jsonl', [{'step': 3, 'episode/score': 1.0}])
  lines(tmp_path / 'metrics.jsonl', [{'step': 3, 'episode/length': 3.0}])
  rows = logdirlib.read_metrics(tmp_path)
  # A return above 0 is no success, unless the environment says so.
  assert list(collect.read_episodes(tmp_path, rows)) == [
      (3, 0, '', 1.0, 3, 0, 0)]
  assert list(collect.read_series(rows)) == []


def test_calls_before_a_kill_count(tmp_path):
  """The counters go back to the last checkpoint, the ledger doesn't."""
  summary = {'advisor': {'calls': 2.0}}
  assert collect.read_calls(tmp_path, summary, {}) == 2
  store = storelib.Store(tmp_path / 'advice.sqlite')
  for account in ('run-a', 'run-a', 'run-a', 'evaluation-1'):
    store.reserve(account, f'key {time.time_ns()}')
  store.close()
  assert collect.read_calls(tmp_path, summary, {}) == 3
  assert collect.read_calls(tmp_path, summary, {'share': 'file'}) == 2


def test_series_are_thinned(tmp_path):
  lines(tmp_path / 'metrics.jsonl', [
      {'step': i, 'train/lore/kl': i / 10} for i in range(1, 1001)])
  found = list(collect.read_series(logdirlib.read_metrics(tmp_path)))
  assert len(found) == 200
  assert (found[0][0], found[-1][0]) == (1, 1000)


def test_nothing_to_collect(write, tmp_path, capsys):
  ablate.main([write(SUITE), '--out', str(tmp_path / 'runs'), '--collect'])
  assert '0 runs finished, 0 crashed, 8 missing' in capsys.readouterr().out
