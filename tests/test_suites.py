"""Suites: what a file says becomes runs, or one clear error."""

import dataclasses
import io
import pathlib

import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import logdir as logdirlib
from lore_plugin.report import load
from lore_plugin.runs import ablate
from lore_plugin.runs import meter as meters
from lore_plugin.runs import plan as plans
from lore_plugin.runs import suites

from helpers import SUITE

SHIPPED = (
    'adversaries', 'alone', 'baselines', 'best-of-both', 'beyond',
    'call-policy', 'call-rate', 'crafter', 'figure1', 'gate-parts', 'harm',
    'kl-target', 'lava', 'rivals', 'temperature')


@pytest.fixture(scope='module')
def blocks():
  return configlib.load()


def test_shipped_suites_are_known():
  assert tuple(suites.names()) == SHIPPED


@pytest.mark.parametrize('name', SHIPPED)
def test_shipped_suites_resolve(name, blocks):
  suite = suites.load(name)
  assert suite.name == name
  assert suite.about.endswith('?')
  resolved = suites.resolve(suite, blocks)
  assert len(resolved) == len(suite.arms) * len(suite.tasks)
  assert len(suites.runs(suite)) == len(resolved) * len(suite.seeds)
  few = {'beyond': 3, 'adversaries': 3, 'lava': 3}
  assert len(suite.seeds) >= {'figure1': 10, **few}.get(name, 5)


def test_figure1_has_its_controls(blocks):
  suite = suites.load('figure1')
  resolved = suites.resolve(suite, blocks)
  configs = {arm: config for (arm, _), config in resolved.items()}
  assert configs.pop('uniform').random_agent
  assert not configs.pop('rl-only').lore.enabled
  assert {x.lore.advisor.provider for x in configs.values()} == {
      'local', 'scripted', 'uniform', 'random', 'shuffled', 'adversarial'}
  # Placebos differ in the provider alone: same gate, same cap on calls.
  assert len({
      suites.fingerprint(x.update({'lore.advisor.provider': 'local'}))
      for x in configs.values()}) == 1


def test_seeded_advice_is_never_shared(write, blocks):
  """Replies that depend on the seed would make seeds depend on each other."""
  suite = suites.load(write("""
      name: s
      steps: 10
      seeds: 2
      tasks: [minigrid_DoorKey-5x5]
      configs: [minigrid, lore]
      share: service
      arms:
        plain: {configs: [minigrid]}
        a: {overrides: {lore.advisor.provider: scripted}}
        b: {overrides: {lore.advisor.provider: scripted, lore.kl.target: 9.0}}
        c: {overrides: {lore.advisor.provider: scripted,
                        lore.advisor.mode: action}}
        d: {overrides: {lore.advisor.provider: random}}
        e: {overrides: {lore.advisor.provider: shuffled}}
        f: {overrides: {lore.advisor.provider: 'scripted,random'}}
        g: {overrides: {lore.advisor.provider: mock}, share: none}
      """))
  resolved = suites.resolve(suite, blocks)
  shared = {
      x.name: suites.sharing(x, resolved[x.name, suite.tasks[0]])
      for x in suite.arms}
  assert shared['a'] == shared['b'] != shared['c']
  assert {k for k, (kind, _) in shared.items() if kind == 'none'} == {
      'plain', 'd', 'e', 'f', 'g'}


@pytest.mark.parametrize('old, new, message', [
    ('arms:', 'arm:', "'arm'. Choose from: name, about"),
    ('plain: {}', 'plain: {config: [minigrid]}', "'config'. Choose from: con"),
    ('other:', 'plain:', "names 'plain' twice"),
    ('{overrides: {batch_size: 8}}', '{}', "'plain' and 'other' of small"),
    ('seeds: 2', 'seeds: 0', 'seeds is 0: input should be a valid list'),
    ('seeds: 2', 'seeds: []', 'seeds is []: list should have at least 1'),
    ('seeds: 2', 'seeds: [1, 1]', 'holds 1 twice'),
    ('seeds: 2', 'seeds: [a]', "seeds.0 is 'a': input should be a val"),
    ('seeds: 2', 'seeds: -1', 'seeds is -1: input should be a valid list'),
    ('seeds: 2', 'seeds: True', 'seeds is True: input should be a val'),
    ('seeds: 2', '', "lacks the key 'seeds'"),
    ('steps: 40', 'steps: many', 'should be a valid integer'),
    ('steps: 40', 'steps: 0', 'greater than or equal to 1'),
    ('steps: 40', 'steps: .inf', 'steps is inf: input should be'),
    ('steps: 40', 'steps: .nan', 'steps is nan: input should be'),
    ('steps: 40', 'steps: {minigrid_Empty-5x5: 9}', 'no steps of minigrid_D'),
    ('batch_size: 8', 'batch_sise: 8', 'Did you mean batch_size'),
    ('batch_size: 8', 'seed: 8', "from the suite's own keys"),
    ('batch_size: 8', 'lore.advisor.store: x', 'follows from share'),
    ('batch_size: 8', 'lore.kl.target: -1.0', 'must be at least 0'),
    ('[minigrid]', '[minigird]', "block 'minigird'. Did you mean minigrid"),
    ('[minigrid]', 'minigrid', 'should be a valid list'),
    ('plain: {}', 'a/b: {}', 'name of a folder'),
    ('plain: {}', '../up: {}', 'name of a folder'),
    ('name: small', 'name: [small]', 'name of a folder'),
    ('name: small', 'name: small\n  share: all', "'none', 'file' or"),
    ('name: small', 'name: small\n  budget: {call: 3}', "'call'. Choose fro"),
    ('name: small', 'name: small\n  budget: {calls: x}', 'valid integer'),
    ('[minigrid_Empty-5x5,', '[../../..,', 'no name of a task'),
    ('[minigrid_Empty-5x5,', '[a/../../b,', 'no name of a task'),
    ('[minigrid_Empty-5x5,', '[/etc,', 'no name of a task'),
    ('plain: {}', '"x\\ud800": {}', 'name of a folder'),
    ('plain: {}', 'plain: [', "Can't read the suite"),
])
def test_mistakes_in_a_suite(write, blocks, old, new, message):
  assert old in SUITE
  with pytest.raises(errors.ConfigError) as e:
    suites.resolve(suites.load(write(SUITE.replace(old, new, 1))), blocks)
  assert message in str(e.value)


def test_a_task_with_slashes_has_one_folder(tmp_path):
  path = suites.place(tmp_path, 'arm', 'gymnasium_ALE/Pong-v5', 3)
  assert path.relative_to(tmp_path).parts == (
      'arm', 'gymnasium_ALE%2FPong-v5', '3')
  # Those of finished runs stay where they are.
  assert suites.place(tmp_path, 'a', 'minigrid_x:Y-5x5', 0).parts[-2] == (
      'minigrid_x:Y-5x5')


def test_anchors_that_stand_for_very_much(write):
  lines = ['name: s', 'about: &a0 [x, x, x, x, x, x, x, x, x, x]']
  for i in range(1, 12):
    again = ', '.join([f'*a{i - 1}'] * 10)
    lines.append(f'x{i}: &a{i} [{again}]')
  with pytest.raises(errors.ConfigError, match='more than 10,000 values'):
    suites.load(write('\n'.join(lines)))
  with pytest.raises(errors.ConfigError, match='nested too deeply'):
    suites.load(write('name: ' + '[' * 5000, 'deep.yaml'))


def test_whoever_is_auto_is_decided_once(write, tmp_path, monkeypatch):
  """By the machine that reads the suite, not by those that execute it."""
  path = write("""
      name: s
      steps: 10
      seeds: 1
      tasks: [minigrid_DoorKey-5x5]
      arms:
        plain: {configs: [minigrid]}
        lore: {configs: [minigrid, lore]}
      """)
  found = {}
  for key in ('', 'a key'):
    monkeypatch.setenv('ANTHROPIC_API_KEY', key)
    found[key] = plans.plan(suites.load(path), tmp_path)
  plain, local = found['']
  other, claude = found['a key']
  assert (local.provider, claude.provider) == ('local', 'anthropic')
  assert (local.paid, claude.paid) == (False, True)
  assert local.digest != claude.digest and plain.digest == other.digest
  at = claude.run.flags().index('--lore.advisor.provider')
  assert claude.run.flags()[at + 1] == 'anthropic'
  assert not plain.provider and '--lore.advisor.provider' not in (
      plain.run.flags())
  # A run that would change its advisor says so.
  local.logdir.mkdir(parents=True)
  logdirlib.write_json(local.logdir / logdirlib.RECORD, {
      'digest': local.digest, 'provider': 'local', 'share': 'none',
      'steps': 10, 'sessions': []})
  plans.check(local)
  with pytest.raises(errors.ConfigError, match='advised by local, and would '):
    plans.check(claude)


def test_unknown_names(write):
  with pytest.raises(errors.ConfigError, match='beyond, call-policy'):
    suites.load('figure2')
  with pytest.raises(errors.ConfigError, match="Can't read the suite"):
    suites.load('nowhere.yaml')
  with pytest.raises(errors.ConfigError, match='plain, other'):
    suites.load(write(SUITE), arms=['plane'])
  with pytest.raises(errors.ConfigError, match='must hold keys'):
    suites.load(write('- a\n'))


def test_no_mistake_leaves_files_behind(write, tmp_path):
  path = write(SUITE.replace('batch_size', 'batch_sise'))
  with pytest.raises(errors.ConfigError):
    ablate.main([path, '--out', str(tmp_path / 'runs')])
  assert not (tmp_path / 'runs').exists()


def test_overrides_of_the_command(write):
  suite = suites.load(
      write(SUITE), arms=['other'], seeds=[7], steps=9, tasks=['minigrid_X'])
  assert [str(x) for x in suites.runs(suite)] == ['other minigrid_X seed 7']
  assert suites.runs(suite)[0].flags() == [
      '--configs', 'minigrid', '--batch_size', '8', '--task', 'minigrid_X',
      '--seed', '7', '--run.steps', '9']


@pytest.mark.parametrize('words, seeds', [
    (['3'], [0, 1, 2]), (['3', '5'], [3, 5]), (['4-6'], [4, 5, 6]),
    (['7-7'], [7]), (['1', '8-9'], [1, 8, 9])])
def test_seeds_of_the_command(words, seeds):
  assert plans.read_seeds(words) == seeds


@pytest.mark.parametrize('words, says', [
    *((x, 'neither a count') for x in (['a'], ['-1'], ['1,2'], ['1-'])),
    (['0'], '--seeds 0-0'), (['1', '9-7'], '7-9')])
def test_wrong_seeds_of_the_command(words, says):
  with pytest.raises(errors.ConfigError, match=says):
    plans.read_seeds(words)


def test_meter(write, tmp_path):
  suite = suites.load(write(SUITE), arms=['plain'])
  items = plans.plan(suite, tmp_path)
  for item in items:
    plans.check(item)
  assert len(items) == 4
  items[0].state = 'linked'
  now = [100.0]
  meter = meters.Meter('small', items, io.StringIO(), lambda: now[0])
  assert meter.line(now[0]).startswith(
      'small: 1/4 runs, 0 running |#####               | 25.0% of steps, ')
  items[1].state = 'running'
  assert '1 running, starting |' in meter.line(now[0])
  items[1].logdir.mkdir(parents=True)
  (items[1].logdir / 'scores.jsonl').write_text('{"step": 20}\n{"st')
  now[0] = 110.0
  # 20 of 160 steps in 10 s; 100 are left. What was linked is no speed.
  assert meter.line(now[0]) == (
      'small: 1/4 runs, 1 running |#######5            | 37.5% of steps, '
      ' 2.00 steps/s, ETA 00:50')
  items[1].state = 'crashed'
  assert '1 failed' in meter.line(now[0])
  # A clock that was set back, and a run that went on for too long.
  (items[0].logdir / 'scores.jsonl').parent.mkdir(parents=True)
  items[1].state = 'running'
  (items[1].logdir / 'scores.jsonl').write_text('{"step": 9000}')
  assert '-' not in meter.line(now[0] - 100).split('ETA')[1]
  meter.draw()
  meter.draw()
  assert meter.out.getvalue().count('\n') == 1
  now[0] += 61
  meter.draw()
  assert meter.out.getvalue().count('\n') == 2


def test_notes_on_shared_replies(write):
  suite = suites.load(write("""
      name: s
      steps: 10
      seeds: 2
      tasks: [minigrid_DoorKey-5x5]
      configs: [minigrid, lore]
      overrides: {lore.advisor.provider: scripted}
      share: service
      arms:
        a: {}
        b: {overrides: {lore.advisor.cooldown: 9}}
        c: {overrides: {lore.advisor.calls: 9}, share: none}
      """))
  items = plans.plan(suite, pathlib.Path('runs'))
  notes = plans.warn(items)
  assert len(notes) == 1 and notes[0].startswith('Arm b limits')
  (group,) = plans.groups(items).values()
  # Runs that ask a server keep to their own caps, whoever else asks it.
  assert plans.budget_of(suite, group) == {'calls': -1}
  assert plans.budget_of(
      dataclasses.replace(suite, budget={'calls': 5}), group) == {'calls': 5}
  group = [
      dataclasses.replace(x, share=('file', x.share[1])) for x in group]
  # Two arms of two seeds, each with the default of 98 calls.
  assert plans.budget_of(suite, group) == {'calls': 4 * 98}
  # Calls of earlier commands leave later runs what they had alone.
  assert plans.budget_of(suite, group, 70) == {'calls': 4 * 98 + 70}
  assert plans.caps({'calls': 5, 'money': 1.5}) == [
      '--lore.advisor.calls', '5', '--lore.advisor.money', '1.5']


# Arms of which runs are planned and not made yet, or never will be.
UNMADE = {
    name: {x.name for x in suites.load(name.split('-')[0]).arms} - set(made)
    for name, *made in map(str.split, (
        'adversaries', 'adversaries-before', 'figure1-1e-3', 'rivals',
        'crafter rl-only lore-scripted', 'crafter-4e-4 rl-only lore-scripted',
        'figure1 rl-only lore-local lore-uniform lore-scripted'))}
# Folder, task and seed of what is under way: no arm of it is made.
TO_COME = {
    ('best-of-both', 'minigrid_UnlockPickup', 104),
    ('best-of-both', 'minigrid_KeyCorridorS3R1', 103),
    ('best-of-both', 'minigrid_KeyCorridorS3R1', 104)}


def test_committed_results_are_readable():
  place = pathlib.Path(__file__).parent.parent / 'results'
  folders = sorted(x.parent for x in place.glob('*/episodes.csv.gz'))
  assert folders
  for folder in folders:
    runs, _ = load.load([folder])
    assert {x.status for x in runs if not x.finished} <= {'missing'}
    later = UNMADE.get(folder.name, set())
    due = []
    for run in runs:
      if (folder.name, run.about.task, run.about.seed) in TO_COME:
        assert not run.finished
      else:
        due.append(run)
    assert all(x.finished for x in due if x.about.arm not in later)
    assert {x.about.arm for x in due if not x.finished} == later
