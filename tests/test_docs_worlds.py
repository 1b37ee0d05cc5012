"""docs/worlds.md: what it shows runs, and does what it says."""

import json
import pathlib
import re
import sys

import gymnasium
import pytest
import servers

from lore_plugin import errors
from lore_plugin.advisor import prompts
from lore_plugin.play import judge
from lore_plugin.worlds import registry

PAGE = pathlib.Path(__file__).parent.parent / 'docs' / 'worlds.md'
BLOCKS = re.findall(
    r'^```python\n(.*?)^```', PAGE.read_text(encoding='utf-8'), re.M | re.S)


@pytest.fixture
def module(tmp_path, monkeypatch):
  """The page's environment and world as a module called errand."""
  (tmp_path / 'errand.py').write_text(
      BLOCKS[0] + BLOCKS[1] + BLOCKS[3], encoding='utf-8')
  monkeypatch.syspath_prepend(str(tmp_path))
  monkeypatch.setattr(prompts, '_brought', {})
  yield 'errand'
  sys.modules.pop('errand', None)
  gymnasium.registry.pop('Errand-v0', None)


def test_the_blocks_run_in_order():
  names = {}
  for block in BLOCKS:
    exec(compile(block, str(PAGE), 'exec'), names)
  gymnasium.registry.pop('Errand-v0', None)
  assert len(BLOCKS) == 4 and names['questions']
  lines = sum(x.strip() != '' for x in BLOCKS[1].splitlines())
  assert lines <= 40, lines


def test_any_choice_does_the_errand(module, capsys):
  judge.main([
      'gymnasium_Errand-v0', '--advice', 'uniform', '--episodes', '20',
      '--env.gymnasium.imports', module, '--lore.world', f'{module}:Street',
      '--json'])
  result = json.loads(capsys.readouterr().out)
  assert result['success'] == 1.0 and result['questions'] < 20


def ask(module, world, *argv):
  judge.main([
      'gymnasium_Errand-v0', '--episodes', '1', '--env.gymnasium.imports',
      module, '--lore.world', f'{module}:{world}', '--advice', *argv])


def test_a_model_reads_the_worlds_own_prompt(module, capsys, monkeypatch):
  monkeypatch.setenv('OPENAI_API_KEY', 'sk-none-of-yours')
  server = servers.start(servers.good)
  try:
    for world in ('Told', 'Street'):
      ask(module, world, 'openai', '--lore.advisor.model', 'm',
          '--lore.advisor.url', server.url)
      told = json.dumps(server.seen.pop())
      own = world == 'Told'
      assert ('runs an errand in a street' in told) == own
      assert ('State: You have milk.' in told) == own
      assert ('a robot in a grid world' in told) != own
      assert 'Mission: bring bread home' in told
  finally:
    server.shutdown()


def test_the_examples_have_the_form_of_the_question(module):
  world = registry.get(f'{module}:Told')
  assert prompts.load(world.version)['prefix'].startswith(
      'Mission: bring milk home\nOptions: look at the left end, go home\n'
      'State: You have no milk.\nNext: look at the left end\n\n')
  assert world.version in prompts.worlds()
  world.examples = ((world.examples[0][0], 'buy milk'),)
  with pytest.raises(errors.ConfigError, match="'buy milk' is none of"):
    registry.get(f'{module}:Told')
