"""Files that other programs read: container, workflow, citation, benchmark."""

import ast
import datetime
import pathlib
import re
import subprocess

import pytest
import ruamel.yaml

import lore_plugin

ROOT = pathlib.Path(__file__).parent.parent
TARGETS = set(re.search(
    r'^\.PHONY: ((?:.*\\\n)*.*)$', (ROOT / 'Makefile').read_text(),
    re.M).group(1).replace('\\', ' ').split())


def read(name):
  return (ROOT / name).read_text(encoding='utf-8')


def load(name):
  return ruamel.yaml.YAML(typ='safe').load(read(name))


def extras():
  """Returns the extras of setup.py."""
  found = re.search(r'^EXTRAS = \{\n(.*?)^\}', read('setup.py'), re.M | re.S)
  return set(ast.literal_eval(f'{{{found.group(1)}}}'))


def test_what_the_container_file_names_is_there():
  text = read('Containerfile').replace('\\\n', ' ')
  steps = [x.split(None, 1) for x in text.splitlines()
           if x and not x.startswith('#')]
  names = [x for x, _ in steps]
  assert names[0] == 'FROM' and set(names) <= {
      'FROM', 'ARG', 'RUN', 'WORKDIR', 'COPY', 'ENV', 'ENTRYPOINT', 'CMD'}
  copied = set()
  for name, rest in steps:
    if name == 'COPY':
      *sources, target = rest.split()
      assert all((ROOT / x).exists() for x in sources), rest
      assert len(sources) > 1 or target == sources[0], rest
      copied |= set(sources)
    if name == 'RUN' and 'make setup' in rest:
      # What this needs has been copied by then.
      assert copied >= {
          'setup.py', 'pyproject.toml', 'Makefile', 'README.md', 'LICENSE',
          'patches', 'configs', 'lore_plugin'}
  ignored = read('.dockerignore').split()
  assert not copied & set(ignored)
  for words in re.findall(r'EXTRAS[= ]"?([a-z0-9,]+)', text):
    assert set(words.split(',')) <= extras(), words
  major, minor = re.search(r'python:(\d+)\.(\d+)', text).groups()
  assert (int(major), int(minor)) >= (3, 11)
  assert ast.literal_eval(dict(steps)['ENTRYPOINT']) == [
      'python', '-m', 'lore_plugin']


def test_the_workflow_makes_what_the_makefile_has():
  flow = load('.github/workflows/tests.yml')
  job = flow['jobs']['quick']
  runs = [x['run'] for x in job['steps'] if 'run' in x]
  assert runs == ['make setup', 'make lint', 'make test-unit']
  assert {x.split()[1] for x in runs} <= TARGETS
  assert job['strategy']['matrix']['python'][0] == '3.11'
  assert flow['permissions'] == {'contents': 'read'}
  for step in job['steps']:
    for path in step.get('with', {}).get(
        'cache-dependency-path', '').split():
      assert (ROOT / path).exists(), path


def test_the_citation_is_of_this_version():
  data = load('CITATION.cff')
  assert data['version'] == lore_plugin.__version__
  date = data['date-released']
  assert f'## {data["version"]} ({date})' in read('CHANGELOG.md')
  assert isinstance(date, datetime.date)
  paper = data['preferred-citation']
  assert paper['title'].startswith('LoRe: Uncertainty-Gated')
  for entry in (paper, *data['references']):
    assert entry['authors'] and entry['year'] and entry['url']


@pytest.mark.process
def test_the_scripts_can_be_read():
  for name in ('benchmarks/gpu.sh', 'patches/setup.sh', '.ci/run'):
    subprocess.run(['bash', '-n', ROOT / name], check=True)


def test_the_gpus_flags_are_options():
  """What it can't try here at least has names that exist."""
  from lore_plugin import config as configlib
  text = read('benchmarks/gpu.py')
  blocks = configlib.load()
  keys = configlib.resolve([], blocks).flat
  for key in re.findall(r"'--((?:run|lore|jax|env|agent|logger)\.[\w.]+)'",
                        text):
    assert key in keys, key
  for size in ('size12m', 'size50m', 'minigrid', 'debug', 'lore'):
    assert size in blocks and size in text, size
  for path in ('run_upstream.py', 'run_lore.py'):
    assert path in text and (ROOT / 'tests' / 'programs' / path).exists()
  variables = set(re.findall(r"get\('(\w+)'", text))
  script = read('benchmarks/gpu.sh')
  assert all(re.search(rf'\b{x}\b', script) for x in variables), variables
