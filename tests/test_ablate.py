"""Suites become runs, whatever happens on the way."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest

from lore_plugin import config
from lore_plugin import errors
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib
from lore_plugin.runs import ablate
from lore_plugin.runs import engine as engines
from lore_plugin.runs import plan as plans
from lore_plugin.runs import service as services
from lore_plugin.runs import suites

import helpers
from ablating import COUNTING, ROOT, episodes, records, run
from helpers import SUITE

pytestmark = pytest.mark.usefixtures('xla_unasked')


def test_home_is_expanded_once(write, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  run(write(SUITE), '~/runs', '--arms', 'plain', '--seeds', 1)
  assert (tmp_path / 'runs/results/small/runs.json.gz').exists()
  assert not (pathlib.Path.cwd() / '~').exists()


def test_environment_of_a_run(tmp_path, monkeypatch):
  for name in (
      'LORE_XLA_FLAGS', 'OMP_NUM_THREADS', 'JAX_COMPILATION_CACHE_DIR'):
    monkeypatch.delenv(name, raising=False)
  env = plans.environment(1, tmp_path, {'A': 'b'})
  assert env['LORE_XLA_FLAGS'] == ' '.join(
      x for x in plans.ONE_THREAD if plans.known(x))
  assert plans.ONE_THREAD[0] == '--xla_cpu_multi_thread_eigen=false'
  assert env['OMP_NUM_THREADS'] == '1' and env['A'] == 'b'
  assert env['JAX_COMPILATION_CACHE_DIR'] == str(tmp_path / 'jax-cache')
  assert 'LORE_XLA_FLAGS' not in plans.environment(2, tmp_path, {})
  assert 'glibc.malloc.hugetlb=1' in env['GLIBC_TUNABLES'].split(':')
  monkeypatch.setenv('GLIBC_TUNABLES', 'mine')
  assert plans.environment(1, tmp_path, {})['GLIBC_TUNABLES'] == 'mine'
  monkeypatch.setenv('LORE_XLA_FLAGS', '--x')
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', 'mine')
  env = plans.environment(1, tmp_path, {})
  assert env['LORE_XLA_FLAGS'] == '--x'
  assert env['JAX_COMPILATION_CACHE_DIR'] == 'mine'
  env = plans.environment(2, tmp_path, {})
  assert env['LORE_XLA_FLAGS'] == '--x' and env['OMP_NUM_THREADS'] == '2'


def test_only_flags_that_exist_are_set():
  assert plans.known('--xla_cpu_multi_thread_eigen=false')
  assert not plans.known('--xla_of_another_version=1')


# --- Execution --------------------------------------------------------------


def test_a_suite_from_start_to_results(write, tmp_path, capsys):
  path, out = write(SUITE), tmp_path / 'runs'
  run(path, out, '--dry-run')
  assert not out.exists()
  assert '8 runs, 8 to do, 320 steps' in capsys.readouterr().out
  run(path, out, '--jobs', 3)
  assert '8 runs finished, 0 crashed, 0 missing' in capsys.readouterr().out
  found = records(out / 'results/small')
  assert len(found) == 8
  for row in found:
    assert row['status'] == 'finished' and row['steps'] == 40
    assert row['argv'][:2] == ['--configs', 'minigrid']
    assert row['summary']['seed'] == row['seed'] and row['seconds'] > 0
    assert not row['failures'] and row['share'] == 'none'
  rows = episodes(out / 'results/small')
  assert len(rows) == 8 * 40
  assert list(rows[0]) == [
      'suite', 'arm', 'task', 'seed', 'step', 'episode', 'success', 'score',
      'length', 'advised', 'calls']
  assert {x['suite'] for x in rows} == {'small'}
  # Again: nothing is done, and the bytes are the same.
  before = (out / 'results/small/episodes.csv.gz').read_bytes()
  run(path, out)
  assert (out / 'results/small/episodes.csv.gz').read_bytes() == before
  assert [x['sessions'] for x in records(out / 'results/small')] == [1] * 8


def test_only_some_arms_at_a_time(write, tmp_path, capsys):
  """What is collected doesn't depend on which arms the last command ran."""
  path, out = write(SUITE), tmp_path / 'runs'
  run(path, out, '--arms', 'plain', '--seeds', 1)
  assert '2 runs finished, 0 crashed, 2 missing' in capsys.readouterr().out
  run(path, out, '--arms', 'other', '--seeds', '5-5')
  # Seed 0 of `plain` is there, though nobody asked for it this time.
  assert '4 runs finished, 0 crashed, 4 missing' not in (
      said := capsys.readouterr().out)
  assert '4 runs finished' in said
  assert {(x['arm'], x['seed']) for x in episodes(out / 'results/small')} == {
      ('plain', '0'), ('other', '5')}


def test_runs_of_two_machines(write, tmp_path, capsys):
  """Results grow by what another folder of runs holds, and lose nothing."""
  path, results = write(SUITE), tmp_path / 'results'
  place = ('--results', results)
  run(path, tmp_path / 'one', '--seeds', '0-0', *place)
  run(path, tmp_path / 'two', '--seeds', '1-1', '--add', *place)
  assert '8 runs finished, 0 crashed, 0 missing' in capsys.readouterr().out
  assert len({
      (x['arm'], x['task'], x['seed'])
      for x in records(results / 'small')}) == 8
  # As if all had been run in one folder, whichever came first.
  other = tmp_path / 'other'
  for name in ('two', 'one'):
    run(path, tmp_path / name, '--collect', '--add', '--results', other)
  assert '8 runs finished' in capsys.readouterr().out
  for name in ('episodes.csv.gz', 'series.csv.gz', 'runs.json.gz'):
    mine, theirs = (
        (x / 'small' / name).read_bytes() for x in (results, other))
    assert mine == theirs
  # Without the flag the results are those of one folder.
  run(path, tmp_path / 'one', '--collect', *place)
  assert '4 runs finished, 0 crashed, 4 missing' in capsys.readouterr().out


def test_adding_to_other_results(write, tmp_path):
  path, results = write(SUITE), tmp_path / 'results'
  run(path, tmp_path / 'one', '--seeds', 1, '--results', results)
  less = write(
      SUITE.replace('other: {overrides: {batch_size: 8}}', ''), 'less.yaml')
  with pytest.raises(errors.ConfigError, match='small/other/.*not in'):
    run(less, tmp_path / 'two', '--collect', '--add', '--results', results)
  (results / 'small/episodes.csv.gz').write_bytes(b'half')
  with pytest.raises(errors.ConfigError, match='leave out --add'):
    run(path, tmp_path / 'two', '--collect', '--add', '--results', results)


@pytest.mark.parametrize('failures', [1, 2, 4])
def test_failures(write, tmp_path, monkeypatch, capsys, failures):
  """Set aside with the log, repeated once, then left out and named."""
  path, out = write(SUITE), tmp_path / 'runs'
  monkeypatch.setenv('FAIL', 'minigrid_Empty-5x5')
  monkeypatch.setenv('FAILED', str(tmp_path / 'count'))
  monkeypatch.setenv('FAILURES', str(failures))
  args = ('--arms', 'plain', '--seeds', 1, '--jobs', 1)
  if failures == 1:
    run(path, out, *args)
  else:
    with pytest.raises(errors.LoreError, match='1 of 2 runs failed twice'):
      run(path, out, *args)
  aside = sorted((out / 'small/failed').glob('*/*/*'))
  assert [x.name for x in aside] == ['0-1', '0-2'][:failures]
  assert all('no luck' in (x / 'output.txt').read_text() for x in aside)
  row = next(x for x in records(out / 'results/small')
             if (x['arm'], x['task']) == ('plain', 'minigrid_Empty-5x5')
             and x['seed'] == 0)
  assert row['failures'] == [3] * min(failures, 2)
  assert row['status'] == ('finished' if failures == 1 else 'crashed')
  assert 'failed (exit 3)' in capsys.readouterr().err
  if failures == 2:
    # The next command tries again, and the failures stay on record.
    run(path, out, *args)
    row = next(x for x in records(out / 'results/small')
               if x['failures'])
    assert row['status'] == 'finished' and row['failures'] == [3, 3]


def test_longer_and_other_runs(write, tmp_path):
  path, out = write(SUITE), tmp_path / 'runs'
  args = ('--arms', 'plain', '--seeds', 1)
  run(path, out, *args, '--steps', 20)
  run(path, out, *args)
  row = records(out / 'results/small')[0]
  assert row['steps'] == 40 and row['sessions'] == 2
  log = out / 'small/plain/minigrid_Empty-5x5/0/output.txt'
  assert 'from 20' in log.read_text()
  with pytest.raises(errors.ConfigError, match='--steps 40'):
    run(path, out, *args, '--steps', 20)
  other = write(SUITE.replace(
      'plain: {}', 'plain: {overrides: {batch_size: 4}}'))
  with pytest.raises(errors.ConfigError, match='of another configuration'):
    run(other, out, *args)
  (log.parent / 'run.json').unlink()
  with pytest.raises(errors.ConfigError, match='no run of a suite'):
    run(path, out, *args)


SCRIPT = """
import sys
from lore_plugin.runs import ablate
ablate.main(sys.argv[1:], program=(sys.executable, {counting!r}))
"""


def start(path, out, *args, slow=0.02):
  script = SCRIPT.format(counting=COUNTING[1])
  return subprocess.Popen(
      [sys.executable, '-c', script, path, '--out', str(out),
       *map(str, args)],
      # What XLA knows is asked for in a test of its own.
      env={**os.environ, 'SLOW': str(slow), 'LORE_XLA_FLAGS': ''},
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
      # A shell that starts the tests in the background has it ignored.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def reached(out):
  return sum(
      int(x.read_text() or 0) for x in out.glob('small/*/*/*/saved'))


def test_killed_and_started_again(write, tmp_path):
  """After SIGKILL nothing goes on unseen, and the next command goes on."""
  path, out = write(SUITE), tmp_path / 'runs'
  first = start(path, out, '--jobs', 2)
  try:
    helpers.until(lambda: len(list(out.glob('small/*/*/*/summary.json'))) >= 2
             and reached(out) > 100)
  finally:
    first.send_signal(signal.SIGKILL)
    first.wait()
  done = {
      x: x.stat().st_mtime_ns for x in out.glob('small/*/*/*/summary.json')}
  assert 2 <= len(done) < 8
  time.sleep(0.3)
  before = reached(out)
  time.sleep(0.3)
  assert reached(out) == before, 'a run outlived the command'
  run(path, out, '--jobs', 2)
  found = records(out / 'results/small')
  assert [x['status'] for x in found] == ['finished'] * 8
  assert {x: x.stat().st_mtime_ns for x in done} == done
  assert sum(x['sessions'] for x in found) >= 9
  # Who was interrupted went on where it was, and no step is there twice.
  rows = episodes(out / 'results/small')
  assert len(rows) == 8 * 40
  logs = [x.read_text() for x in out.glob('small/*/*/*/output.txt')]
  again = [x.splitlines()[1] for x in logs if len(x.splitlines()) > 1]
  assert again and all(x.startswith('from ') for x in again)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_interrupted(write, tmp_path, number):
  path, out = write(SUITE), tmp_path / 'runs'
  first = start(path, out, '--jobs', 2, slow=0.1)
  try:
    helpers.until(lambda: reached(out) > 4)
    first.send_signal(number)
    said, _ = first.communicate(timeout=300)
  finally:
    first.kill()
  assert first.returncode == 130
  assert b'Started again' in said and b'Traceback' not in said
  assert not (out / 'small/failed').exists()


def test_two_commands_on_one_folder(write, tmp_path):
  path, out = write(SUITE), tmp_path / 'runs'
  both = [start(path, out, '--jobs', 2) for _ in range(2)]
  said = [x.communicate(timeout=300)[0].decode() for x in both]
  assert [x.returncode for x in both] == [0, 0], said
  found = records(out / 'results/small')
  # Each run was executed once, by one of them.
  assert [(x['status'], x['sessions']) for x in found] == [('finished', 1)] * 8
  assert len(episodes(out / 'results/small')) == 8 * 40


def test_a_lock_is_inherited(tmp_path):
  """A run whose parents died is found running."""
  path = tmp_path / 'lock'
  with engines.locked(path) as file:
    assert file
    with engines.locked(path) as other:
      assert other is None
    child = subprocess.Popen(
        ['sleep', '60'], pass_fds=(file.fileno(),))
  try:
    with engines.locked(path) as other:
      assert other is None
    job = engines.Job(
        ('true',), {}, str(tmp_path), str(tmp_path / 'out'), str(path))
    assert engines.launch(job) == engines.BUSY
  finally:
    child.kill()
    child.wait()
  assert engines.launch(job) == 0


def test_a_lock_that_is_about_to_be_given_back(tmp_path):
  """A process between fork and exec holds the locks of all threads."""
  path = tmp_path / 'lock'
  with engines.locked(path) as file:
    copy = os.dup(file.fileno())
  timer = threading.Timer(engines.PATIENCE / 3, os.close, [copy])
  timer.start()
  with engines.locked(path) as other:
    assert other
  timer.join()


def test_local_engine_stops_at_once(tmp_path):
  engine = engines.Local(2)
  job = engines.Job(
      ('sleep', '60'), {}, str(tmp_path), str(tmp_path / 'out'),
      str(tmp_path / 'lock'))
  codes = []
  thread = threading.Thread(target=lambda: codes.append(engine.call(job)))
  thread.start()
  helpers.until(lambda: engine._procs)
  engine.stop()
  thread.join(60)
  assert codes == [-signal.SIGTERM]
  assert engine.call(job) == -signal.SIGTERM


def test_pinning(tmp_path):
  most = len(os.sched_getaffinity(0))
  with pytest.raises(errors.ConfigError, match='--jobs'):
    engines.Local(most + 1, pin=True)
  output = tmp_path / 'out'
  code = 'import os, time; time.sleep(.5); print(os.sched_getaffinity(0))'
  job = engines.Job(
      (sys.executable, '-c', code), {}, str(tmp_path), str(output),
      str(tmp_path / 'lock'))
  assert engines.Local(1, pin=True).call(job) == 0
  assert output.read_text() == f'{{{min(os.sched_getaffinity(0))}}}\n'


def test_unknown_engine():
  with pytest.raises(errors.ConfigError, match='local, ray'):
    engines.make('slurm', 1)


# --- Shared advice, Ray -----------------------------------------------------

SHARED = """
  name: small
  steps: 150
  seeds: 2
  tasks: [minigrid_DoorKey-5x5]
  configs: [minigrid, lore]
  share: service
  # Of actions, as few questions are asked of DoorKey-5x5 about subgoals.
  overrides: {lore.advisor.mode: action}
  arms:
    one: {overrides: {lore.advisor.provider: scripted}}
    two: {overrides: {lore.advisor.provider: scripted, lore.kl.target: 0.5}}
"""


def asking(path, out, *args, flags=()):
  program = (sys.executable, *flags, str(ROOT / 'tests/programs/asking.py'))
  ablate.main(
      [path, '--out', str(out), '--jobs', '1', *args], program=program)
  found = records(out / 'results/small')
  ledger = json.loads((out / 'results/small/shared.json').read_text())
  assert len(ledger) == 1
  return {(x['arm'], x['seed']): x for x in found}, *ledger.values()


@pytest.mark.slow
@pytest.mark.long
def test_sharing_a_service(write, tmp_path, monkeypatch):
  """Real advisors in processes of their own, and a real server."""
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  runs, ledger = asking(write(SHARED), tmp_path / 'runs')
  assert all(x['status'] == 'finished' for x in runs.values())
  asked = {k: x['asked'] for k, x in runs.items()}
  calls = {k: x['calls'] for k, x in runs.items()}
  # What a run was advised on depends on its seed, not on who paid.
  assert asked['one', 0] == asked['two', 0] > 3
  assert asked['one', 1] == asked['two', 1] > 3
  assert calls['one', 0] == asked['one', 0]
  assert calls['two', 0] == calls['two', 1] == 0
  assert 0 < calls['one', 1] < asked['one', 1]
  assert ledger['calls'] == sum(calls.values())


@pytest.mark.slow
@pytest.mark.long
def test_sharing_a_file(write, tmp_path, monkeypatch):
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  path = write(SHARED.replace('share: service', 'share: file'))
  runs, ledger = asking(path, tmp_path / 'runs', '--seeds', '1')
  assert runs['one', 0]['asked'] == runs['two', 0]['asked'] > 3
  assert runs['one', 0]['calls'] == ledger['calls'] == runs['one', 0]['asked']
  assert runs['two', 0]['calls'] == 0


@pytest.mark.slow
@pytest.mark.long
def test_a_shared_budget_holds(write, tmp_path, monkeypatch):
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  path = write(SHARED.replace('arms:', 'budget: {calls: 4}\n  arms:'))
  # Without the assertion that every state is advised.
  runs, ledger = asking(
      path, tmp_path / 'runs', '--seeds', '1', '--arms', 'one', flags=['-O'])
  assert ledger['calls'] == runs['one', 0]['asked'] == 4


def test_a_service_that_dies_comes_back(write, tmp_path):
  suite = suites.load(write(SHARED))
  items = plans.plan(suite, tmp_path)
  args = ablate.parse([write(SHARED), '--out', str(tmp_path)])
  work = ablate.Ablation(suite, items, tmp_path, engines.Local(1), args)
  work._start_services()
  (service,) = work.services.values()
  try:
    address, first = service.address, service.proc.pid
    work._mend_services()
    assert service.proc.pid == first
    service.proc.kill()
    service.proc.wait()
    work._mend_services()
    assert service.proc.pid != first and service.address == address
    assert not service.ended()
  finally:
    service.close()
  assert service.ended()


def test_caps_on_cost_are_given_to_the_service_alone(write, tmp_path):
  path = write(SHARED.replace(
      'overrides: {lore.advisor.mode: action}',
      'overrides: {lore.advisor.money: 2.0, lore.advisor.tokens: 9000}'))
  suite = suites.load(path)
  item = plans.plan(suite, tmp_path)[0]
  work = ablate.Ablation(
      suite, [item], tmp_path, engines.Local(1),
      ablate.parse([path, '--out', str(tmp_path)]))
  service = services.Service(
      item.share[1], tmp_path, item.run.flags(), {'calls': 5}, suite,
      '127.0.0.1')
  work.services = {item.share[1]: service}
  blocks = config.load()
  caps = lambda argv: build.caps(config.resolve(argv, blocks).lore.advisor)
  start = service.argv.index('serve') + 1
  assert caps(service.argv[start:]) == storelib.Caps(5, 9000, 2.0)
  extra, _ = work._advice(item)
  argv = [*item.run.flags(), *extra]
  assert caps(argv) == storelib.Caps(98)
  assert build.rehearse(config.resolve(argv, blocks)) == []


def test_a_service_that_cannot_start(write, tmp_path):
  path = write(SHARED.replace(
      'scripted', 'local, lore.advisor.model: /no.gguf'))
  with pytest.raises(errors.AdvisorError, match='could not be started'):
    ablate.main([path, '--out', str(tmp_path / 'runs')])
