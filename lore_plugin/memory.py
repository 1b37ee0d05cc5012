"""Keeps memory with the process on a CPU.

XLA asks the C library for the work space of each gradient step, and the C
library asks the system: ten thousand page faults a step at the `minigrid`
size, a quarter of its time. Told to keep what was freed, it has the space at
once. Nothing else changes; results are the same bits.
"""

import ctypes
import os
import platform

# From <malloc.h> of the GNU C library.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX, M_ARENA_MAX = -1, -2, -4, -8


def keep():
  """Lets this process keep the memory that it frees.

  Returns:
    Whether it does: on Linux with the GNU C library, unless the user tunes
    that library by GLIBC_TUNABLES or a MALLOC_ variable.
  """
  if platform.libc_ver()[0] != 'glibc' or any(
      k == 'GLIBC_TUNABLES' or k.startswith('MALLOC_') for k in os.environ):
    return False
  libc = ctypes.CDLL(None)
  # One arena, as the others can't hold more than 64 MB each; from there, never
  # by mappings of their own, which are given back when they are freed.
  return all([
      libc.mallopt(M_ARENA_MAX, 1), libc.mallopt(M_MMAP_MAX, 0),
      libc.mallopt(M_TRIM_THRESHOLD, 2 ** 31 - 1),
      libc.mallopt(M_TOP_PAD, 2 ** 28)])
