"""Memory that stays with the process, as the system counts it."""

import os
import platform
import subprocess
import sys

import pytest

# Fills and frees 64 MB ten times; prints whether it is kept, and page faults.
PROGRAM = """
import resource, sys
import numpy as np
from lore_plugin import memory
print(memory.keep() if sys.argv[1] == 'keep' else None)
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(1 << 23)
before = faults()
for _ in range(10):
  np.ones(1 << 23)
print(faults() - before)
"""
glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != 'glibc', reason='another C library')


def run(mode, **env):
  clean = {k: v for k, v in os.environ.items()
           if not k.startswith(('GLIBC_', 'MALLOC_'))}
  out = subprocess.run(
      [sys.executable, '-c', PROGRAM, mode], env={**clean, **env}, check=True,
      capture_output=True, text=True).stdout.split()
  return out[0], int(out[1])


@glibc
def test_freed_memory_is_used_again():
  kept, faults = run('keep')
  _, usual = run('leave')
  assert kept == 'True'
  # Ten times 64 MB in pages of 4 to 64 KiB, against next to nothing.
  assert faults < usual / 10, (faults, usual)


@glibc
@pytest.mark.parametrize('name, value', [
    ('GLIBC_TUNABLES', 'glibc.malloc.arena_max=2'),
    ('MALLOC_ARENA_MAX', '2')])
def test_the_user_knows_better(name, value):
  assert run('keep', **{name: value})[0] == 'False'
