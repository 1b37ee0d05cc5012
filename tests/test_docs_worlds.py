"""docs/worlds.md: what it shows runs, and does what it says."""

import json
import pathlib
import re
import sys

import gymnasium
import pytest

from lore_plugin.play import judge

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'worlds.md'
BLOCKS = re.findall(
    r'^```python\n(.*?)^```', PAGE.read_text(encoding='utf-8'), re.M | re.S)


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The page's environment and world as a module called errand."""
  (tmp_path / 'errand.py').write_text(
      BLOCKS[0] + BLOCKS[1], encoding='utf-8')
  monkeypatch.syspath_prepend(str(tmp_path))
  yield 'errand'
  sys.modules.pop('errand', None)
  gymnasium.registry.pop('Errand-v0', None)


def test_the_blocks_run_in_order():
  names = {}
  for block in BLOCKS:
    exec(compile(block, str(PAGE), 'exec'), names)
  gymnasium.registry.pop('Errand-v0', None)
  assert len(BLOCKS) == 3 and names['questions']
  lines = sum(x.strip() != '' for x in BLOCKS[1].splitlines())
  assert lines <= 40, lines


def test_any_choice_does_the_errand(module, capsys):
  judge.main([
      'gymnasium_Errand-v0', '--advice', 'uniform', '--episodes', '20',
      '--env.gymnasium.imports', module, '--lore.world', f'{module}:Street',
      '--json'])
  result = json.loads(capsys.readouterr().out)
  assert result['success'] == 1.0 and result['questions'] < 20
