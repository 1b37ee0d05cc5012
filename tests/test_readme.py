"""README and docs say what is so."""

import collections
import csv
import gzip
import json
import pathlib
import re
import shlex
import statistics

import pytest

from lore_plugin import __main__ as program
from lore_plugin import config as configlib
from lore_plugin import options
from lore_plugin import retired
from lore_plugin.runs import suites

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
PAGES = [
    ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', ROOT / 'CHANGELOG.md',
    *sorted((ROOT / 'docs').glob('*.md')),
    *sorted((ROOT / 'results').rglob('*.md'))]
SHELL = re.compile(r'^```sh\n(.*?)^```', re.M | re.S)
# What stands in a command for what the user types.
BLANKS = {'PATH', 'PATTERN', 'LOGDIR', 'SUITE', 'TASK', '...'}

parametrize = pytest.mark.parametrize(
    'page', PAGES, ids=lambda x: str(x.relative_to(ROOT)))


def anchors(path):
  """Returns the anchors of a page's headings."""
  found = re.findall(r'^#+ (.+)$', path.read_text(encoding='utf-8'), re.M)
  return {
      re.sub(r'[^\w -]', '', x.lower()).replace(' ', '-') for x in found}


def commands(text):
  """Returns the commands of a page's shell blocks, as words."""
  for block in SHELL.findall(text):
    lines = block.replace('\\\n', ' ')
    if "'{" in lines:
      continue  # A question in JSON over several lines.
    for line in lines.splitlines():
      for part in line.split('&&'):
        words = shlex.split(part, comments=True)
        if words:
          yield words


@parametrize
def test_links_resolve(page):
  text = re.sub(
      r'^(```.*?^```|    .*?$)', '', page.read_text('utf-8'),
      flags=re.M | re.S)
  for link in re.findall(r'\]\(([^)]+)\)', text):
    if link.startswith('http'):
      continue
    path, _, anchor = link.partition('#')
    there = page.parent / path if path else page
    assert there.exists(), link
    if anchor:
      assert anchor in anchors(there), link


@parametrize
def test_commands_exist(page):
  """Commands, blocks, suites and options of shell blocks are there."""
  blocks = {*configlib.load(), 'crafter'}
  for words in commands(page.read_text(encoding='utf-8')):
    if words[:3] == ['python', '-m', 'lore_plugin'] and len(words) > 3:
      name = words[3]
      assert name in program.COMMANDS or name.startswith('-'), words
      if name == 'ablate' and words[4] not in BLANKS:
        assert words[4] in suites.names() or words[4].endswith(
            '.yaml'), words
    for word in words:
      key = word.removeprefix('--').partition('=')[0]
      if word.startswith('--lore.'):
        assert key in options.TABLE and key not in retired.KEYS, words
    if '--configs' in words:
      rest = words[words.index('--configs') + 1:]
      end = next(
          (i for i, x in enumerate(rest) if x.startswith('-')), len(rest))
      assert set(rest[:end]) <= blocks | BLANKS, words


def test_make_targets_exist():
  makefile = (ROOT / 'Makefile').read_text(encoding='utf-8')
  targets = set(re.findall(r'^([a-z-]+):', makefile, re.M))
  phony = re.search(r'^\.PHONY: ((?:.*\\\n)*.*)$', makefile, re.M).group(1)
  targets |= set(phony.replace('\\', ' ').split())
  for page in PAGES:
    text = page.read_text(encoding='utf-8')
    for target in re.findall(r'(?:^|`)make ([a-z-]+)', text, re.M):
      assert target in targets, (page, target)


def test_the_table_of_a_runs_end_is_the_programs():
  """The sample in the README is what `status.table` makes of that run."""
  from lore_plugin import status
  summary = json.loads(
      (ROOT / 'results/first-run/summary.json').read_text(encoding='utf-8'))
  for line in status.table(summary, 'logdir/doorkey').splitlines():
    assert line in README or line.startswith('Files:'), line


def test_the_figures_of_the_readme_are_those_of_the_results():
  levels = json.loads(gzip.decompress(
      (ROOT / 'results/worlds/levels.json.gz').read_bytes()))
  crafter = [json.loads(x) for x in (
      ROOT / 'results/worlds-crafter/judge-50.jsonl').read_text(
          encoding='utf-8').splitlines()]
  found = {}
  for name in ('local', 'uniform', 'scripted'):
    success = {
        x['task'].removeprefix('minigrid_'): x['success'] for x in levels
        if x['advice'] == name}
    (score,) = (x for x in crafter if x['advice'] == name)
    low, high = score['score_interval']
    found[name] = (
        f'{sum(x >= 0.95 for x in success.values())}',
        ', '.join(f'{success[x]:.2f}' for x in (
            'FourRooms', 'RedBlueDoors-8x8', 'BabyAI-Synth-v0')),
        f'{score["score"]:.1f} [{low:.1f}, {high:.1f}]')
  for row in zip(*found.values(), strict=True):
    assert f'| {" | ".join(row)} |' in README


def test_its_ratios_are_those_of_figure1():
  folder = ROOT / 'results/figure1'
  first = collections.defaultdict(lambda: 12_000)
  with gzip.open(folder / 'alone.csv.gz', 'rt', encoding='utf-8') as f:
    for row in csv.DictReader(f):
      if float(row['success']) >= 0.9:
        key = row['arm'], row['seed']
        first[key] = min(first[key], int(row['step']))
  mean = lambda arm: statistics.fmean(
      first[arm, str(seed)] for seed in range(100, 110))
  base = mean('rl-only')
  page = (folder / 'README.md').read_text(encoding='utf-8')
  for arm in ('lore-local', 'lore-scripted', 'lore-uniform'):
    assert f'{mean(arm) / base:.2f} [' in README
    assert f'| {mean(arm):,.0f} [' in page
    assert f'{mean(arm) / base:.3f} [' in page
  assert f'| {base:,.0f} [' in page
