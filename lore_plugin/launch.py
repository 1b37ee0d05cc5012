"""Runs upstream's unmodified main() with our parts: the way in.

  argv -> config.resolve -> upstream.run -> make_env, make_agent, make_logger

Upstream sends the three functions to other processes by name, so they are
plain functions of this module.
"""

import contextlib
import functools
import multiprocessing
import pathlib
import re
import sys
import tempfile
import threading
import time

from . import config as configlib
from . import errors
from . import logdir as logdirlib
from .upstream import malloc as memory
from .upstream import checkpoint as restore
from . import upstream


def main(argv=None):
  """Runs one session.

  Returns:
    The exit code: 0; 2 after a LoreError; 130 after an interruption.
  """
  try:
    run(sys.argv[1:] if argv is None else argv)
  except errors.LoreError as e:
    report(e)
    return 2
  except RuntimeError as e:
    # portal says so of a process that `guarded` ended, and that gave the
    # reason already, or of one that was ended with it or by somebody.
    code = re.search(r'crashed with exit code (2|-15)$', str(e))
    if not code:
      raise
    if code.group(1) != '2':
      report(e)
    return 2
  except KeyboardInterrupt:
    report(
        'Interrupted. Started again with the same --logdir, the run goes on '
        'from its last checkpoint.')
    return 130
  return 0


def report(message):
  print(f'lore: {message}', file=sys.stderr, flush=True)


def run(argv):
  """Runs one session.

  Raises:
    LoreError: In one of its classes, before the first environment step.
  """
  started = time.time()
  found = upstream.check()
  import elements
  elements.print(f'Using {found}', color='green')
  config = configlib.resolve(argv, configlib.load(found.configs))
  config = fill_logdir(config)
  parts = dict(
      make_agent=make_agent, make_env=make_env, make_logger=make_logger)
  with tempfile.TemporaryDirectory(prefix='lore-') as temp:
    prepared = prepare_checkpoint(config, found, pathlib.Path(temp))
    if config.script.startswith('parallel'):
      # Its environments start in other processes at the same time as the
      # agent, where an error would be reported once for each.
      make_env(config, 0).close()
    mend(config, found)
    restore.check_replay(config, found)
    with restore.keep_config(config.logdir), (
        upstream.in_order() if config.lore.deterministic
        else contextlib.nullcontext()):
      kept = upstream.run(prepared, **parts)
  if kept:
    from . import finish
    finish.finish(config, kept, make_env, started)


def mend(config, found):
  """Points upstream to its last whole checkpoint after a kill."""
  if logdirlib.is_remote(config.logdir) or not config.script.startswith(
      'train'):
    return
  import elements
  name = upstream.mend_checkpoint(config.logdir, found.version)
  if name:
    elements.print(
        f'The last save was interrupted. Going on from {name}.',
        color='yellow')


def fill_logdir(config):
  """Writes the time into the log directory's name, as upstream would.

  What follows reads an absolute path, unless it is of another file system.
  """
  import elements
  try:
    logdir = config.logdir.format(timestamp=elements.timestamp())
  except (KeyError, IndexError, ValueError) as e:
    raise errors.ConfigError(
        f'logdir {config.logdir!r} has a placeholder other than '
        '{timestamp}.') from e
  if '{' in logdir or '}' in logdir:
    raise errors.ConfigError(
        f'logdir {logdir!r} must not contain braces.')
  if not logdirlib.is_remote(logdir):
    logdir = str(logdirlib.expand(logdir))
  return config.update(logdir=logdir)


def prepare_checkpoint(config, found, temp):
  """Gives upstream the checkpoint to start from in the form that it reads."""
  path = config.run.from_checkpoint
  if not path or '://' in path:
    return config
  folder = upstream.resolve_checkpoint(path)
  if found.version == '3.3.1' and config.script != 'eval_only':
    folder = upstream.write_legacy(folder, temp / 'agent.pkl')
  return config.update({'run.from_checkpoint': str(folder)})


def guarded(fn):
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
      import portal
      report(e)
      portal.context.shutdown(2)
  return wrapper


@guarded
def make_env(config, index, **overrides):
  """Builds environment number `index`, in upstream's own wrappers."""
  from . import worlds as envs
  up = upstream.original()
  env = envs.make(config, index, upstream.unwrapped_env, **overrides)
  return up.wrap_env(env, config)


@guarded
def make_agent(config):
  """Builds upstream's agent, advised if `lore.enabled`."""
  up = upstream.original()
  if config.jax.platform == 'cpu':
    memory.keep()
  with (
      upstream.swapped(up.module, make_env=make_env),
      upstream.more_xla_flags()):
    if config.lore.enabled and not config.random_agent:
      from .agent import advised
      agent = advised.make_agent(config, up.make_agent)
      # Upstream's learner gives it a checkpoint later, maybe in a thread.
      agent.load = guarded(agent.load)
      return agent
    return up.make_agent(config)


@guarded
def make_logger(config):
  """Builds upstream's logger, with our progress line attached."""
  from . import status as progress
  return progress.attach(upstream.original().make_logger(config), config)
