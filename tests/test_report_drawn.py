"""What a page calls the episodes that new seeds draw: layouts, or not."""

import pathlib
import sys

import pytest

from lore_plugin.report import figures
from lore_plugin.report import page
from lore_plugin.report import summary as report
from lore_plugin.runs import results as formats

sys.path.insert(0, str(pathlib.Path(__file__).parent / 'programs'))

import results  # noqa: E402


@pytest.mark.parametrize('task, words', [
    ('minigrid_DoorKey-5x5', 'layouts'), ('crafter_symbolic', 'episodes'),
    ('gymnasium_FrozenLake-v1', 'episodes')])
def test_new_seeds(tmp_path, monkeypatch, task, words):
  monkeypatch.setattr(figures, 'PLOTS', figures.PLOTS[1:2])
  folder = results.write(
      tmp_path / 'a', {'rl-only': [5000] * 2, 'x': [0] * 2}, task=task)
  results.table(folder / 'alone.csv.gz', formats.ALONE, [
      ('suite', arm, task, seed, step, 0.5, 0.5, 100)
      for arm in ('rl-only', 'x') for seed in range(2)
      for step in (4000, 8000)])
  report.write([folder])
  text = (folder / 'report' / 'index.html').read_text()
  assert f'advice off, {words} of new seeds, after training' in text
  assert f'without advice, on {words} of new seeds' in text
  assert ('layouts' in text) == (words == 'layouts')


@pytest.mark.parametrize('task, words', [
    ('minigrid_DoorKey-5x5', ', layout 3: '),
    ('crafter_symbolic', ', episode 3: ')])
def test_a_recorded_episode(task, words):
  assert words in page.label({
      'task': task, 'advice': False, 'actions': 'greedy', 'episode': 3})
