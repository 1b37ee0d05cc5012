"""Runs of a suite that failed: kept with their logs, and not paid twice.

A run that is repeated begins anew at its first step, but what it has asked is
asked and paid: the replies are its own, and so is the ledger, by which its
caps hold over all of its tries.
"""

import pathlib
import re
import shutil

from .. import logdir as logdirlib
from ..advisor import database
from . import plan


def put(item: plan.Item, root: pathlib.Path) -> pathlib.Path:
  """Moves the folder of a run that failed out of the way.

  Args:
    item: The run.
    root: Folder of the suite's runs.

  Returns:
    Where it is now.
  """
  target = root / 'failed' / item.run.folder
  target.parent.mkdir(parents=True, exist_ok=True)
  count = len(_tries(target))
  target = target.with_name(f'{target.name}-{count + 1}')
  shutil.move(item.logdir, target)
  return target


def take_back(item: plan.Item, root: pathlib.Path) -> None:
  """Gives a run what its last failed try has paid for, if it has nothing.

  What was left by a run of another configuration is not its own.

  Args:
    item: The run; its folder is there.
    root: Folder of the suite's runs.

  Raises:
    sqlite3.Error: There is something, but it can't be read.
  """
  store = item.logdir / logdirlib.STORE
  if store.exists():
    return
  for place in reversed(_tries(root / 'failed' / item.run.folder)):
    record = logdirlib.read_record(place) or {}
    same = (record.get('digest'), record.get('share')) == (
        item.digest, item.share[0])
    if same and (place / logdirlib.STORE).exists():
      database.duplicate(place / logdirlib.STORE, store)
      return


def _tries(folder):
  """Returns the folders of failed tries of a run, the first one first."""
  found = [
      (int(match[1]), x) for x in folder.parent.glob(f'{folder.name}-*')
      if (match := re.fullmatch(r'.*-(\d+)', x.name))]
  return [x for _, x in sorted(found)]
