"""Keeps memory with the process on a CPU.

XLA asks the C library for the work space of each gradient step, and the C
library asks the system: ten thousand page faults a step at the `minigrid`
size, a quarter of its time. Told to keep what was freed, it has the space at
once. Nothing else changes; results are the same bits.

Threads have memory of their own, as is the C library's way. In a common one
the thread that computes would go through what compilation left there, piece by
piece: up to a third of the time of a step. The price is that a thread's memory
is in parts of 64 MB; a larger work space, as of larger models, comes from the
system each time, as without this.
"""

import ctypes
import os
import platform

# Never by mappings of their own, which are given back when they are freed. By
# name of the tunable: its number in <malloc.h> of the GNU C library, and the
# value.
SETTINGS = {
    'mmap_max': (-4, 0),
    'trim_threshold': (-1, 2 ** 31 - 1),
    'top_pad': (-2, 2 ** 28)}
# The same for a process that is yet to be started, and in huge pages, which
# can be asked for at the start only. Other C libraries ignore this.
TUNABLES = ':'.join([
    *(f'glibc.malloc.{k}={v}' for k, (_, v) in SETTINGS.items()),
    'glibc.malloc.hugetlb=1'])


def keep() -> bool:
  """Lets this process keep the memory that it frees.

  Returns:
    Whether it does: on Linux with the GNU C library, unless the user tunes
    that library by GLIBC_TUNABLES or a MALLOC_ variable.
  """
  if platform.libc_ver()[0] != 'glibc' or any(
      k == 'GLIBC_TUNABLES' or k.startswith('MALLOC_') for k in os.environ):
    return False
  libc = ctypes.CDLL(None)
  return all([libc.mallopt(*x) for x in SETTINGS.values()])
