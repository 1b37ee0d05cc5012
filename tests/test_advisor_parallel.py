"""Upstream's script `parallel`, its processes, and an advisor of their own."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.remote import wire

pytestmark = [pytest.mark.slow, pytest.mark.long]

ROOT = pathlib.Path(__file__).parents[1]
ENV = {
    **os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1',
    wire.TOKEN: 'secret'}


def start(log, *args):
  """Starts the program, in a group of processes of its own."""
  with open(log, 'w') as f:
    return subprocess.Popen(
        [sys.executable, '-m', 'lore_plugin', *map(str, args)], env=ENV,
        stdout=f, stderr=subprocess.STDOUT, start_new_session=True)


def serve(folder, address):
  log = folder / 'serve.log'
  process = start(
      log, 'serve', '--logdir', folder / 'serve', '--lore.advisor.provider',
      'scripted', '--lore.advisor.address', address,
      '--lore.advisor.calls', -1)
  until(lambda: 'Serving' in log.read_text(), log, process)
  return process


def until(fn, log, process, seconds=900):
  """Waits until a function returns something true, and returns it."""
  end = time.monotonic() + seconds
  while time.monotonic() < end and process.poll() is None:
    value = fn()
    if value:
      return value
    time.sleep(0.2)
  raise AssertionError(log.read_text()[-6000:])


def stop(process):
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except ProcessLookupError:
    pass
  process.wait()


def test_server_dies_and_comes_back(tmp_path):
  address = f'127.0.0.1:{wire.free_port("127.0.0.1")}'
  server = serve(tmp_path, address)
  metrics = tmp_path / 'run' / 'metrics.jsonl'
  log = tmp_path / 'run.log'

  def last():
    """What was counted last, with the step."""
    text = metrics.read_text() if metrics.exists() else ''
    rows = [json.loads(x) for x in text.splitlines() if x.endswith('}')]
    merged = {}
    for row in rows:
      merged.update(row)
    return {k: merged.get(f'train/advisor/{k}', 0) for k in (
        'calls', 'failures_failed', 'failures_internal')} | {
            'step': merged.get('step', 0)}

  run = start(
      log, '--configs', 'minigrid', 'debug', 'lore', '--script', 'parallel',
      '--task', 'gymnasium_CartPole-v1', '--logdir', tmp_path / 'run',
      '--run.envs', 2, '--run.eval_envs', 0, '--run.actor_batch', 2,
      # Its control group asks nothing, which would only take time here.
      '--lore.trust.enabled', False, '--run.log_every', 1,
      '--logger.outputs', 'jsonl', '--agent.report', False,
      '--lore.advisor.address', address, '--lore.advisor.calls', -1,
      '--lore.heldout', 0,
      # Numbers hardly ever return, so that there are always new questions;
      # a maze runs out of them while nobody answers.
      '--lore.advisor.mode', 'action')
  try:
    before = until(lambda: last()['calls'] > 5 and last(), log, run)
    assert not before['failures_failed']
    stop(server)
    until(lambda: last()['failures_failed'] > 0, log, run)
    away = last()
    # It goes on without.
    until(lambda: last()['step'] > away['step'] + 100, log, run)
    server = serve(tmp_path, address)
    until(lambda: last()['calls'] > away['calls'] + 2, log, run)
    assert not last()['failures_internal']
    # It has no end but this one.
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(600) == 130, log.read_text()[-6000:]
    text = log.read_text()
    assert 'Mean return while training' in text and 'Wall time' in text
    assert json.loads(
        (tmp_path / 'run' / 'summary.json').read_text())['episodes'] > 0
  finally:
    stop(run)
    stop(server)
  # What the server learned before it was killed is there, and more.
  store = storelib.Store(tmp_path / 'serve' / 'advice.sqlite')
  assert store.spent('served')['calls'] >= last()['calls'] > before['calls']
  store.close()
