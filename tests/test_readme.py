"""The README says what is so."""

import pathlib
import re

import ruamel.yaml as yaml

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')


def leaves(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict):
      yield from leaves(value, f'{prefix}{key}.')
    else:
      yield prefix + key, value


def test_table_of_options():
  blocks = yaml.YAML(typ='safe').load(ROOT / 'configs' / 'lore.yaml')
  options = dict(leaves(blocks['defaults']))
  rows = re.findall(r'^\| `([^`]+)` \| `([^`]*)` \| (.+) \|$', README, re.M)
  assert [x for x, _, _ in rows] == list(options), 'other keys or order'
  for key, default, meaning in rows:
    value = options[key]
    read = yaml.YAML(typ='safe').load(default)
    assert read == value and type(read) is type(value), (key, default, value)
    assert meaning.endswith('.'), key


def test_links_exist():
  links = re.findall(r'\]\(([^)#]+)\)', README)
  local = [x for x in links if not x.startswith('http')]
  assert local
  for link in local:
    assert (ROOT / link).exists(), link


def test_commands_exist():
  targets = set(re.findall(r'^([a-z-]+):', (
      ROOT / 'Makefile').read_text(encoding='utf-8'), re.M))
  for target in re.findall(r'(?:^|`)make ([a-z-]+)', README, re.M):
    assert target in targets, target
