"""The README says what is so."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')


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
