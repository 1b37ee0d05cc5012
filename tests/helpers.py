"""What several tests use; no test imports another."""

import time

# A suite of two arms on two tasks, without advice.
SUITE = """
  name: small
  steps: 40
  seeds: 2
  tasks: [minigrid_Empty-5x5, minigrid_DoorKey-5x5]
  configs: [minigrid]
  arms:
    plain: {}
    other: {overrides: {batch_size: 8}}
"""


def arms(**arms):
  """Returns a suite of these arms, as its file has it."""
  return {
      'name': 'x', 'steps': 10, 'seeds': 1, 'tasks': ['dummy_line'],
      'configs': ['minigrid', 'lore'], 'arms': arms}


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
