"""Runs upstream's unmodified main() with our parts: the way in.

  argv -> config.resolve -> upstream.run -> make_env, make_agent, make_logger

Upstream sends the three functions to other processes by name, so they are
plain functions of this module.
"""

import contextlib
import functools
import io
import multiprocessing
import os
import pathlib
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from . import config as configlib
from . import early
from . import errors
from . import lines
from . import logdir as logdirlib
from . import unread
from .upstream import malloc as memory
from .upstream import checkpoint
from .upstream import resume
from .upstream import source
from .upstream import values
from .upstream.find import Upstream
from . import upstream
from . import worlds

if TYPE_CHECKING:
  import elements

P = ParamSpec('P')
R = TypeVar('R')

# The agent of this process; script `parallel` makes it in a thread.
built: Any = None
# Where the run is, once that is known.
place = ''
# Rules in the place of parts of LoRe, if `runs.replaced` started the program.
replaced: dict[str, str] = {}
# What the run's folder held when this process came to it.
before: 'checkpoint.Before | None' = None
# Seconds after SIGTERM in which a run may end in order. Clusters wait for ten
# to thirty of them before they kill.
GRACE = 8.0
# Scripts for processes that join a run of script `parallel`, in its logdir.
JOINING = ('parallel_env', 'parallel_envs', 'parallel_replay')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one session.

  Returns:
    The exit code: 0; 2 after a LoreError; 130 after an interruption, 143
    after SIGTERM.
  """
  say_anything()
  try:
    with interruptible():
      run(sys.argv[1:] if argv is None else argv)
  except errors.LoreError as e:
    report(e)
    return 2
  except RuntimeError as e:
    # A process that `guarded` ended, and that gave the reason already, or one
    # that was ended with it or by somebody.
    code = upstream.stopped(e)
    if code not in (2, -15):
      raise
    if code != 2:
      report(e)
    return 2
  except KeyboardInterrupt as e:
    number = (
        signal.SIGTERM if isinstance(e, Terminated) else signal.SIGINT)
    report(interrupted(number))
    return 128 + number
  finally:
    if f'{__package__}.status' in sys.modules:
      from . import status
      status.close()
  return 0


def say_anything() -> None:
  """Lets all processes print names that the terminal's encoding lacks."""
  for stream in (sys.stdout, sys.stderr):
    # Tests and notebooks put other objects there.
    if isinstance(stream, io.TextIOWrapper):
      stream.reconfigure(errors='backslashreplace')
  if 'PYTHONIOENCODING' in os.environ:
    encoding = os.environ['PYTHONIOENCODING'].split(':')[0]
    os.environ['PYTHONIOENCODING'] = f'{encoding}:backslashreplace'


class Terminated(KeyboardInterrupt):
  """Somebody ended the run by SIGTERM."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
  """Lets Ctrl-C and SIGTERM end the program at once, until `steppable`.

  While modules are imported and functions compiled, an exception raised by
  a signal may come up in a callback, where Python prints and forgets it.
  """
  usual = {
      # A shell's job in the background is not to be interrupted.
      x: y for x, y in ((signal.SIGINT, signal.default_int_handler),
                        (signal.SIGTERM, signal.SIG_DFL))
      if signal.getsignal(x) == y
      and threading.current_thread() is threading.main_thread()}
  for number in usual:
    signal.signal(number, leave)
  try:
    with within(GRACE) if signal.SIGTERM in usual else (
        contextlib.nullcontext()):
      yield
  finally:
    for number, handler in usual.items():
      signal.signal(number, handler)


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
  """Ends the program some seconds after SIGTERM, whatever it does.

  Python's handlers wait until the main thread is back from C, which compiles
  for minutes. Where a thread waits for the signal itself, nothing does.
  """
  ours, theirs = socket.socketpair()
  theirs.setblocking(False)
  over = threading.Event()
  def watch():
    with ours:
      while (number := ours.recv(1)):
        if number[0] == signal.SIGTERM and not over.wait(seconds):
          leave(signal.SIGTERM)
  before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
  threading.Thread(target=watch, daemon=True).start()
  try:
    yield
  finally:
    over.set()
    signal.set_wakeup_fd(before)
    theirs.close()


def leave(number: int, *_: object) -> None:
  """Ends this process on a signal, come what may."""
  report(interrupted(number))
  os._exit(128 + number)


def interrupted(number: int) -> str:
  """Says how a run goes on that a signal ended."""
  where = f'--logdir {shlex.quote(place)}' if place else 'the same --logdir'
  what = 'Terminated' if number == signal.SIGTERM else 'Interrupted'
  return (
      f'{what}. Started again with {where}, the run goes on from its '
      'last checkpoint.')


def interrupt(number: int, *_: object) -> None:
  """Ends the run in order; where the signal comes once more, at once."""
  signal.signal(number, leave)
  raise Terminated if number == signal.SIGTERM else KeyboardInterrupt


def steppable() -> None:
  """Says that the start is over: a signal now ends a run in order."""
  if threading.current_thread() is threading.main_thread():
    for number in (signal.SIGINT, signal.SIGTERM):
      if signal.getsignal(number) is leave:
        signal.signal(number, interrupt)


def report(message: object) -> None:
  print(f'lore: {message}', file=sys.stderr, flush=True)


def run(argv: Sequence[str]) -> None:
  """Runs one session.

  Raises:
    LoreError: In one of its classes, before the first environment step.
  """
  global before, place
  started = time.time()
  # What the flags alone tell comes before anything large is imported.
  found = upstream.find()
  print(f'Using {found}', flush=True)
  blocks = configlib.load(
      found.configs, source.taken(found, worlds.SUITES))
  argv, own = source.split(found, argv, blocks['defaults'])
  config = configlib.resolve(argv, blocks)
  say_blocks(argv, blocks, found)
  say_unused(argv, config)
  values.check(config, found)
  if config.script not in JOINING:
    for note in early.check(config, found):
      report(f'Warning: {note}')
  with contextlib.ExitStack() as stack:
    logdir = logdirlib.fill(config.logdir) if config.script in JOINING else (
        stack.enter_context(logdirlib.claim(
            config.logdir, replica(config))))
    config = config.update(logdir=logdir)
    place = str(logdir)
    prepared = stack.enter_context(checkpoint.ready(config, found))
    check_replaced(logdir)
    if say_finished(config):
      return
    if config.script in ('train', 'parallel'):
      # Of fewer steps, if it is there.
      (pathlib.Path(str(logdir)) / logdirlib.SUMMARY).unlink(missing_ok=True)
    before = stack.enter_context(checkpoint.keep(logdir))
    if config.lore.enabled:
      upstream.check(found)
    if config.script.startswith('parallel'):
      # Its environments start in other processes at the same time as the
      # agent, where an error would be reported once for each.
      make_env(config, 0).close()
      steppable()
    if config.lore.deterministic:
      stack.enter_context(upstream.in_order())
    try:
      kept = upstream.run(prepared, own, **parts(config))
    except KeyboardInterrupt:
      if config.script == 'parallel':
        # It has no other end.
        upstream.end_children()
        from . import finish
        finish.stop(config, built, started)
      raise
    if kept:
      from . import finish
      finish.finish(config, kept, make_env, started)


def check_replaced(logdir: 'str | elements.Path') -> None:
  """Raises a ConfigError if a run of a suite would go on as another."""
  record = logdirlib.read_record(str(logdir)) or {}
  began = record.get('replaced', replaced)
  if began == replaced:
    return
  tell = lambda x: ', '.join(f'{k}: {v}' for k, v in x.items()) or 'nothing'
  raise errors.ConfigError(
      f'The run in {str(logdir)!r} began with {tell(began)} in the place of '
      f'parts of LoRe, and would go on with {tell(replaced)}. Type the '
      'command that began it: python -m lore_plugin ablate '
      f'{record.get("suite", "SUITE")} ...')


def say_finished(config: 'elements.Config') -> bool:
  """Whether a run has ended already; shows how."""
  # A new run has no summary, and needs nothing else to be looked at.
  summary = logdirlib.read_summary(config.logdir)
  if (not summary or config.script != 'train'
      or (checkpoint.reached(config.logdir) or 0) < config.run.steps):
    return False
  from . import status
  if not status.watched(config):
    return False
  print(
      f'This run has taken its {config.run.steps:,.0f} steps already. It goes '
      'on with more: --run.steps NUMBER')
  status.show(summary, config.logdir)
  return True


def parts(config: 'elements.Config') -> dict[str, Callable[..., Any]]:
  """Returns the functions that take the place of upstream's, by name."""
  out: dict[str, Callable[..., Any]] = dict(
      make_agent=make_agent, make_env=make_env, make_logger=make_logger)
  # A run that is not ours to comment is upstream's to the bit.
  if config.lore.enabled or worlds.has_heldout(config.task):
    out['make_replay'] = make_replay
  return out


def say_blocks(
    argv: Sequence[str], blocks: dict[str, dict], found: Upstream) -> None:
  """Says which blocks are not ours, as the user has some of their names."""
  ours = configlib.read(configlib.folder('configs') / 'lore.yaml')
  for name in sorted(ours.keys() & argv):
    if blocks[name] != ours[name]:
      print(f'The block {name} is that of {found.configs}, not LoRe\'s.')


def say_unused(argv: Sequence[str], config: 'elements.Config') -> None:
  if (words := unused(argv, config.lore.enabled)):
    report(words)
  if config.lore.enabled and (words := unread.say(argv, config.lore)):
    report(words)


def unused(argv: Sequence[str], enabled: bool) -> str:
  """Says which flags of the advice do nothing, or returns ''."""
  names = [str(x).partition('=')[0] for x in argv]
  found = [
      x for x in dict.fromkeys(names)
      # Layouts are played at the end of runs without advice, too.
      if x.startswith('--lore.') and not x.startswith('--lore.heldout')]
  if enabled or not found:
    return ''
  return (
      f'Warning: this run is not advised, so {", ".join(found)} '
      f'do{"es" if len(found) == 1 else ""} nothing. Add lore to --configs, '
      'for example: --configs minigrid lore')


def replica(config: 'elements.Config') -> int:
  """Returns the number of this process among those that share a run."""
  return int(os.environ.get('JOB_COMPLETION_INDEX', config.replica))


def guarded(fn: Callable[P, R]) -> Callable[P, R]:
  """Ends the whole program cleanly on our errors, wherever fn runs.

  In the main thread of the main process they reach `main`. In upstream's
  threads and processes nobody would catch them.
  """
  @functools.wraps(fn)
  def wrapper(*args, **kwargs):
    try:
      return fn(*args, **kwargs)
    except errors.LoreError as e:
      if (threading.current_thread() is threading.main_thread()
          and multiprocessing.parent_process() is None):
        raise
      report(e)
      if multiprocessing.parent_process() is None and before:
        upstream.end_children()
        before.restore()
      upstream.stop(2)
  return wrapper


@guarded
def make_env(config: 'elements.Config', index: int, **overrides: Any) -> Any:
  """Builds environment number `index`, in upstream's own wrappers."""
  if worlds.is_ours(config.task):
    # What a user's make_env takes besides is for the user's environments.
    own = upstream.own_arguments()
    overrides = {k: v for k, v in overrides.items() if k not in own}
  env = worlds.make(config, index, upstream.unwrapped_env, **overrides)
  return upstream.wrap_env(env, config)


@guarded
def make_agent(config: 'elements.Config') -> Any:
  """Builds upstream's agent, advised if `lore.enabled`."""
  global built
  from . import status
  up = upstream.original()
  if config.lore.enabled and place and str(config.logdir) != place:
    # The lock, what ends a run and what tells of it are there already.
    raise errors.UpstreamError(
        f'main.py changed logdir from {place!r} to {str(config.logdir)!r}, '
        'which LoRe would learn of too late. Type --logdir '
        f'{str(config.logdir)!r} and leave main.py as it was.')
  if config.jax.platform == 'cpu':
    memory.keep()
  with (
      upstream.swapped(up.module, make_env=make_env),
      upstream.more_xla_flags(), status.building(config)):
    if config.lore.enabled and not config.random_agent:
      from .agent import advised
      agent: Any = advised.make_agent(config, up.make_agent)
      # Upstream's learner gives it a checkpoint later, maybe in a thread.
      agent.load = guarded(agent.load)
    else:
      agent = up.make_agent(config)
      if not config.random_agent:
        agent.load = guarded(resume.plain_load(agent))
  built = agent
  return agent


@guarded
def make_replay(
    config: 'elements.Config', folder: str, mode: str = 'train') -> Any:
  """Builds upstream's replay, which tells of successes as steps come in."""
  replay = upstream.original().make_replay(config, folder, mode)
  from . import status
  from .play import rollout
  add, see = replay.add, rollout.Successes(status.succeeded)
  alone = None
  if mode == 'train' and config.lore.heldout_every and config.lore.heldout:
    from .play import alone as alonelib
    alone = alonelib.Regularly(config, lambda: built, make_env)
  def seeing_add(step, worker=0):
    add(step, worker)
    see(step, worker)
    if alone:
      alone(status.taken())
    if mode == 'eval' and step['is_last']:
      status.evaluated()
    status.tick()
  replay.add = seeing_add
  return replay


@guarded
def make_logger(config: 'elements.Config') -> 'elements.Logger':
  """Builds upstream's logger, with our status attached."""
  from . import status
  # The last to be made of what the loop needs.
  steppable()
  logger = status.attach(upstream.original().make_logger(config), config)
  if status.watched(config):
    note_resumed(config, logger)
  return logger


def note_resumed(
    config: 'elements.Config', logger: 'elements.Logger') -> None:
  """Lets the files of a run say where it goes on.

  The advised agent does so in its own, as its process in script `parallel` has
  a checkpoint and a count of steps of its own.
  """
  if logdirlib.is_remote(config.logdir) or config.replica or (
      not config.script.startswith(('train', 'parallel'))):
    return  # Object stores can't append; replicas have one log.
  folder = pathlib.Path(str(config.logdir))
  # The log counts frames where the environment repeats actions.
  lines.watch(logger.step, (
      (folder / logdirlib.METRICS, logger.multiplier),
      (folder / logdirlib.SCORES, logger.multiplier),
      (folder / logdirlib.ALONE, 1)))
