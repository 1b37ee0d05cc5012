"""What several tests use; no test imports another."""

import time


def until(fn, seconds=120.0, pause=0.02):
  """Waits until a function returns something true, and returns it.

  Args:
    fn: The condition.
    seconds: Generous, as a machine may be busy; it only ends a broken test.
    pause: Seconds between two looks.
  """
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    value = fn()
    if value:
      return value
    time.sleep(pause)
  raise AssertionError(f'Not within {seconds:g} s.')
