"""Runs of a suite that fail, and what they have spent."""

import sqlite3
import sys

import pytest
from ablating import ROOT

from lore_plugin import errors
from lore_plugin import logdir
from lore_plugin.advisor import database
from lore_plugin.advisor import store as storelib
from lore_plugin.runs import ablate
from lore_plugin.runs import aside
from lore_plugin.runs import plan
from lore_plugin.runs import suites

SUITE = """
  name: small
  steps: 2000
  seeds: 1
  tasks: [minigrid_DoorKey-5x5]
  configs: [minigrid, lore]
  overrides: {lore.advisor.provider: scripted, lore.advisor.money: 1.0}
  arms: {a: {}}
"""
SPENDING = (sys.executable, str(ROOT / 'tests/programs/spending.py'))


@pytest.fixture
def write(tmp_path, monkeypatch):
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  monkeypatch.setenv('LORE_XLA_FLAGS', '')
  def inner(text=SUITE):
    path = tmp_path / 'suite.yaml'
    path.write_text(text)
    return str(path)
  return inner


def fail(path, out):
  with pytest.raises(errors.LoreError, match='failed twice'):
    ablate.main([path, '--out', str(out), '--jobs', '1'], program=SPENDING)


def said(out):
  """The last line of each failed try, in order."""
  places = sorted((out / 'small/failed/a/minigrid_DoorKey-5x5').iterdir())
  return [(x / 'output.txt').read_text().splitlines()[-1] for x in places]


@pytest.mark.process
def test_a_cap_holds_over_all_tries(write, tmp_path):
  """Two commands of two tries each spend one dollar, not four."""
  path, out = write(), tmp_path / 'runs'
  fail(path, out)
  fail(path, out)
  assert said(out) == ['knew 0, asked 4', *['knew 4, asked 0'] * 3]
  # A run of another configuration has paid for nothing yet.
  fail(write(SUITE.replace('money: 1.0', 'money: 2.0')), out)
  assert said(out)[4:] == ['knew 0, asked 4', 'knew 4, asked 0']


@pytest.mark.process
def test_what_was_spent_and_cannot_be_read_is_not_spent_again(write, tmp_path):
  path, out = write(), tmp_path / 'runs'
  fail(path, out)
  for store in out.glob('small/failed/*/*/*/advice.sqlite*'):
    store.write_bytes(b'no file of SQLite, but as long as a page' * 20)
  fail(path, out)
  assert said(out)[:2] == ['knew 0, asked 4', 'knew 4, asked 0']
  assert all("spent can't be read" in x for x in said(out)[2:])


def test_the_last_try_that_paid_is_taken(write, tmp_path):
  """Of ten tries, the last has left no file; '10' is later than '9'."""
  (item,) = plan.plan(suites.load(write()), tmp_path)
  for number in range(1, 11):
    item.logdir.mkdir(parents=True)
    logdir.write_json(item.logdir / logdir.RECORD, {
        'digest': item.digest, 'share': 'none'})
    if number < 10:
      store = storelib.Store(item.logdir / logdir.STORE)
      store.annotate('number', str(number))
      store.close()
    assert aside.put(item, tmp_path).name == f'0-{number}'
  item.logdir.mkdir(parents=True)
  aside.take_back(item, tmp_path)
  assert [x.name for x in item.logdir.iterdir()] == [logdir.STORE]
  store = storelib.Store(item.logdir / logdir.STORE)
  assert store.note('number') == '9'
  store.close()
  # What a run has is its own.
  store = storelib.Store(tmp_path / 'other.sqlite')
  store.close()
  (tmp_path / 'other.sqlite').replace(item.logdir / logdir.STORE)
  aside.take_back(item, tmp_path)
  store = storelib.Store(item.logdir / logdir.STORE)
  assert not store.note('number')
  store.close()


def test_a_copy_has_what_is_not_in_the_file_yet(tmp_path):
  """Three calls, of which a process that is still there has just told."""
  store = storelib.Store(tmp_path / 'one.sqlite')
  for key in 'abc':
    store.reserve('run', key)
  assert (tmp_path / 'one.sqlite-wal').stat().st_size > 0
  database.duplicate(tmp_path / 'one.sqlite', tmp_path / 'two.sqlite')
  copy = storelib.Store(tmp_path / 'two.sqlite')
  assert copy.spent('run')['calls'] == store.spent('run')['calls'] == 3
  copy.close()
  store.close()
  (tmp_path / 'bad.sqlite').write_bytes(b'no file of SQLite' * 100)
  with pytest.raises(sqlite3.Error):
    database.duplicate(tmp_path / 'bad.sqlite', tmp_path / 'three.sqlite')
  assert not list(tmp_path.glob('three*'))
