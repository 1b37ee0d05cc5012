"""Executes a suite of runs, and collects what they logged.

  python -m lore_plugin ablate figure1 --out runs --jobs 2
  python -m lore_plugin ablate my-suite.yaml --arms a b --seeds 0-4 --dry-run

Runs are processes with one thread each. Their logdirs are
OUT/<suite>/<arm>/<task>/<seed>. Started again after whatever ended it, a suite
goes on: finished runs are kept, others continue from their checkpoint. A run
that fails is moved to OUT/<suite>/failed with its log and repeated once. Two
commands may work on one folder at the same time.

A run that another suite in OUT has made already, with the same configuration,
seed, length and commit, is linked instead of repeated.

The results go to RESULTS/<suite>; see `lore_plugin.runs.results`.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time

from .. import errors
from .. import logdir as logdirlib
from ..upstream import malloc as memory
from .. import status as progress
from ..advisor import providers
from ..advisor import remote
from . import results as collect
from . import engine as engines
from . import suites

# For a run on one thread; none of them changes a result. The order in which
# XLA works otherwise is meant for several threads and costs about a tenth.
ONE_THREAD = (
    '--xla_cpu_multi_thread_eigen=false',
    '--xla_cpu_enable_concurrency_optimized_scheduler=false')
PROGRAM = (sys.executable, '-m', 'lore_plugin')
# How a process ends that somebody asked to end; its run only waits.
ENDED = (130, -signal.SIGINT, -signal.SIGTERM)
ATTEMPTS = 2
# Seconds between two looks at a run that another process executes.
ELSEWHERE = 2.0


@dataclasses.dataclass
class Item:
  """A run of the plan, and how it goes.

  Attributes:
    run: The run.
    logdir: Its folder.
    digest: Name of its configuration, see `suites.fingerprint`.
    share: What it shares, and under which name, see `suites.sharing`.
    paid: Whether its provider's calls leave the machine.
    calls: Calls it may make itself, -1 for no limit.
    state: 'todo', 'running', 'finished', 'linked', 'crashed', 'interrupted'.
  """
  run: suites.Run
  logdir: pathlib.Path
  digest: str
  share: tuple[str, str]
  paid: bool
  calls: int
  state: str = 'todo'


def main(argv=None, program=PROGRAM):
  """Runs the command.

  Args:
    argv: Its arguments.
    program: What is executed with the flags of a run.

  Raises:
    LoreError: A mistake in the suite, before the first run; or runs that
      failed, after the last.
  """
  args = parse(argv)
  seeds = args.seeds and read_seeds(args.seeds)
  whole = suites.load(args.suite, None, seeds, args.steps, args.tasks)
  suite = suites.load(args.suite, args.arms, seeds, args.steps, args.tasks)
  if args.jobs < 1 or args.threads < 1:
    raise errors.ConfigError('--jobs and --threads must be at least 1.')
  root = args.out / suite.name
  results = (args.results or args.out / 'results') / suite.name
  if args.collect:
    print(collect.collect(whole, root, results, args.add))
    return
  items = plan(suite, root)
  for item in items:
    check(item)
  if args.dry_run:
    show(suite, items, args)
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
  failed = [x for x in items if x.state == 'crashed']
  if failed:
    raise errors.LoreError(
        f'{len(failed)} of {len(items)} runs failed twice, first '
        f'{failed[0].run}. Their logs are in {root / "failed"}. Started '
        'again, the command tries them again.')


def parse(argv):
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin ablate', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      epilog=f'Suites: {", ".join(suites.names())}.')
  add = parser.add_argument
  add('suite', help='a suite that ships, or a YAML file')
  add('--out', type=pathlib.Path, default=pathlib.Path('runs'),
      help='folder of the runs (runs)')
  add('--results', type=pathlib.Path,
      help='folder of the results (OUT/results)')
  add('--arms', nargs='+', help='only these arms')
  add('--tasks', nargs='+', help='these tasks instead of the suite\'s')
  add('--seeds', nargs='+', help='a count, or seeds such as 3 5 8-10')
  add('--steps', type=lambda x: int(float(x)),
      help='environment steps of a run')
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
  args.out = logdirlib.expand(args.out)
  args.results = args.results and logdirlib.expand(args.results)
  if not args.jobs:
    args.jobs = max(1, cores() // max(1, args.threads))
  return args


def cores():
  """Returns how many CPU cores this process may use."""
  if hasattr(os, 'sched_getaffinity'):
    return len(os.sched_getaffinity(0))
  return os.cpu_count() or 1


def read_seeds(words):
  """Reads seeds: one number is a count; several, or ranges, are a list.

  Raises:
    ConfigError: They are neither.
  """
  if not all(re.fullmatch(r'\d+(-\d+)?', x) for x in words):
    raise errors.ConfigError(
        f'--seeds {" ".join(words)} is neither a count nor a list such as '
        '3 5 8-10.')
  if len(words) == 1 and '-' not in words[0]:
    return list(range(int(words[0])))
  out = []
  for word in words:
    low, _, high = word.partition('-')
    out += range(int(low), int(high or low) + 1)
  return out


def plan(suite, root):
  """Returns an `Item` for each run of a suite, in the order of execution.

  Raises:
    ConfigError: An arm's configuration is wrong.
  """
  resolved = suites.resolve(suite)
  out = []
  for run in suites.runs(suite):
    config = resolved[run.arm.name, run.task]
    names = str(config.lore.advisor.provider).split(',')
    paid = bool(config.lore.enabled) and any(
        providers.load(providers.resolve(x.strip())).paid for x in names)
    out.append(Item(
        run, root / run.folder, suites.fingerprint(config),
        suites.sharing(run.arm, config), paid,
        int(config.lore.advisor.calls)))
  return out


def check(item):
  """Finds out what is there of a run.

  Raises:
    ConfigError: Its folder holds another run.
  """
  if item.logdir.is_symlink() and not item.logdir.exists():
    item.logdir.unlink()  # What it pointed to was removed.
  if not item.logdir.exists():
    return
  record = collect.read_record(item.logdir)
  way = 'Remove it, or give another folder by --out.'
  if not record:
    if any(item.logdir.iterdir()):
      raise errors.ConfigError(
          f'{item.logdir} holds files, but no run of a suite. {way}')
    return
  if record['digest'] != item.digest:
    raise errors.ConfigError(
        f'{item.logdir} holds a run of another configuration: the suite or '
        f'the defaults have changed since. {way}')
  if record['share'] != item.share[0]:
    raise errors.ConfigError(
        f'{item.logdir} holds a run that shared {record["share"]!r}, the '
        f'suite says {item.share[0]!r}. {way}')
  if record['steps'] > item.run.steps:
    raise errors.ConfigError(
        f'{item.logdir} holds a run of {record["steps"]:,} steps, the suite '
        f'asks for {item.run.steps:,}. Type --steps {record["steps"]}, or '
        'give another folder by --out.')
  if finished(item):
    item.state = 'linked' if item.logdir.is_symlink() else 'finished'


def finished(item):
  record = collect.read_record(item.logdir)
  return bool(record) and record['steps'] == item.run.steps and (
      item.logdir / 'summary.json').exists()


def show(suite, items, args):
  """Prints what would be executed."""
  for item in items:
    print(f'{item.state:>9}  {item.run}')
    print('           ' + ' '.join(
        ['python', '-m', 'lore_plugin', *item.run.flags(),
         '--logdir', str(item.logdir)]))
  for name, group in groups(items).items():
    kind, budget = group[0].share[0], budget_of(suite, group)
    print(f'{len(group)} runs share {name} ({kind}), budget {budget}.')
  steps = sum(x.run.steps for x in items if x.state == 'todo')
  print(f'{len(items)} runs, {sum(x.state == "todo" for x in items)} to do, '
        f'{steps:,} steps, {args.jobs} at a time.')


def groups(items):
  """Returns the items that share something, by the name of it."""
  out = collections.defaultdict(list)
  for item in items:
    if item.share[0] != 'none':
      out[item.share[1]].append(item)
  return dict(out)


def budget_of(suite, group, spent=0):
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


def warn(items):
  """Returns notes on shared replies where they change what is measured."""
  seen = {}
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

  def __init__(self, suite, items, root, engine, args, program=PROGRAM):
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
    self.services = {}
    shared = collect.read_shared(root, suite.name)
    self.budgets = {
        name: budget_of(suite, group, shared.get(name, {}).get('calls', 0))
        for name, group in groups(items).items()}
    self.errors = []
    self.meter = Meter(suite.name, items)

  def execute(self):
    """Executes all runs; returns when none is left.

    Raises:
      AdvisorError: A service can't be started.
      KeyboardInterrupt: The command was interrupted or terminated.
    """
    for note in warn(self.items):
      self.meter.say(note)
    if any(self.commit != x for x in self._commits()):
      self.meter.say(
          'Some finished runs are of another commit; runs.json tells which.')
    self.root.mkdir(parents=True, exist_ok=True)
    old = [(x, signal.signal(x, self._interrupt)) for x in (
        signal.SIGTERM,)] if in_main_thread() else []
    workers = [
        threading.Thread(target=self._guard, args=(self._work,), daemon=True)
        for _ in range(min(self.engine.jobs, max(1, len(self.queue))))]
    try:
      self._start_services()
      for worker in workers:
        worker.start()
      while any(x.is_alive() for x in workers):
        time.sleep(0.2)
        self._mend_services()
        self.meter.draw()
      self.meter.draw(last=True)
    finally:
      self.stopped.set()
      self.engine.stop()
      for worker in workers:
        if worker.ident:
          worker.join(20)
      for service in self.services.values():
        service.close()
      for number, handler in old:
        signal.signal(number, handler)
    if self.errors:
      raise self.errors[0]

  def _interrupt(self, *_):
    raise KeyboardInterrupt

  def _guard(self, fn):
    try:
      fn()
    except BaseException as e:
      self.errors.append(e)
      self.stopped.set()

  def _commits(self):
    records = [
        collect.read_record(x.logdir) for x in self.items
        if x.state in ('finished', 'linked')]
    return {x['sessions'][-1]['commit'] for x in records if x['sessions']}

  def _start_services(self):
    for name, group in groups(self.items).items():
      if group[0].share[0] == 'service' and any(
          x.state == 'todo' for x in group):
        self.services[name] = Service(
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
    check(item)  # Somebody else may have executed it meanwhile.
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
      if finished(item):
        item.state = 'finished'
        self.meter.say(f'Finished {item.run}.')
        return True
      if code in ENDED:
        item.state = 'interrupted'
        self.meter.say(
            f'Somebody ended {item.run}. Started again, the command goes on '
            'with it.')
        return True
      place = self._set_aside(item, code)
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
    item.logdir.mkdir(parents=True, exist_ok=True)
    # Of fewer steps, if it is there.
    (item.logdir / 'summary.json').unlink(missing_ok=True)
    record = collect.read_record(item.logdir) or {'sessions': []}
    extra, env = self._advice(item)
    argv = [*item.run.flags(), '--logdir', str(item.logdir), *extra]
    session = {
        'commit': self.commit, 'began': round(time.time()),
        'from_step': step_of(item.logdir), 'seconds': None, 'code': None}
    record = {
        'suite': self.suite.name, 'arm': item.run.arm.name,
        'task': item.run.task, 'seed': item.run.seed, 'steps': item.run.steps,
        'digest': item.digest, 'share': item.share[0],
        'argv': item.run.flags(), 'threads': self.args.threads,
        'sessions': [*record['sessions'], session]}
    collect.write_record(item.logdir, record)
    job = engines.Job(
        (*self.program, *argv),
        {**environment(
            self.args.threads, self.args.out, self.suite.env), **env},
        os.getcwd(), str(item.logdir / 'output.txt'),
        str(self._lockfile(item, 'run').absolute()), self.args.threads)
    began = time.monotonic()
    code = self.engine.call(job)
    session.update(seconds=round(time.monotonic() - began, 1), code=code)
    collect.write_record(item.logdir, record)
    return code

  def _advice(self, item):
    """Returns flags and environment for what an item shares."""
    kind, name = item.share
    if kind == 'service':
      service = self.services[name]
      flags = ['--lore.advisor.address', service.address]
      # A server's calls leave the process, so that `auto` would no longer
      # wait for them and advice would come later than to a run alone.
      if not item.paid and 'lore.advisor.ask' not in item.run.arm.overrides:
        flags += ['--lore.advisor.ask', 'sync']
      return flags, {remote.TOKEN: service.token}
    if kind == 'file':
      place = self.root / 'services' / name / 'advice.sqlite'
      place.parent.mkdir(parents=True, exist_ok=True)
      return ['--lore.advisor.store', str(place.absolute()),
              '--lore.advisor.account', self.suite.name,
              *caps(self.budgets[name])], {}
    return [], {}

  def _set_aside(self, item, code):
    target = self.root / 'failed' / item.run.folder
    count = len(list(target.parent.glob(f'{target.name}-*')))
    target = target.with_name(f'{target.name}-{count + 1}')
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(item.logdir, target)
    return target / 'output.txt'

  def _reuse(self, item):
    """Links the same run of another suite. Returns whether there is one."""
    if not self.commit or 'changed' in self.commit or (
        item.logdir.exists() and any(item.logdir.iterdir())):
      return False
    pattern = f'*/*/{item.run.task}/{item.run.seed}'
    for other in sorted(self.args.out.glob(pattern)):
      if other.is_symlink() or self.root in other.parents:
        continue
      record = collect.read_record(other)
      if record and (other / 'summary.json').exists() and (
          record['digest'], record['steps'], record['share'], {
              x['commit'] for x in record['sessions']}) == (
          item.digest, item.run.steps, item.share[0], {self.commit}):
        with contextlib.suppress(OSError):
          item.logdir.rmdir()
        item.logdir.parent.mkdir(parents=True, exist_ok=True)
        item.logdir.symlink_to(os.path.relpath(other, item.logdir.parent))
        self.meter.say(f'{item.run} is the same as {other}; linked.')
        return True
    return False


def caps(budget):
  """Returns the flags for a budget."""
  return [
      x for k, v in budget.items() for x in (f'--lore.advisor.{k}', str(v))]


def environment(threads, out, env):
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
    new['LORE_XLA_FLAGS'] = ' '.join(x for x in ONE_THREAD if known(x))
  if 'PYTHONPATH' in now:
    new['PYTHONPATH'] = now['PYTHONPATH']
  return {**env, **new}


@functools.cache
def known(flag):
  """Whether XLA of this installation has a flag. It aborts on others."""
  env = {**os.environ, 'XLA_FLAGS': flag, 'JAX_PLATFORMS': 'cpu'}
  probe = 'import jax; jax.jit(lambda x: x + 1)(1)'
  return not subprocess.run(
      [sys.executable, '-c', probe], env=env, stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL).returncode


def in_main_thread():
  return threading.current_thread() is threading.main_thread()


def step_of(logdir):
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


class Service:
  """An advisor's server process for the runs of a suite.

  Args:
    name: Name for messages.
    folder: Where its replies and its log are kept.
    flags: The configuration, as of a run.
    budget: Caps, see `suites.BUDGET`.
    suite: The suite; its name is that of the ledger's account.
    host: Name or number of this machine as the runs see it.

  Attributes:
    address: 'host:port'; the same after a restart.
    token: What clients must know.
  """

  def __init__(self, name, folder, flags, budget, suite, host):
    self.name = name
    self.folder = folder
    self.output = folder / 'output.txt'
    self.token = secrets.token_hex(16)
    self.address = f'{host}:{remote.free_port(host)}'
    self.env = suite.env
    self.argv = [
        *PROGRAM, 'serve', *flags,
        '--logdir', str(folder), '--lore.advisor.store',
        str((folder / 'advice.sqlite').absolute()),
        '--lore.advisor.account', suite.name,
        '--lore.advisor.address', self.address, *caps(budget)]
    self.proc = None

  def start(self, patience=120.0):
    """Starts the process and waits until it serves.

    Raises:
      AdvisorError: It ended, or does not serve in time.
    """
    self.folder.mkdir(parents=True, exist_ok=True)
    begin = self.output.stat().st_size if self.output.exists() else 0
    with self.output.open('ab') as output:
      self.proc = subprocess.Popen(
          self.argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
          env={**os.environ, **self.env, remote.TOKEN: self.token,
               'PYTHONUNBUFFERED': '1'},
          # An interruption of the terminal is for us; runs still need it.
          start_new_session=True, preexec_fn=engines.die_with_parent)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
      said = self.output.read_bytes()[begin:].decode('utf-8', 'replace')
      if 'Serving ' in said:
        return
      if self.ended():
        raise errors.AdvisorError(
            f'The advisor {self.name} could not be started: '
            f'{said.strip()[-2000:]}')
      time.sleep(0.05)
    self.close()
    raise errors.AdvisorError(
        f'The advisor {self.name} does not serve after {patience:g} s. Its '
        f'log is {self.output}; share: none does without.')

  def ended(self):
    return self.proc is not None and self.proc.poll() is not None

  def close(self):
    """Ends the process."""
    if self.proc and self.proc.poll() is None:
      self.proc.terminate()
      try:
        self.proc.wait(15)
      except subprocess.TimeoutExpired:
        self.proc.kill()
        self.proc.wait()


class Meter:
  """Says how a suite goes: a bar on a terminal, else a line a minute.

  Args:
    name: Name of the suite.
    items: All items, whose state others change.
    out: Where to write.
    clock: Returns seconds; replaced in tests.
  """

  def __init__(self, name, items, out=None, clock=time.monotonic):
    self.name = name
    self.items = items
    self.out = out or sys.stderr
    self.clock = clock
    self.start = clock()
    self.first = None
    self.next = self.start
    self.bar = self.out.isatty()

  def say(self, text):
    """Writes a line of its own."""
    end = '\x1b[K\n' if self.bar else '\n'
    self.out.write(f'\r{text}{end}' if self.bar else f'{text}{end}')
    self.out.flush()
    self.next = min(self.next, self.clock() + 1)

  def draw(self, last=False):
    """Writes how far everything is, if it is time to."""
    now = self.clock()
    if now < self.next and not last:
      return
    self.next = now + (1 if self.bar else 60)
    line = self.line(now)
    self.out.write(f'\r{line}\x1b[K' if self.bar else line + '\n')
    if last and self.bar:
      self.out.write('\n')
    self.out.flush()

  def line(self, now):
    """Returns the line: runs, share of steps, speed, time left."""
    count = collections.Counter(x.state for x in self.items)
    done = count['finished'] + count['linked']
    steps = {'todo': 0, 'running': 0, 'interrupted': 0}
    total = whole = 0
    for item in self.items:
      whole += item.run.steps
      if item.state in steps:
        total += min(step_of(item.logdir), item.run.steps)
      else:
        total += item.run.steps
    # Steps that are not made here must not count as speed.
    given = sum(
        x.run.steps for x in self.items if x.state in ('linked', 'crashed'))
    if self.first is None:
      self.first = total - given
    speed = (total - given - self.first) / max(now - self.start, 1e-9)
    share = total / whole if whole else 1.0
    filled = round(20 * share)
    parts = [
        f'[{"#" * filled}{"." * (20 - filled)}] {self.name}: '
        f'{done}/{len(self.items)} runs', f'{count["running"]} running']
    if count['crashed']:
      parts.append(f'{count["crashed"]} failed')
    parts.append(f'{share:.1%} of steps')
    if speed > 0 and total < whole:
      left = progress.duration((whole - total) / speed)
      parts += [f'{speed:.0f} steps/s', f'ETA {left}']
    return ', '.join(parts)
