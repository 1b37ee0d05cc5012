"""Processes that are killed at any moment, and what their file says then."""

import collections
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from lore_plugin.advisor import store as storelib
from lore_plugin.advisor.store import Caps, Identity, Store, Terms
from lore_plugin.advisor.types import Description, Query, Reply

IDENTITY = Identity('mock', 'm', 'p-1')
STATES = 700
WORKERS = 4


def query(number):
  desc = Description(f's{number}', 'm', ('l', 'r'), version='d-1')
  return Query(desc, ('l', 'r'), 'action')


def work(path, bills, cap, seed):
  """Asks about random states until the budget is gone, or it is killed."""
  # However slow the disk is, and whoever else waits for it.
  store = Store(path, patience=300.0)
  rng = random.Random(seed)
  caps = Caps(calls=cap, money=0.01 * cap)
  while True:
    item = query(rng.randrange(STATES))
    ticket, reason = store.reserve(
        'all', storelib.reply_key(IDENTITY, item), Terms(caps, 100, 0.01))
    if reason == 'budget':
      return
    if ticket:
      # The provider's own bill: one line for each call that reached it. The
      # system keeps it also if we are killed.
      bill = os.open(bills, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
      os.write(bill, f'{item.description.text}\n'.encode())
      os.close(bill)
      time.sleep(rng.random() * 0.002)
      store.settle(
          ticket, IDENTITY, item,
          Reply((0.0, 1.0), 'r', tokens_in=60, money=0.005))


def storm(folder, kills, cap, seed=0):
  """Kills workers at random moments, starting others in their place."""
  context = multiprocessing.get_context('fork')
  path, bills = str(folder / 'a.sqlite'), str(folder / 'bills')
  Store(path).close()
  rng = random.Random(seed)
  jobs = []

  def start():
    job = context.Process(
        target=work, args=(path, bills, cap, rng.random()), daemon=True)
    job.start()
    jobs.append(job)

  for _ in range(WORKERS):
    start()
  for _ in range(kills):
    time.sleep(rng.random() * 0.03)
    job = jobs.pop(rng.randrange(len(jobs)))
    if job.is_alive():
      os.kill(job.pid, signal.SIGKILL)
    job.join()
    start()
  for job in jobs:
    job.join(60)
    assert job.exitcode == 0


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork')
@pytest.mark.parametrize('kills, cap', [(100, 500)])
def test_kill_at_any_moment(tmp_path, kills, cap):
  # In a process without threads, so that it may fork quickly and safely.
  code = (
      f'import sys; sys.path.insert(0, {os.path.dirname(__file__)!r});'
      f'import pathlib, {__name__} as m;'
      f'm.storm(pathlib.Path({str(tmp_path)!r}), {kills}, {cap})')
  subprocess.run([sys.executable, '-c', code], check=True, timeout=300)
  asked = collections.Counter((tmp_path / 'bills').read_text().split())
  assert sum(asked.values()) <= cap
  assert max(asked.values()) == 1
  store = Store(tmp_path / 'a.sqlite')
  replies = store.load(IDENTITY)
  spent = store.spent('all')
  assert spent['calls'] <= cap and spent['money'] <= 0.01 * cap + 1e-9
  assert {x['text'] for x in replies} <= set(asked)
  # All but those that were under way when they were killed are there.
  assert len(replies) >= sum(asked.values()) - kills
  # Some were, or this test shows nothing.
  assert len(replies) < sum(asked.values()) <= spent['calls']
  assert store.query('pragma integrity_check') == [('ok',)]
