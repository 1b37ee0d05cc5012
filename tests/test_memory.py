"""Memory that stays with the process, as the system counts it."""

import os
import platform
import subprocess
import sys

import pytest

# Fills and frees so many MB ten times, in the main or another thread; prints
# whether memory is kept, and page faults.
PROGRAM = """
import resource, sys, threading
import numpy as np
from lore_plugin.upstream import malloc as memory
mode, where, size = sys.argv[1:]
print(memory.keep() if mode == 'keep' else None)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def fill():
  np.ones(int(size) << 17)
  before = faults()
  for _ in range(10):
    np.ones(int(size) << 17)
  print(faults() - before)
if where == 'main':
  fill()
else:
  thread = threading.Thread(target=fill)
  thread.start()
  thread.join()
"""
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='another C library')


def run(mode, where='main', size=64, **env):
  clean = {k: v for k, v in os.environ.items()
           if not k.startswith(('GLIBC_', 'MALLOC_'))}
  out = subprocess.run(
      [sys.executable, '-c', PROGRAM, mode, where, str(size)],
      env={**clean, **env}, check=True,
      capture_output=True, text=True).stdout.split()
  return out[0], int(out[1])


@glibc
@pytest.mark.parametrize('where, size', [('main', 96), ('thread', 48)])
def test_freed_memory_is_used_again(where, size):
  kept, faults = run('keep', where, size)
  _, usual = run('leave', where, size)
  assert kept == 'True'
  # Ten times so much in pages of 4 to 64 KiB, against next to nothing.
  assert faults < usual / 10, (faults, usual)


@glibc
@pytest.mark.parametrize('name, value', [
    ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2'),
    ('MALLOC_ARENA_MAX', '2')])
def test_the_user_knows_better(name, value):
  assert run('keep', **{name: value})[0] == 'False'
