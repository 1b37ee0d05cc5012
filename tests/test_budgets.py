"""What runs of a suite that share a store may spend, in one command or two."""

import pytest

from lore_plugin.advisor import store as storelib
from lore_plugin.runs import ablate
from lore_plugin.runs import plan
from lore_plugin.runs import suites

SUITE = """
  name: small
  steps: 2000
  seeds: 2
  tasks: [minigrid_DoorKey-5x5]
  configs: [minigrid, lore]
  share: file
  overrides: {lore.advisor.provider: scripted, lore.advisor.calls: 10}
  arms:
    a: {}
    b: {overrides: {lore.kl.target: 0.1}}
"""


@pytest.fixture
def cap(tmp_path):
  """Returns the cap on calls that a command sets, and how many runs it has."""
  path = tmp_path / 'suite.yaml'
  path.write_text(SUITE)
  def inner(*argv, text=SUITE, done=()):
    path.write_text(text)
    args = ablate.parse([str(path), '--out', str(tmp_path / 'runs'), *argv])
    seeds = args.seeds and plan.read_seeds(args.seeds)
    suite = suites.only(suites.settle(suites.load(
        path, None, seeds, args.steps, args.tasks)), args.arms, args.tasks)
    root = tmp_path / 'runs' / 'small'
    items = plan.plan(suite, root)
    for item in items:
      if item.run.arm.name in done:
        item.state = 'finished'
    (found,) = ablate.budgets(suite, items, root, args).values()
    return found['calls'], len(items)
  return inner


def spend(tmp_path, calls):
  """Calls that other commands have made from the file that all share."""
  suite = suites.load(tmp_path / 'suite.yaml')
  (name,) = plan.groups(plan.plan(suite, tmp_path))
  store = storelib.Store(
      tmp_path / 'runs/small/services' / name / 'advice.sqlite')
  for number in range(calls):
    store.reserve('small', f'k{number}')
  store.close()


def test_each_of_two_commands_knows_of_the_others_runs(cap):
  """Two arms of two seeds with ten calls each: 40, whoever executes them."""
  assert cap() == (40, 4)
  assert cap('--arms', 'a') == (40, 2)
  assert cap('--arms', 'b') == (40, 2)
  assert cap('--seeds', '0-0') == (40, 2)
  # Seeds that the file does not name come on top: four in two arms.
  assert cap('--seeds', '2-3') == (80, 4)
  # And so do tasks: four runs of the file's, two of this command.
  assert cap('--tasks', 'minigrid_Unlock', '--arms', 'a') == (60, 2)
  # The file's own word counts.
  text = SUITE.replace('arms:', 'budget: {calls: 5}\n  arms:')
  assert cap('--arms', 'a', text=text) == (5, 2)


def test_runs_that_another_command_has_begun_count(cap, tmp_path):
  """Seed 7 of arm b, which nobody but that command has named."""
  place = tmp_path / 'runs/small/b/minigrid_DoorKey-5x5/7'
  place.mkdir(parents=True)
  assert cap('--arms', 'a') == (40, 2)
  (place / 'run.json').write_text('{}')
  assert cap('--arms', 'a') == (50, 2)


def test_what_was_spent_is_not_granted_again(cap, tmp_path):
  """Those of arm a have made their 20 calls, and are finished."""
  spend(tmp_path, 20)
  assert cap('--arms', 'b') == (40, 2)
  assert cap(done='a') == (40, 4)
  assert cap(done='ab') == (40, 4)
  # Fifty, more than all might make: by runs that are gone. Two of ten come.
  spend(tmp_path, 50)
  assert cap('--arms', 'b') == (70, 2)
