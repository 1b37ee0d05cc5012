import json
import os
import pathlib
import pickle
import re
import signal
import subprocess
import sys
import time

import elements
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import finish
from lore_plugin import launch
from lore_plugin import upstream
from lore_plugin.upstream import adapt

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='module')
def blocks():
  return configlib.load()


def resolve(blocks, *argv):
  return configlib.resolve(['--configs', 'debug', *argv], blocks)


@pytest.fixture(scope='session')
def start(env):
  return lambda *args, cwd=None: subprocess.run(
      [sys.executable, '-m', 'lore_plugin', *map(str, args)], cwd=cwd,
      env=env, capture_output=True, text=True, timeout=300, check=False)


def refused(result, match):
  assert result.returncode == 2, result.stdout[-2000:] + result.stderr
  assert match in result.stderr
  assert 'Traceback' not in result.stdout + result.stderr
  assert len(result.stderr.strip().splitlines()) == 1, result.stderr


@pytest.mark.parametrize('args, match', [
    (['--configs', 'minigird'], "Unknown configuration block 'minigird'"),
    (['--lore.gate.beta_maxx', '1'], 'Did you mean lore.gate.beta_max'),
    (['--lore.gate.beta_max', '-1'], 'must be at least 0'),
    (['--run.from_checkpoint', 'nowhere', '--jax.platform', 'cpu',
      '--jax.compute_dtype', 'float32'], 'not a finished checkpoint'),
])
def test_bad_input_ends_with_one_line(args, match, start, tmp_path):
  result = start(*args, '--logdir', tmp_path / 'log')
  refused(result, match)
  assert f'Using {upstream.find()}' in result.stdout
  assert not (tmp_path / 'log').exists()


def test_a_logdir_that_main_changes_is_refused(blocks, monkeypatch, tmp_path):
  config = resolve(
      blocks, '--configs', 'minigrid', 'debug', 'lore',
      '--logdir', str(tmp_path / 'of main'))
  monkeypatch.setattr(launch, 'place', str(tmp_path))
  with pytest.raises(errors.UpstreamError, match='changed logdir .*of main'):
    launch.make_agent(config)


EARLY = {
    ('--task', 'minigrid_NoSuchPlace'): 'NoSuchPlace',
    ('--task', 'gymnasium_Taxy-v3'): 'Taxi',
    ('--task', 'crafter_reword'): 'Did you mean reward|Choose from: reward',
    ('--lore.world', 'nowhere'): "Unknown world 'nowhere'",
    ('--lore.advisor.provider', 'antropic'): 'Did you mean anthropic',
    ('--task', 'DoorKey-5x5'): 'does not name a suite',
    ('--lore.advisor.provider', 'anthropic'): 'No API key',
    ('--lore.advisor.address', '127.0.0.1:9', '--lore.advisor.money', '2'):
        'lore.advisor.money is 2.0, but .*python -m lore_plugin serve',
    ('--lore.advisor.provider', 'local', '--lore.advisor.model', 'no.gguf'):
        'No model file at',
    ('--env.minigrid.obs', 'image', '--lore.world', 'vision',
     '--lore.advisor.mode', 'action', '--lore.advisor.provider', 'local'):
        "which local .* can't see",
}
PROGRAM = """
import contextlib, io, json, sys
from lore_plugin import launch
for argv in json.loads(sys.argv[1]):
  said = io.StringIO()
  with contextlib.redirect_stderr(said):
    code = launch.main(['--configs', 'minigrid', 'lore', *argv])
  print(json.dumps([code, said.getvalue(), 'jax' in sys.modules]))
"""


def test_what_is_wrong_is_said_before_jax_is_imported(tmp_path):
  env = {k: v for k, v in os.environ.items() if k != 'ANTHROPIC_API_KEY'}
  cases = [
      [*x, '--logdir', str(tmp_path / 'log'), '--jax.platform', 'cpu']
      for x in EARLY]
  result = subprocess.run(
      [sys.executable, '-c', PROGRAM, json.dumps(cases)], cwd=ROOT, env=env,
      capture_output=True, text=True, timeout=300, check=True)
  lines = [x for x in result.stdout.splitlines() if x.startswith('[')]
  assert len(lines) == len(EARLY), result.stdout
  for line, match in zip(lines, EARLY.values(), strict=True):
    code, said, imported = json.loads(line)
    assert code == 2 and re.search(match, said), line
    assert not imported, line
  assert not (tmp_path / 'log').exists()


@pytest.mark.parametrize('script', ['train', 'parallel'])
def test_wrong_task_ends_with_one_line(script, start, tmp_path):
  # In parallel it would otherwise be found in several processes at once.
  result = start(
      '--configs', 'debug', '--task', 'minigrid_NoSuchPlace', '--script',
      script, '--logdir', tmp_path / 'log')
  refused(result, 'NoSuchPlace')
  assert not (tmp_path / 'log').exists()


def test_functions_are_pickled_by_name():
  for fn in (launch.make_env, launch.make_agent, launch.make_logger,
             adapt.install, adapt.env_server):
    assert pickle.loads(pickle.dumps(fn)) is fn
    assert len(pickle.dumps(fn)) < 100


def test_upstream_reads_back_the_same_configuration(
    blocks, tmp_path, monkeypatch):
  config = resolve(
      blocks, '--logdir', str(tmp_path / 'log'), '--run.steps', '0',
      '--logger.outputs', 'jsonl', '--env.crafter.size', '32', '32')
  import embodied
  seen = {}
  def train(make_agent, make_replay, make_env, make_stream, make_logger, args):
    seen.update(env=make_env, logger=make_logger())
  monkeypatch.setattr(embodied.run, 'train', train)
  plain = dict(vars(upstream.original()))
  kept = upstream.run(
      config, make_agent=launch.make_agent, make_env=launch.make_env,
      make_logger=launch.make_logger)
  assert kept == {'logger': seen['logger']}
  assert seen['env'].func is launch.make_env
  [given] = seen['env'].args
  assert given == config
  kinds = lambda config: {k: type(v) for k, v in config.flat.items()}
  assert kinds(given) == kinds(config)
  assert elements.Config.load(tmp_path / 'log' / 'config.yaml') == config
  # Nothing of ours stays behind.
  for name in ('make_agent', 'make_env', 'make_logger', 'main'):
    assert getattr(plain['module'], name) is plain[name]


def test_children_install_first(blocks, tmp_path, monkeypatch):
  import embodied
  import portal
  config = resolve(blocks, '--logdir', str(tmp_path / 'log'))
  monkeypatch.setattr(embodied.run, 'train', lambda *args: None)
  setup = portal.setup
  upstream.run(config)
  assert portal.setup is setup
  first = pickle.loads(portal.context.initfns[0])
  assert first is adapt.install
  assert len(portal.context.initfns) == 2


def test_interruption_is_no_traceback(monkeypatch, capsys):
  def run(argv):
    raise KeyboardInterrupt
  monkeypatch.setattr(launch, 'run', run)
  assert launch.main([]) == 130
  assert 'same --logdir' in capsys.readouterr().err


@pytest.mark.parametrize('number, code, what', [
    (signal.SIGINT, 130, 'Interrupted'), (signal.SIGTERM, 143, 'Terminated')])
def test_a_signal_ends_a_run_in_order(
    monkeypatch, capsys, number, code, what):
  before, ended = signal.getsignal(number), []
  def run(argv):
    launch.steppable()
    try:
      signal.raise_signal(number)
    finally:
      ended.append(signal.getsignal(number))
  monkeypatch.setattr(launch, 'run', run)
  assert launch.main([]) == code
  # Once more, it would have ended at once.
  assert ended == [launch.leave]
  said = capsys.readouterr().err
  assert said.startswith(f'lore: {what}. Started again with the same --logdir')
  assert signal.getsignal(number) == before
  assert signal.set_wakeup_fd(-1) == -1


# Is terminated while it is in C for minutes, as while jax compiles.
COMPILING = """
import hashlib, os, signal, sys, threading
from lore_plugin import launch

def run(argv):
  launch.place = '/a/run'
  if argv[0] == 'steps':
    launch.steppable()
  threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
  hashlib.pbkdf2_hmac('sha256', b'', b'', 2 ** 31 - 1)

launch.run, launch.GRACE = run, 0.1
sys.exit(launch.main(sys.argv[1:]))
"""


@pytest.mark.parametrize('when', ['starts', 'steps'])
def test_terminated_while_python_does_not_run(env, when):
  result = subprocess.run(
      [sys.executable, '-c', COMPILING, when], env=env, check=False,
      capture_output=True, text=True, timeout=120)
  assert result.returncode == 143, result.stderr
  [line] = result.stderr.splitlines()
  assert line.startswith('lore: Terminated. Started again with --logdir /a/ru')


# Sends itself a signal where it begins to import one of our modules.
IMPORTING = """
import os, runpy, signal, sys

class Finder:
  def find_spec(self, name, path=None, target=None):
    if name == 'lore_plugin.options':
      os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv[0] = 'lore_plugin'
runpy.run_module('lore_plugin', run_name='__main__', alter_sys=True)
"""


def test_interrupted_while_modules_are_imported(env, tmp_path):
  result = subprocess.run(
      [sys.executable, '-c', IMPORTING, '--logdir', tmp_path / 'log'],
      env=env, check=False, capture_output=True, text=True)
  assert result.returncode == 130, result.stderr
  [line] = result.stderr.splitlines()
  assert line.startswith('lore: Interrupted.')


def test_a_parallel_run_that_is_interrupted_has_a_summary(
    blocks, tmp_path, capsys):
  config = configlib.resolve(
      ['--configs', 'minigrid', 'debug', 'lore', '--script', 'parallel',
       '--logdir', str(tmp_path)], blocks)
  # Nothing has been logged yet.
  assert finish.stop(config, None, time.time()) is None
  (tmp_path / 'metrics.jsonl').write_text(''.join(
      f'{{"step": {x}, "episode/score": 1.0}}\n' for x in (100, 1150)))
  finish.stop(config, None, time.time() - 75)
  summary = json.loads((tmp_path / 'summary.json').read_text())
  assert summary['episodes'] == 2 and summary['task'] == config.task
  text = capsys.readouterr().out
  assert 'Wall time: 1 min 15 s' in text and str(tmp_path) in text


def test_a_run_that_goes_on_is_not_finished_as_it_was(tmp_path, monkeypatch):
  kept = []
  monkeypatch.setattr(
      launch.upstream, 'run', lambda *args, **kwargs: kept.append(args))
  summary = tmp_path / 'summary.json'
  summary.write_text('{}')
  launch.run(['--configs', 'minigrid', 'debug', '--logdir', str(tmp_path)])
  assert not summary.exists() and len(kept) == 1


def test_a_run_with_an_adversary_goes_on_with_it_alone(
    tmp_path, monkeypatch):
  launch.check_replaced(tmp_path)
  record = tmp_path / 'run.json'
  # Of earlier versions.
  record.write_text('{"suite": "lava"}')
  launch.check_replaced(tmp_path)
  record.write_text(
      '{"suite": "lava", "replaced": {"adversary": "turns 30"}}')
  with pytest.raises(errors.ConfigError, match='turns 30.*nothing.*ate lava'):
    launch.check_replaced(tmp_path)
  monkeypatch.setattr(launch, 'replaced', {'adversary': 'turns 30'})
  launch.check_replaced(tmp_path)
  record.write_text('{"suite": "lava", "replaced": {}}')
  with pytest.raises(errors.ConfigError, match='nothing.*turns 30'):
    launch.check_replaced(tmp_path)


def test_guard_leaves_errors_of_the_main_thread_alone():
  @launch.guarded
  def fails():
    raise errors.EnvError('no')
  with pytest.raises(errors.EnvError):
    fails()


def test_environment_is_in_upstreams_wrappers(blocks):
  import embodied
  config = resolve(blocks, '--task', 'minigrid_DoorKey-5x5')
  env = launch.make_env(config, 0)
  assert isinstance(env, embodied.wrappers.CheckSpaces)
  assert 'lore/state' not in env.obs_space
  env.close()
