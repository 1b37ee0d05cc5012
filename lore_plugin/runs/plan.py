"""What a suite is to execute, and what is there of it already."""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence

from .. import errors
from .. import logdir as logdirlib
from ..advisor import providers
from ..upstream import malloc as memory
from . import suites

# For a run on one thread; none of them changes a result. The order in which
# XLA works otherwise is meant for several threads and costs about a tenth.
ONE_THREAD = (
    '--xla_cpu_multi_thread_eigen=false',
    '--xla_cpu_enable_concurrency_optimized_scheduler=false')
PROBING = threading.Lock()


@dataclasses.dataclass
class Item:
  """A run of the plan, and how it goes.

  Attributes:
    run: The run.
    logdir: Its folder.
    digest: Name of its configuration, see `suites.fingerprint`.
    share: What it shares, and under which name, see `suites.sharing`.
    provider: Who advises it, `auto` resolved; '' for nobody.
    paid: Whether its provider's calls leave the machine.
    calls: Calls it may make itself, -1 for no limit.
    envs: Environments at once.
    terms: What else decides what it does: environment variables, and what
      its group may spend.
    state: 'todo', 'running', 'finished', 'linked', 'crashed', 'interrupted'.
  """
  run: suites.Run
  logdir: pathlib.Path
  digest: str
  share: tuple[str, str]
  provider: str
  paid: bool
  calls: int
  envs: int
  terms: dict[str, dict]
  state: str = 'todo'


def cores() -> int:
  """Returns how many CPU cores this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def read_seeds(words: Sequence[str]) -> list[int]:
  """Reads seeds: one number is a count; several, or ranges, are a list.

  Raises:
    ConfigError: They are neither.
  """
  if not all(re.fullmatch(r'\d+(-\d+)?', x) for x in words):
    raise errors.ConfigError(
        f'--seeds {" ".join(words)} is neither a count nor a list such as '
        '3 5 8-10.')
  if len(words) == 1 and '-' not in words[0]:
    count = int(words[0])
    if not count:
      raise errors.ConfigError(
          '--seeds 0 is a count of none. The one seed 0 is --seeds 0-0.')
    return list(range(count))
  out: list[int] = []
  for word in words:
    low, _, high = word.partition('-')
    found = range(int(low), int(high or low) + 1)
    if not found:
      raise errors.ConfigError(
          f'--seeds {word} ends before it begins. Write {high}-{low}.')
    out += found
  return out


def number(text: str) -> int:
  """Reads a count such as 8000 or 8e3; for argparse."""
  value = float(text)
  if not value.is_integer() or value < 1:
    raise ValueError(f'{text} is no whole number of at least 1')
  return int(value)


def plan(suite: suites.Suite, root: pathlib.Path) -> list[Item]:
  """Returns an `Item` for each run of a suite, in the order of execution.

  Raises:
    ConfigError: An arm's configuration is wrong.
  """
  suite = suites.settle(suite)
  resolved = suites.resolve(suite)
  out = []
  for run in suites.runs(suite):
    config = resolved[run.arm.name, run.task]
    provider = ''
    if config.lore.enabled and not config.random_agent:
      provider = str(config.lore.advisor.provider)
    paid = bool(provider) and any(
        providers.load(x).paid for x in suites.asked(provider))
    share = suites.sharing(run.arm, config)
    out.append(Item(
        run, root / run.folder, suites.fingerprint(config, run.arm.replaced),
        share, provider, paid, int(config.lore.advisor.calls),
        int(config.run.envs), {
            'env': suite.env,
            'budget': {} if share[0] == 'none' else suite.budget}))
  return out


def check(item: Item) -> None:
  """Finds out what is there of a run.

  Raises:
    ConfigError: Its folder holds another run.
  """
  if item.logdir.is_symlink() and not finished(item):
    # What it pointed to was removed, or is a longer or a shorter run by now,
    # which is another suite's to go on with.
    item.logdir.unlink()
  if not item.logdir.exists():
    return
  record = logdirlib.read_record(item.logdir)
  way = 'Remove it, or give another folder by --out.'
  if not record:
    if any(item.logdir.iterdir()):
      raise errors.ConfigError(
          f'{item.logdir} holds files, but no run of a suite. {way}')
    return
  if record.get('provider', item.provider) != item.provider:
    raise errors.ConfigError(
        f'{item.logdir} holds a run that was advised by '
        f'{record["provider"] or "nobody"}, and would now be by '
        f'{item.provider or "nobody"}: `auto` takes anthropic where '
        'ANTHROPIC_API_KEY is set, else local. Set it or unset it as then, '
        f'or name lore.advisor.provider in the suite. {way}')
  if record['digest'] != item.digest:
    raise errors.ConfigError(
        f'{item.logdir} holds a run of another configuration: the suite or '
        f'the defaults have changed since. {way}')
  if record['share'] != item.share[0]:
    raise errors.ConfigError(
        f'{item.logdir} holds a run that shared {record["share"]!r}, the '
        f'suite says {item.share[0]!r}. {way}')
  if record.get('env', item.terms['env']) != item.terms['env']:
    raise errors.ConfigError(
        f'{item.logdir} holds a run with other environment variables: '
        f'{record["env"]}, and the suite says {item.terms["env"]}. {way}')
  if record['steps'] > item.run.steps:
    raise errors.ConfigError(
        f'{item.logdir} holds a run of {record["steps"]:,} steps, the suite '
        f'asks for {item.run.steps:,}. Type --steps {record["steps"]}, or '
        'give another folder by --out.')
  if finished(item):
    item.state = 'linked' if item.logdir.is_symlink() else 'finished'


def same(item: Item, record: dict, commit: str) -> bool:
  """Whether the record of a finished run is that of an item at a commit."""
  # What earlier versions did not note is taken to be alike.
  terms = {k: record.get(k, v) for k, v in item.terms.items()}
  return terms == item.terms and (
      record['digest'], record['steps'], record['share'], {
          x['commit'] for x in record['sessions']}) == (
      item.digest, item.run.steps, item.share[0], {commit})


def finished(item: Item) -> bool:
  record = logdirlib.read_record(item.logdir)
  if not record:
    return False
  return record['steps'] == item.run.steps and (
      item.logdir / 'summary.json').exists()


def show(
    items: Sequence[Item], args: argparse.Namespace,
    shared: Mapping[str, Mapping[str, float]]) -> None:
  """Prints what would be executed, under the caps of each group."""
  for item in items:
    print(f'{item.state:>9}  {item.run}')
    print('           ' + shlex.join(
        ['python', *program(item.run.arm), *item.run.flags(),
         '--logdir', str(item.logdir)]))
  for name, group in groups(items).items():
    kind = group[0].share[0]
    print(f'{len(group)} runs share {name} ({kind}), budget {shared[name]}.')
  steps = sum(x.run.steps for x in items if x.state == 'todo')
  print(f'{len(items)} runs, {sum(x.state == "todo" for x in items)} to do, '
        f'{steps:,} steps, {args.jobs} at a time.')


def program(arm: suites.Arm) -> tuple[str, ...]:
  """Returns what Python executes for the runs of an arm."""
  if not arm.replaced:
    return '-m', 'lore_plugin'
  parts = (arm.replaced.get(x, '') for x in suites.PARTS)
  return '-m', 'lore_plugin.runs.replaced', *parts


def groups(items: Iterable[Item]) -> dict[str, list[Item]]:
  """Returns the items that share something, by the name of it."""
  out = collections.defaultdict(list)
  for item in items:
    if item.share[0] != 'none':
      out[item.share[1]].append(item)
  return dict(out)


def budget_of(
    suite: suites.Suite, group: Sequence[Item],
    spent: int = 0) -> dict[str, float]:
  """Returns the caps of a group: the suite's, or what all might spend alone.

  Args:
    suite: The suite.
    group: Items that share something.
    spent: Calls that earlier commands have made. They count against a cap of
      the suite's, but are not taken from runs that come later.
  """
  budget = dict(suite.budget)
  if 'calls' not in budget:
    alone = [x.calls for x in group]
    # Runs that ask a server keep to caps of their own. Another command's runs
    # on the same server's account would use up the sum of ours.
    unlimited = group[0].share[0] == 'service' or min(alone) < 0
    budget['calls'] = -1 if unlimited else spent + sum(alone)
  return budget


def budgets(
    suite: suites.Suite, items: Sequence[Item], whole: Sequence[Item] = (),
    spent: Mapping[str, int] | None = None) -> dict[str, dict[str, float]]:
  """Returns the caps of each group that a command has runs of.

  A group has one account, whichever commands its runs belong to, so that it
  has one cap: what all of them might spend alone. Two commands that execute a
  part of a suite each would otherwise cap that account at the sum of their
  own part, and who is faster would take what is the other's.

  Args:
    suite: The suite.
    items: The command's runs.
    whole: All runs that are known of the suite; those of the command need not
      be among them.
    spent: Calls that earlier commands have made, by the group's name. Where
      they were made by runs that nobody knows any more, they are not taken
      from those that are still to come.
  """
  mine = {x.logdir for x in items}
  others = groups(x for x in whole if x.logdir not in mine)
  out = {}
  for name, group in groups(items).items():
    out[name] = budget_of(suite, [*group, *others.get(name, ())])
    todo = [x for x in group if x.state == 'todo']
    if todo and 'calls' not in suite.budget and out[name]['calls'] >= 0:
      coming = budget_of(suite, todo, (spent or {}).get(name, 0))
      out[name]['calls'] = max(out[name]['calls'], coming['calls'])
  return out


def warn(items: Iterable[Item]) -> list[str]:
  """Returns notes on shared replies where they change what is measured."""
  seen: dict[str, None] = {}
  for item in items:
    flags = item.run.arm.overrides
    if item.share[0] != 'none' and any(
        x.startswith('lore.advisor.policy.') or x in (
            'lore.advisor.cooldown', 'lore.advisor.min_u',
            'lore.advisor.calls') for x in flags):
      seen.setdefault(item.run.arm.name)
  return [
      f'Arm {x} limits when to call, but shares replies: it is advised where '
      'others called. Set share: none to measure its policy.' for x in seen]


def caps(budget: Mapping[str, float]) -> list[str]:
  """Returns the flags for a budget."""
  return [
      x for k, v in budget.items() for x in (f'--lore.advisor.{k}', str(v))]


def environment(
    threads: int, out: pathlib.Path, env: Mapping[str, str]) -> dict[str, str]:
  """Returns environment variables for a run.

  Args:
    threads: CPU threads that it may use.
    out: Folder of all runs, where compiled programs are shared.
    env: The suite's own variables, which come first.
  """
  now = {**os.environ, **env}
  new = {
      'PYTHONUNBUFFERED': '1', 'OMP_NUM_THREADS': str(threads),
      'GLIBC_TUNABLES': memory.TUNABLES,
      'JAX_COMPILATION_CACHE_DIR': str((out / 'jax-cache').absolute()),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '1'}
  new = {k: now.get(k, v) for k, v in new.items()}
  new['OMP_NUM_THREADS'] = env.get('OMP_NUM_THREADS', str(threads))
  if 'LORE_XLA_FLAGS' in now:
    new['LORE_XLA_FLAGS'] = now['LORE_XLA_FLAGS']
  elif threads == 1:
    new['LORE_XLA_FLAGS'] = one_thread()
  if 'PYTHONPATH' in now:
    new['PYTHONPATH'] = now['PYTHONPATH']
  return {**env, **new}


def one_thread() -> str:
  """Returns those of `ONE_THREAD` that XLA of this installation has."""
  with PROBING:  # Each probe starts jax, so that nobody makes one twice.
    whole = ' '.join(ONE_THREAD)
    return whole if known(whole) else ' '.join(filter(known, ONE_THREAD))


@functools.cache
def known(flags: str) -> bool:
  """Whether XLA of this installation has some flags. It aborts on others."""
  env = {**os.environ, 'XLA_FLAGS': flags, 'JAX_PLATFORMS': 'cpu'}
  probe = 'import jax; jax.jit(lambda x: x + 1)(1)'
  return not subprocess.run(
      [sys.executable, '-c', probe], env=env, stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL).returncode


def step_of(logdir: str | os.PathLike) -> int:
  """Returns the last environment step that a run logged, or 0."""
  for name in ('scores.jsonl', 'metrics.jsonl'):
    path = pathlib.Path(logdir) / name
    try:
      with path.open('rb') as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - 8192))
        lines = file.read().splitlines()
    except OSError:
      continue
    for line in reversed(lines):
      with contextlib.suppress(ValueError, KeyError, TypeError):
        return int(json.loads(line)['step'])
  return 0
