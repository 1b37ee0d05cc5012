"""The search over weights, with a program in the place of training."""

import json
import pathlib
import sys

import pytest
import ruamel.yaml

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.runs import ablate
from lore_plugin.runs import tune

# Succeeds the more, the closer beta_max is to 2; the third start of all dies.
PROGRAM = '''
import json, pathlib, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2]))
args = sys.argv[1:]
value = lambda x: args[args.index(x) + 1]
logdir = pathlib.Path(value('--logdir'))
logdir.mkdir(parents=True, exist_ok=True)
count = pathlib.Path(COUNT)

with count.open('a') as f:
  f.write('x')
rate = 1 / (1 + abs(float(value('--lore.gate.beta_max')) - 2))
(logdir / 'summary.json').write_text(json.dumps({
    'windows': [rate, None], 'at': {}, 'steps_to_goal': None, 'episodes': 3,
    'alone': {'success': rate, 'episodes': 100, 'interval': [0, 1]},
    'task': value('--task'), 'seed': int(value('--seed')), 'seconds': 1.0}))
'''


@pytest.fixture
def program(tmp_path):
  path = tmp_path / 'program.py'
  path.write_text(PROGRAM.replace('COUNT', repr(str(tmp_path / 'count'))))
  return (sys.executable, str(path))


def started(tmp_path):
  return len((tmp_path / 'count').read_text())


def test_score_by_hand():
  alone = {'success': 0.8}
  assert tune.score({'windows': [0.5, None, 1.0, 0.9], 'alone': alone}) == (
      pytest.approx((2.4 / 4 + 0.8) / 2))
  assert tune.score({'windows': [], 'alone': alone}) == 0.8
  assert 'no whole window' in tune.objective(999)
  assert 'over 4 windows' in tune.objective(4999)


def test_searches_resumes_and_writes_a_block(tmp_path, program, capsys):
  out = tmp_path / 'out'
  flags = ['--out', str(out), '--steps', '2000', '--seeds', '2',
           '--provider', 'scripted', '--jobs', '2']
  tune.main([*flags, '--trials', '2'], program)
  assert started(tmp_path) == 4
  # Finished trials are kept, and only the others are run.
  tune.main([*flags, '--trials', '4'], program)
  assert started(tmp_path) == 8
  tried = {
      (out / f'trial-{i:04d}.yaml').read_text().split('"arms"')[1]
      for i in range(4)}
  assert len(tried) == 4
  said = capsys.readouterr().out
  assert 'Best of 4' in said and 'the blocks as they are: 0.375' in said
  # The first is what one has without a search.
  first = json.loads((out / 'trial-0000.yaml').read_text())
  assert first['arms']['trial']['overrides'] == {
      'lore.gate.entropy': 1.0, 'lore.gate.value': 0.0,
      'lore.gate.disagreement': 0.0, 'lore.gate.tau': 0.0,
      'lore.gate.beta_max': 3.0, 'lore.kl.target': 1.0}
  block = ruamel.yaml.YAML(typ='safe').load(
      (out / 'tuned.yaml').read_text())['tuned']
  assert block.keys() == tune.SPACE.keys()
  # What it writes can be used as it is.
  found = upstream.find()
  upstream.install()
  config = configlib.resolve(
      ['--configs', 'minigrid', 'lore', str(out / 'tuned.yaml')],
      configlib.load(found.configs))
  assert config.lore.gate.beta_max == block['lore.gate.beta_max']
  optuna = tune.load()
  study = optuna.load_study(
      study_name=tune.NAME, storage=tune.storage(out / 'study.sqlite'))
  value = 1 / (1 + abs(block['lore.gate.beta_max'] - 2))
  assert study.best_value == pytest.approx(
      (value / 2 + value) / 2, abs=1e-4)


def test_trial_that_was_killed_is_run_again(tmp_path, program):
  out = tmp_path / 'out'
  flags = ['--out', str(out), '--steps', '2000', '--seeds', '1',
           '--provider', 'scripted', '--jobs', '1', '--trials', '1']
  optuna = tune.load()
  out.mkdir()
  study = optuna.create_study(
      study_name=tune.NAME, direction='maximize',
      storage=tune.storage(out / 'study.sqlite'))
  trial = study.ask()
  params = {
      k: trial.suggest_float(k, low, high, log=log)
      for k, (low, high, log) in tune.SPACE.items()}
  tune.main(flags, program)
  done = [x for x in study.get_trials() if x.state.name == 'COMPLETE']
  assert [x.params for x in done] == [params]
  # In the folder that it had, where its runs are.
  assert [x.name for x in out.glob('trial-*.yaml')] == ['trial-0000.yaml']


@pytest.mark.parametrize('end', [
    'os.kill(os.getpid(), signal.SIGTERM)', 'os._exit(143)'])
def test_a_run_that_somebody_ended_is_no_result(tmp_path, program, end):
  path = pathlib.Path(program[1])
  whole = path.read_text()
  path.write_text(f'import os, signal; {end}')
  flags = ['--out', str(tmp_path / 'out'), '--steps', '2000', '--seeds', '1',
           '--provider', 'scripted', '--jobs', '1', '--trials', '1']
  with pytest.raises(errors.LoreError, match='ended a run of trial 0'):
    tune.main(flags, program)
  path.write_text(whole)
  tune.main(flags, program)
  assert started(tmp_path) == 1


def test_other_runs_are_not_mixed_in(tmp_path, program):
  flags = ['--out', str(tmp_path / 'out'), '--seeds', '1', '--provider',
           'scripted', '--trials', '1']
  tune.main([*flags, '--steps', '2000'], program)
  with pytest.raises(errors.ConfigError, match='steps 2000 there and 3000'):
    tune.main([*flags, '--steps', '3000'], program)


def test_another_search_space_is_not_mixed_in(tmp_path, monkeypatch):
  args = tune.parse(['--out', str(tmp_path)])
  study = tune.load().create_study()
  tune.check(study, args)
  tune.check(study, args)
  monkeypatch.setitem(tune.SPACE, 'lore.gate.tau', (-9.0, 9.0, False))
  with pytest.raises(errors.ConfigError, match='space .* there and .*9.0'):
    tune.check(study, args)


@pytest.mark.parametrize('name', ['a?b', 'a%20b', 'a#b c'])
def test_a_folder_whose_name_means_something_in_a_url(tmp_path, name):
  path = tmp_path / name / 'study.sqlite'
  path.parent.mkdir()
  for _ in range(2):
    study = tune.load().create_study(
        study_name=tune.NAME, storage=tune.storage(path),
        load_if_exists=True)
  study.enqueue_trial({})
  assert path.stat().st_size > 0
  assert [x.name for x in tmp_path.iterdir()] == [name]


def test_a_folder_in_which_no_run_can_be_is_refused_at_once(tmp_path):
  for name in ('a?b', 'a*b', 'a[b'):
    with pytest.raises(errors.ConfigError, match='out .* must not contain'):
      tune.parse(['--out', str(tmp_path / name)])
    with pytest.raises(errors.ConfigError, match='out .* must not contain'):
      ablate.parse(['figure1', '--out', str(tmp_path / name)])


def test_impossible_flags(tmp_path):
  with pytest.raises(errors.ConfigError, match='--trials is 0'):
    tune.main(['--out', str(tmp_path), '--trials', '0'])


def test_needs_the_agent_alone(tmp_path, monkeypatch):
  load = configlib.load
  monkeypatch.setattr(configlib, 'load', lambda *args: {
      **load(*args), 'quick': {'lore.heldout': 0}})
  with pytest.raises(errors.ConfigError, match='lore.heldout is 0'):
    tune.main([
        '--out', str(tmp_path), '--configs', 'minigrid', 'lore', 'quick'])


def test_needs_successes_of_new_seeds(tmp_path):
  with pytest.raises(errors.ConfigError, match='not tell.*--task minigrid_'):
    tune.main([
        '--out', str(tmp_path), '--task', 'crafter_symbolic', '--configs',
        'crafter_small', 'lore'])


def test_summary_is_json(tmp_path, program):
  flags = ['--out', str(tmp_path / 'out'), '--seeds', '1', '--provider',
           'scripted', '--trials', '1', '--steps', '2000']
  tune.main(flags, program)
  suite = json.loads((tmp_path / 'out' / 'trial-0000.yaml').read_text())
  assert suite['arms']['trial']['overrides'].keys() == tune.SPACE.keys()


def test_a_run_whose_evaluation_failed_is_named(tmp_path):
  path = tmp_path / 'program.py'
  path.write_text(PROGRAM.replace('COUNT', repr(str(tmp_path / 'count')))
                  .replace("'alone': {", "'other': {"))
  with pytest.raises(errors.LoreError, match='of trial 0.* Remove'):
    tune.main(
        ['--out', str(tmp_path / 'out'), '--seeds', '1', '--provider',
         'scripted', '--trials', '1', '--steps', '2000'],
        (sys.executable, str(path)))
