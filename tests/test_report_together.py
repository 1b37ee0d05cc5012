"""What a report refuses to put together, and what it says where it does."""

import json
import pathlib
import sys

import pytest

from lore_plugin import errors
from lore_plugin.report import figures
from lore_plugin.report import load
from lore_plugin.report import summary as report
from lore_plugin.runs import results as formats

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'programs'))

import results  # noqa: E402


@pytest.fixture(autouse=True)
def quickly(monkeypatch):
  """Draws the first figure alone."""
  monkeypatch.setattr(figures, 'PLOTS', figures.PLOTS[:1])


def test_commits_are_not_mixed(tmp_path):
  folder = results.write(tmp_path / 'a', {'rl-only': [5000] * 2, 'x': [0] * 2})
  path = folder / 'runs.json'
  rows = json.loads(path.read_text())
  rows[3]['commit'] = 'badc0de123456'
  path.write_text(json.dumps(rows))
  with pytest.raises(errors.ConfigError, match='3 of c0ffee1234, 1 of badc0'):
    report.write([folder])
  assert not (folder / 'report').exists()
  report.main([str(folder), '--mixed-commits'])
  text = (folder / 'report' / 'index.html').read_text()
  assert 'Runs of different commits' in text
  # Of no figure is what did not finish.
  rows[3].update(status='crashed', summary=None)
  path.write_text(json.dumps(rows))
  load.check_commits(load.load([folder])[0])


def test_commits_are_not_mixed_inside_a_run_either(tmp_path):
  folder = results.write(tmp_path / 'a', {'rl-only': [5000] * 2, 'x': [0] * 2})
  path = folder / 'runs.json'
  rows = json.loads(path.read_text())
  rows[3].update(commits=['badc0de123456', 'c0ffee1234567890'], failures=[1])
  path.write_text(json.dumps(rows))
  with pytest.raises(
      errors.ConfigError, match='1 of badc0de123 and c0ffee1234'):
    report.write([folder])
  page = report.write([folder], mixed=True).read_text()
  assert 'Runs of different commits' in page
  assert 'failed and were made again; the failed ones are in no figure: x, ' \
      'seed 1.' in page


def test_arms_of_other_lengths_are_compared_where_both_are(tmp_path):
  """What a longer run came to later is nothing to compare with."""
  a = results.write(tmp_path / 'a', {'rl-only': [5000] * 5})
  b = results.write(tmp_path / 'b', {'x': [2000] * 5}, steps=4000)
  report.write([a, b], tmp_path / 'out')
  section, = json.loads(
      (tmp_path / 'out' / 'statistics.json').read_text())['sections']
  assert section['limit'] == 4000 and 3000 < section['stop'] < 4000
  x = section['comparisons']['x']
  # Up to step 4,000 rl-only never succeeded; it was evaluated at 8,000 alone.
  assert 0.3 < x['final']['value'] < 0.8 and x['alone'] is None
  assert section['arms']['rl-only']['alone'] is None
  page = (tmp_path / 'out' / 'index.html').read_text()
  assert 'All is of the first 4,000' in page


def test_two_measures_of_the_agent_alone_have_no_ratio(tmp_path):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [5000] * 5, 'x': [0] * 5})
  results.table(folder / 'alone.csv.gz', formats.ALONE, [
      ('suite', 'x', results.TASK, seed, 4000, 1, 1, 100)
      for seed in range(5)])
  page = report.write([folder]).read_text()
  section, = json.loads(
      (folder / 'report' / 'statistics.json').read_text())['sections']
  assert section['comparisons']['x']['alone_steps'] is None
  assert 'ten control episodes in a row for rl-only' in page


def test_arms_that_have_not_finished_count_as_planned(tmp_path):
  folder = results.write(
      tmp_path / 'a', {'rl-only': [5000] * 5, 'x': [0] * 5}, extra=[
          results.run(f'later-{k}', 0, status='missing', summary=None)
          for k in range(6)])
  page = report.write([folder]).read_text()
  # 7 arms of 5 seeds: 7 * 2 / 252.
  assert 'least possible p is 0.06 with 7 planned arms' in page
  assert 'can give a p value below 0.06' in page


def test_tasks_and_suites_are_kept_apart(tmp_path):
  a = results.write(tmp_path / 'a', {'rl-only': [0], '<b>': [0]})
  b = results.write(
      tmp_path / 'b', {'x': [None, None, None]}, 'minigrid_Unlock', 2000)
  out = tmp_path / 'out'
  report.write([a, b], out)
  names = {x.name for x in out.iterdir()}
  assert 'suite-minigrid-doorkey-5x5-curves.svg' in names
  assert 'suite-minigrid-unlock-curves.svg' in names
  sections = json.loads((out / 'statistics.json').read_text())['sections']
  assert [list(x['arms']) for x in sections] == [['rl-only', '<b>'], ['x']]
  page = (out / 'index.html').read_text()
  assert '<b>' not in page and '&lt;b&gt;' in page
  assert 'too few seeds to show anything (1 against 1' in page
  assert 'There is no finished arm &#x27;rl-only&#x27;' in page
  assert 'No episodes were recorded' in page
