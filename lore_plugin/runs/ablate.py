"""Executes a suite of runs, and collects what they logged.

  python -m lore_plugin ablate figure1 --out runs --jobs 2
  python -m lore_plugin ablate my-suite.yaml --arms a b --seeds 0-4 --dry-run

Runs are processes with one thread each. Their logdirs are
OUT/<suite>/<arm>/<task>/<seed>. Started again after whatever ended it, a suite
goes on: finished runs are kept, others continue from their checkpoint. A run
that fails is moved to OUT/<suite>/failed with its log and repeated once, with
the replies that it has paid for and under the same caps. Two commands may work
on one folder at the same time.

A run that another suite in OUT has made already, with the same configuration,
seed, length and commit, is linked instead of repeated.

The results go to RESULTS/<suite>; see `lore_plugin.runs.results`.
"""

import argparse
import collections
import contextlib
import dataclasses
import os
import pathlib
import shlex
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Sequence
from concurrent import futures

from .. import errors
from .. import logdir as logdirlib
from ..advisor.remote import wire
from . import aside
from . import collect
from . import engine as engines
from . import meter
from . import plan as plans
from . import service as services
from . import suites

PROGRAM = services.PROGRAM
# How a process ends that somebody asked to end; its run only waits.
ENDED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
ATTEMPTS = 2
# Seconds between two looks at a run that another process executes.
ELSEWHERE = 2.0


def main(
    argv: Sequence[str] | None = None,
    program: Sequence[str] = PROGRAM) -> None:
  """Runs the command.

  Args:
    argv: Its arguments.
    program: What is executed with the flags of a run.

  Raises:
    LoreError: A mistake in the suite, before the first run; or runs that
      failed, after the last.
  """
  args = parse(argv)
  seeds = args.seeds and plans.read_seeds(args.seeds)
  tasks = args.tasks and [*args.tasks, *kept(args)]
  whole = suites.settle(suites.load(
      args.suite, None, seeds, args.steps, tasks, args.alone_every))
  suite = suites.only(whole, args.arms, args.tasks)
  if args.jobs < 1 or args.threads < 1:
    raise errors.ConfigError('--jobs and --threads must be at least 1.')
  root = args.out / suite.name
  results = (args.results or args.out / 'results') / suite.name
  if args.collect:
    print(collect.collect(whole, root, results, args.add))
    return
  items = plans.plan(suite, root)
  for item in items:
    plans.check(item)
  if args.dry_run:
    plans.show(items, args, budgets(suite, items, root, args))
    return
  engine = engines.make(args.engine, args.jobs, args.pin)
  try:
    Ablation(suite, items, root, engine, args, program).execute()
  except KeyboardInterrupt:
    print('Interrupted. Started again, the command goes on.', file=sys.stderr)
    raise SystemExit(130) from None
  finally:
    engine.close()
  print(collect.collect(whole, root, results, args.add))
  print(f'Next: python -m lore_plugin report {shlex.quote(str(results))}')
  failed = [x for x in items if x.state == 'crashed']
  if failed:
    raise errors.LoreError(
        f'{len(failed)} of {len(items)} runs failed twice, first '
        f'{failed[0].run}. Their logs are in {root / "failed"}. Started '
        'again, the command tries them again.')


def kept(args: argparse.Namespace) -> list[str]:
  """Returns the suite's other tasks that earlier commands have run."""
  suite = suites.load(args.suite)
  folder = lambda task: suites.place(pathlib.PurePath(), '*', task, 0).parent
  return [
      x for x in suite.tasks if x not in args.tasks
      and any((args.out / suite.name).glob(str(folder(x))))]


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin ablate', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      epilog=f'Suites: {", ".join(suites.names())}.')
  add = parser.add_argument
  add('suite', help='a suite that ships, or a YAML file')
  add('--out', default='runs', help='folder of the runs (runs)')
  add('--results', help='folder of the results (OUT/results)')
  add('--arms', nargs='+', help='only these arms')
  add('--tasks', nargs='+', help='these tasks instead of the suite\'s')
  add('--seeds', nargs='+', help='a count, or seeds such as 3 5 8-10')
  add('--steps', type=plans.number,
      help='environment steps of a run')
  add('--alone-every', type=plans.number, metavar='STEPS',
      help='evaluate the agent without advice after so many steps each')
  add('--jobs', type=int, default=0, help='runs at a time (one a core)')
  add('--threads', type=int, default=1, help='CPU threads of a run (1)')
  add('--pin', action='store_true', help='keep each job on a core of its own')
  add('--engine', default='local', help='local (default) or ray')
  add('--no-reuse', action='store_true',
      help='repeat what another suite in OUT has run already')
  add('--collect', action='store_true', help='collect results, run nothing')
  add('--add', action='store_true',
      help='keep the runs that RESULTS holds and OUT does not, as of another '
      'machine')
  add('--dry-run', action='store_true', help='show the runs, run nothing')
  args = parser.parse_args(argv)
  args.out = logdirlib.plain(logdirlib.expand(args.out), 'out')
  args.results = args.results and logdirlib.expand(args.results)
  if not args.jobs:
    args.jobs = max(1, plans.cores() // max(1, args.threads))
  return args


def budgets(
    suite: suites.Suite, items: Sequence[plans.Item], root: pathlib.Path,
    args: argparse.Namespace) -> dict[str, dict[str, float]]:
  """Returns the caps of what a command's runs share; see `plan.budgets`.

  Of the suite's other runs, those count that its file names and those that
  other commands have begun. Seeds and tasks that another command alone names,
  and has yet to begin, are not known.

  Args:
    suite: The part of the suite that the command executes.
    items: Its runs.
    root: Folder of the suite's runs.
    args: The command line.
  """
  whole: list[plans.Item] = []
  if 'calls' not in suite.budget and any(x.share[0] == 'file' for x in items):
    file = suites.load(args.suite, steps=args.steps)
    begun = [x.parent for x in root.glob('*/*/*/run.json')]
    seeds = {int(x.name) for x in begun if x.name.isdigit()}
    every = dataclasses.replace(
        file, tasks=tuple(dict.fromkeys((*file.tasks, *suite.tasks))),
        seeds=tuple(sorted({*file.seeds, *suite.seeds, *seeds})),
        steps={**file.steps, **suite.steps})
    whole = [
        x for x in plans.plan(every, root) if x.logdir in begun or (
            x.run.task in file.tasks and x.run.seed in file.seeds)]
  spent = {
      k: x['calls'] for k, x in collect.read_shared(root, suite.name).items()}
  return plans.budgets(suite, items, whole, spent)


class Ablation:
  """Executes the items of a plan.

  Args:
    suite: The suite.
    items: What `plan` returned, after `check`.
    root: Folder of the suite's runs.
    engine: Object with `jobs`, `host`, `call(job)` and `stop()`.
    args: The command line.
    program: What is executed with the flags of a run.
  """

  def __init__(
      self, suite: suites.Suite, items: Sequence[plans.Item],
      root: pathlib.Path, engine: engines.Local | engines.Ray,
      args: argparse.Namespace, program: Sequence[str] = PROGRAM):
    self.suite = suite
    self.items = items
    self.root = root
    self.engine = engine
    self.args = args
    self.program = program
    self.commit = collect.commit()
    self.queue = collections.deque(x for x in items if x.state == 'todo')
    self.lock = threading.Lock()
    self.stopped = threading.Event()
    self.services: dict[str, services.Service] = {}
    self.budgets = budgets(suite, items, root, args)
    self.meter = meter.Meter(suite.name, items)

  def execute(self) -> None:
    """Executes all runs; returns when none is left.

    Raises:
      AdvisorError: A service can't be started.
      KeyboardInterrupt: The command was interrupted or terminated.
    """
    for note in plans.warn(self.items):
      self.meter.say(note)
    if any(self.commit != x for x in self._commits()):
      self.meter.say(
          'Some finished runs are of another commit; runs.json.gz tells '
          'which.')
    self.root.mkdir(parents=True, exist_ok=True)
    old = [(x, signal.signal(x, self._interrupt)) for x in (
        signal.SIGTERM,)] if in_main_thread() else []
    count = min(self.engine.jobs, max(1, len(self.queue)))
    pool = futures.ThreadPoolExecutor(count)
    try:
      self._start_services()
      self._watch({pool.submit(self._work) for _ in range(count)})
      self.meter.draw(last=True)
    finally:
      self.stopped.set()
      self.engine.stop()
      pool.shutdown()
      for service in self.services.values():
        service.close()
      for number, handler in old:
        signal.signal(number, handler)

  def _watch(self, works):
    """Waits for the workers, and raises what one of them raised."""
    while works:
      done, works = futures.wait(
          works, 0.2, return_when=futures.FIRST_COMPLETED)
      for work in done:
        work.result()
      self._mend_services()
      self.meter.draw()

  def _interrupt(self, *_):
    raise KeyboardInterrupt

  def _commits(self):
    records = [
        logdirlib.read_record(x.logdir) for x in self.items
        if x.state in ('finished', 'linked')]
    return {x['sessions'][-1]['commit'] for x in records if x['sessions']}

  def _start_services(self):
    for name, group in plans.groups(self.items).items():
      if group[0].share[0] == 'service' and any(
          x.state == 'todo' for x in group):
        self.services[name] = services.Service(
            name, self.root / 'services' / name, group[0].run.arm.flags(),
            self.budgets[name], self.suite, self.engine.host)
    for service in self.services.values():
      service.start()

  def _mend_services(self):
    for service in self.services.values():
      if service.ended():
        self.meter.say(
            f'The advisor {service.name} ended and is started again; its log '
            f'is {service.output}.')
        service.start()

  def _work(self):
    while not self.stopped.is_set():
      with self.lock:
        if not self.queue:
          return
        item = self.queue.popleft()
      with engines.locked(self._lockfile(item, 'claim')) as mine:
        done = mine is not None and self._once(item)
      if not done and not self.stopped.is_set():
        with self.lock:
          self.queue.append(item)
        self.stopped.wait(ELSEWHERE)

  def _lockfile(self, item, kind):
    name = '--'.join(item.run.folder.parts)
    return self.root / 'locks' / f'{name}.{kind}'

  def _once(self, item):
    """Executes an item. Returns whether there is nothing left to do for it."""
    plans.check(item)  # Somebody else may have executed it meanwhile.
    if item.state != 'todo':
      return True
    if not self.args.no_reuse and self._reuse(item):
      item.state = 'linked'
      return True
    for attempt in range(ATTEMPTS):
      item.state = 'running'
      code = self._attempt(item)
      item.state = 'todo'
      if code == engines.BUSY:
        return False
      if self.stopped.is_set():
        return True
      if plans.finished(item):
        item.state = 'finished'
        self.meter.say(f'Finished {item.run}.')
        return True
      if code in ENDED:
        item.state = 'interrupted'
        self.meter.say(
            f'Somebody ended {item.run}. Started again, the command goes on '
            'with it.')
        return True
      place = aside.put(item, self.root) / 'output.txt'
      last = attempt + 1 == ATTEMPTS
      self.meter.say(
          f'{item.run} failed (exit {code}); see {place}. It is '
          + ('left out.' if last else 'repeated.'))
    item.state = 'crashed'
    return True

  def _attempt(self, item):
    with engines.locked(self._lockfile(item, 'run')) as free:
      if free is None:
        # Its parents were killed, but it lives.
        return engines.BUSY
    if logdirlib.used_by(item.logdir):
      return engines.BUSY  # Somebody started it by hand.
    item.logdir.mkdir(parents=True, exist_ok=True)
    # Of fewer steps, if it is there.
    (item.logdir / 'summary.json').unlink(missing_ok=True)
    record = logdirlib.read_record(item.logdir) or {'sessions': []}
    extra, env = self._advice(item)
    argv = [*item.run.flags(), '--logdir', str(item.logdir), *extra]
    session = {
        'commit': self.commit, 'began': round(time.time()),
        'from_step': plans.step_of(item.logdir), 'seconds': None, 'code': None}
    record = {
        'suite': self.suite.name, 'arm': item.run.arm.name,
        'task': item.run.task, 'seed': item.run.seed, 'steps': item.run.steps,
        'digest': item.digest, 'share': item.share[0],
        'provider': item.provider, 'envs': item.envs,
        'argv': item.run.flags(), 'replaced': item.run.arm.replaced,
        'threads': self.args.threads, **item.terms,
        'sessions': [*record['sessions'], session]}
    logdirlib.write_json(item.logdir / logdirlib.RECORD, record)
    job = engines.Job(
        (*self._program(item), *argv),
        {**plans.environment(
            self.args.threads, self.args.out, self.suite.env), **env},
        os.getcwd(), str(item.logdir / 'output.txt'),
        str(self._lockfile(item, 'run').absolute()), self.args.threads)
    began = time.monotonic()
    code = self._paid(item) or self.engine.call(job)
    session.update(seconds=round(time.monotonic() - began, 1), code=code)
    logdirlib.write_json(item.logdir / logdirlib.RECORD, record)
    return code

  def _paid(self, item):
    """Lets a run have what its failed tries paid for. Returns 1 if it can't.

    Nothing is asked that could not be counted.
    """
    try:
      aside.take_back(item, self.root)
    except sqlite3.Error as e:
      (item.logdir / 'output.txt').write_text(
          f'What this run has spent can\'t be read: {e}. Remove its '
          f'{logdirlib.STORE} below {self.root / "failed"} to begin anew.\n',
          encoding='utf-8')
      return 1
    return 0

  def _program(self, item):
    """Returns what is executed with the flags of an item's run."""
    if self.program is PROGRAM:
      return PROGRAM[0], *plans.program(item.run.arm)
    return self.program

  def _advice(self, item):
    """Returns flags and environment for what an item shares."""
    kind, name = item.share
    if kind == 'service':
      service = self.services[name]
      # Caps on cost that a suite gives are the server's to keep.
      flags = ['--lore.advisor.address', service.address,
               *plans.caps({'tokens': -1, 'money': -1.0})]
      # A server's calls leave the process, so that `auto` would no longer
      # wait for them and advice would come later than to a run alone.
      if not item.paid and 'lore.advisor.ask' not in item.run.arm.overrides:
        flags += ['--lore.advisor.ask', 'sync']
      return flags, {wire.TOKEN: service.token}
    if kind == 'file':
      place = self.root / 'services' / name / 'advice.sqlite'
      place.parent.mkdir(parents=True, exist_ok=True)
      return ['--lore.advisor.store', str(place.absolute()),
              '--lore.advisor.account', self.suite.name,
              *plans.caps(self.budgets[name])], {}
    return [], {}

  def _reuse(self, item):
    """Links the same run of another suite. Returns whether there is one."""
    if not self.commit or 'changed' in self.commit or (
        item.logdir.exists() and any(item.logdir.iterdir())):
      return False
    place = suites.place(
        pathlib.PurePath('*'), '*', item.run.task, item.run.seed)
    for other in sorted(self.args.out.glob(str(place))):
      if other.is_symlink() or self.root in other.parents:
        continue
      record = logdirlib.read_record(other)
      if record and (other / 'summary.json').exists() and plans.same(
          item, record, self.commit):
        with contextlib.suppress(OSError):
          item.logdir.rmdir()
        item.logdir.parent.mkdir(parents=True, exist_ok=True)
        item.logdir.symlink_to(os.path.relpath(other, item.logdir.parent))
        self.meter.say(f'{item.run} is the same as {other}; linked.')
        return True
    return False


def in_main_thread() -> bool:
  return threading.current_thread() is threading.main_thread()
