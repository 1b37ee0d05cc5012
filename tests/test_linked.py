"""Runs that several suites or commands have in common."""

import pathlib

import pytest

from lore_plugin import errors
from lore_plugin.runs import collect

from ablating import episodes, records, run
from helpers import SUITE

pytestmark = [pytest.mark.process, pytest.mark.usefixtures('xla_unasked')]


def test_only_some_tasks_at_a_time(write, tmp_path):
  path, out = write(SUITE), tmp_path / 'runs'
  run(path, out, '--seeds', 1)
  before = {(x['arm'], x['task']) for x in records(out / 'results/small')}
  run(path, out, '--seeds', 1, '--tasks', 'minigrid_Empty-5x5')
  run(path, out, '--seeds', 1, '--tasks', 'minigrid_Empty-6x6')
  after = {(x['arm'], x['task']) for x in records(out / 'results/small')}
  assert before < after and len(after) == 6
  assert {x['status'] for x in records(out / 'results/small')} == {'finished'}


def test_the_same_run_of_another_suite_is_linked(
    write, tmp_path, monkeypatch, capsys):
  out = tmp_path / 'runs'
  monkeypatch.setattr(collect, 'commit', lambda: 'abc')
  run(write(SUITE), out, '--seeds', 1)
  other = write(
      SUITE.replace('name: small', 'name: next').replace('other:', 'more:')
      .replace('plain:', 'same:').replace('batch_size: 8', 'batch_size: 4'),
      'next.yaml')
  run(other, out, '--seeds', 1)
  found = {(x['arm'], x['task']): x for x in records(out / 'results/next')}
  for (arm, task), row in found.items():
    linked = f'small/plain/{task}/0' if arm == 'same' else None
    assert row['linked'] == linked and row['status'] == 'finished'
    assert row['arm'] == arm
  assert {x['arm'] for x in episodes(out / 'results/next')} == {'same', 'more'}
  # Of another commit it would be another experiment.
  monkeypatch.setattr(collect, 'commit', lambda: 'def')
  third = write(SUITE.replace('name: small', 'name: third'), 'third.yaml')
  run(third, out, '--seeds', 1)
  assert not any(x['linked'] for x in records(out / 'results/third'))


def test_a_link_is_no_longer_one_where_a_run_goes_on(
    write, tmp_path, monkeypatch):
  out = tmp_path / 'runs'
  monkeypatch.setattr(collect, 'commit', lambda: 'abc')
  run(write(SUITE), out, '--seeds', 1)
  other = write(SUITE.replace('name: small', 'name: next'), 'next.yaml')
  run(other, out, '--seeds', 1)
  assert all(x['linked'] for x in records(out / 'results/next'))
  # Whoever goes on with it makes a run of its own: the other's is not touched.
  before = records(out / 'results/small')
  run(other, out, '--seeds', 1, '--steps', 60)
  found = records(out / 'results/next')
  assert {(x['steps'], x['linked']) for x in found} == {(60, None)}
  run(write(SUITE), out, '--seeds', 1)
  assert records(out / 'results/small') == before
  # Nor is a link what its run became.
  more = write(SUITE.replace('name: small', 'name: more'), 'more.yaml')
  run(more, out, '--seeds', 1)
  run(write(SUITE), out, '--seeds', 1, '--steps', 60)
  run(more, out, '--seeds', 1, '--collect')
  assert {x['status'] for x in records(out / 'results/more')} == {'missing'}


def test_runs_with_other_variables_are_not_linked(
    write, tmp_path, monkeypatch):
  out = tmp_path / 'runs'
  monkeypatch.setattr(collect, 'commit', lambda: 'abc')
  run(write(SUITE), out, '--seeds', 1)
  # With other variables it may do something else.
  own = write(SUITE.replace('name: small', 'name: own') + "  env: {FOO: x}\n",
              'own.yaml')
  run(own, out, '--seeds', 1)
  assert not any(x['linked'] for x in records(out / 'results/own'))
  changed = pathlib.Path(own).read_text().replace('FOO: x', 'FOO: y')
  with pytest.raises(errors.ConfigError, match="'FOO': 'x'.*'FOO': 'y'"):
    run(write(changed, 'own.yaml'), out, '--seeds', 1)
