"""Fits upstream to today's jax and elements, in memory.

`install` comes first in this process and, by portal's initialisers, in those
that upstream starts.
"""

import contextlib
import copy
import datetime
import functools
import inspect
import multiprocessing
import multiprocessing.connection
import os
import re
import threading
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

WATCH = 'lore-parent'


@contextlib.contextmanager
def swapped(target: Any, **values: Any) -> Iterator[None]:
  """Sets attributes of a module or class for the duration of a block."""
  before = {k: inspect.getattr_static(target, k) for k in values}
  try:
    for key, value in values.items():
      setattr(target, key, value)
    yield
  finally:
    for key, value in before.items():
      setattr(target, key, value)


@contextlib.contextmanager
def in_order() -> Iterator[None]:
  """Takes upstream's threads and clocks out of training.

  No two runs share their timing. A thread samples batches ahead, before or
  after a step is added and latent states are renewed; others save chunks of
  the replay while they are. And a report, whose time has come by the clock,
  draws from the numbers that training is drawn from.
  """
  import embodied
  jax_agent = embodied.jax.Agent
  report = jax_agent.report

  @functools.wraps(report)
  def apart(self, carry, data):
    # Batches are counted as they are made, and their seeds are the count.
    with self.n_batches.lock:
      self.n_batches.value -= 1
    return report(self, carry, data)

  with (swapped(embodied.streams, Prefetch=embodied.streams.Map),
        swapped(embodied.replay, Replay=_replay_in_order()),
        swapped(jax_agent, report=apart)):
    yield


def _replay_in_order():
  import embodied

  class Replay(embodied.replay.Replay):
    """Saves at once; draws for reports, uniformly, change nothing."""

    def __init__(self, *args, **kwargs):
      super().__init__(*args, **{**kwargs, 'save_wait': True})

    def sample(self, batch, mode='train'):
      if mode == 'train':
        return super().sample(batch, mode)
      sampler = self.sampler
      self.sampler = embodied.replay.selectors.Uniform(self.itemid)
      for item in self.items:
        self.sampler[item] = ()
      try:
        return super().sample(batch, mode)
      finally:
        self.sampler = sampler

  return Replay


@contextlib.contextmanager
def more_xla_flags() -> Iterator[None]:
  """Adds the flags in LORE_XLA_FLAGS to those that upstream sets.

  Upstream overwrites XLA_FLAGS, so that nothing can be said there. Without the
  variable nothing changes.
  """
  import embodied.jax.internal as internal
  before = internal.setup

  def setup(*args, **kwargs):
    before(*args, **kwargs)
    more = os.environ.get('LORE_XLA_FLAGS', '')
    if more:
      os.environ['XLA_FLAGS'] = f"{os.environ.get('XLA_FLAGS', '')} {more}"

  with swapped(internal, setup=setup):
    yield


def install() -> None:
  """Adapts upstream to the installed jax and elements; may be called twice.

  Runs first in every process that upstream starts.
  """
  end_with_parent()
  _install_jit()
  _install_agg()
  _install_driver()
  _install_names()


def end_with_parent() -> None:
  """Lets a process that upstream started end when its parent is gone.

  A parent that is killed can't end its children. They would write on into a
  folder whose lock is free.
  """
  parent = multiprocessing.parent_process()
  if parent is None or any(x.name == WATCH for x in threading.enumerate()):
    return

  def watch():
    multiprocessing.connection.wait([parent.sentinel])
    # Nothing here is worth more than the parent was: no handler, no exit code.
    os._exit(1)

  threading.Thread(target=watch, name=WATCH, daemon=True).start()


def _install_jit():
  """Since jax 0.7, jax.jit takes by name what upstream gives by position."""
  import jax
  original_jit = jax.jit
  names = ('in_shardings', 'out_shardings', 'static_argnums',
           'static_argnames', 'donate_argnums')
  params = inspect.signature(original_jit).parameters
  if params['in_shardings'].kind is not inspect.Parameter.KEYWORD_ONLY:
    return
  if getattr(original_jit, 'takes_positions', False):
    return

  @functools.wraps(original_jit)
  def jit(*args, **kwargs):
    fun, positions = args[:1], args[1:]
    return original_jit(*fun, **dict(zip(names, positions)), **kwargs)

  jit.takes_positions = True
  jax.jit = jit


def _install_agg():
  """3.3.1 asks for several aggregations at once; elements dropped that."""
  import elements
  import numpy as np
  original_add = elements.Agg.add
  if getattr(original_add, 'takes_tuples', False):
    return
  with contextlib.suppress(Exception):
    probe = elements.Agg()
    probe.add('x', 1.0, agg=('avg', 'max'))
    if {'x/avg', 'x/max'} == set(probe.result()):
      return

  quick = {'avg', 'mean', 'sum', 'min', 'max'} if hasattr(
      elements.Agg, '_initial') else set()

  @functools.wraps(original_add)
  def add(self, key_or_dict, value=None, agg=None, prefix=None):
    if not isinstance(agg, tuple):
      return original_add(self, key_or_dict, value, agg, prefix)
    items = key_or_dict if value is None else {key_or_dict: value}
    for key, value in items.items():
      # Every step of every environment comes by with some fifteen numbers, for
      # which the way of arrays takes several times as long.
      scalar = (
          quick.issuperset(agg) and np.ndim(value) == 0
          and not isinstance(value, str))
      value = float(value) if scalar else value
      for name in agg:
        full = f'{prefix}/{key}/{name}' if prefix else f'{key}/{name}'
        if not scalar:
          # Sums are made in place, each in an array of its own.
          original_add(self, full, copy.copy(value), name)
        elif full in self.reducers:
          self.reducers[full].update(value)
        else:
          self.reducers[full] = self._initial(full, value, name)

  add.takes_tuples = True
  elements.Agg.add = add


def _install_driver():
  """3.3.1 expects portal to pass a context to its environment processes."""
  import embodied
  serve = embodied.Driver._env_server
  if 'context' not in inspect.signature(serve).parameters:
    return
  embodied.Driver._env_server = staticmethod(env_server)
  env_server.original = serve


def env_server(envid: int, pipe: Any, ctor: Any) -> None:
  """Serves one environment to a 3.3.1 driver, in a process of its own."""
  install()
  # The process ends with its pipe or by the driver's kill, as on main.
  env_server.original(  # type: ignore[attr-defined]  # _install_driver's
      types.SimpleNamespace(running=True), envid, pipe, ctor)


class Names:
  """Names by the time, each after the one before, whatever the clock does.

  Upstream takes the last by name for the newest, of checkpoints and of what
  was replayed. A clock that stands earlier than at the last save, or an hour
  that comes twice, would make it throw away what it has just written.
  """

  FORMAT = '%Y%m%dT%H%M%SF%f'
  STAMP = re.compile(r'\d{8}T\d{6}F\d{6}')

  def __init__(self, now: Callable[..., str]):
    self.now = now
    self.last = ''
    self.lock = threading.Lock()

  def next(self) -> str:
    with self.lock:
      name = self.now(millis=True)
      self.last = name if name > self.last else self._after(self.last)
      return self.last

  def rise(self, names: Iterable[str]) -> None:
    """Lets all further names come after these; others are not of the kind."""
    stamps = [m.group() for m in map(self.STAMP.match, names) if m]
    with self.lock:
      self.last = max([self.last, *stamps])

  def _after(self, stamp):
    try:
      time = datetime.datetime.strptime(stamp, self.FORMAT)
      time += datetime.timedelta(microseconds=1)
    except (ValueError, OverflowError):
      return stamp  # Nothing comes after the last that there can be.
    return f'{time.year:04d}{time.strftime("%m%dT%H%M%SF%f")}'


def _install_names():
  """What is written later has a later name, in every process that saves."""
  import elements
  import elements.utils
  import embodied
  original = elements.utils.timestamp
  if hasattr(original, 'names'):
    return
  names = Names(original)

  @functools.wraps(original)
  def timestamp(time=None, millis=False):
    return names.next() if time is None and millis else original(time, millis)

  timestamp.names = names
  elements.timestamp = elements.utils.timestamp = timestamp
  original_save = elements.Checkpoint.save
  original_init = embodied.replay.Replay.__init__

  @functools.wraps(original_save)
  def save(self, *args, **kwargs):
    if self._directory:
      names.rise([x.name for x in self._directory.glob('*')])
    return original_save(self, *args, **kwargs)

  @functools.wraps(original_init)
  def init(self, *args, **kwargs):
    original_init(self, *args, **kwargs)
    if self.directory:
      names.rise([x.name for x in self.directory.glob('*.npz')])

  elements.Checkpoint.save = save
  elements.Checkpoint._cleanup = remove_old
  embodied.replay.Replay.__init__ = init


def remove_old(self: Any) -> None:
  """Removes all but the newest checkpoints; the last written always stays.

  Only folders that are named as checkpoints are: upstream would sort a user's
  own among them, and the parallel script's lie beside those of the others.
  """
  if not self._keep:
    return
  latest = self.latest()
  found = sorted(
      x.name for x in self._directory.glob('*')
      if Names.STAMP.match(x.name) and not (latest and x.name == latest.name))
  for name in found[:max(0, len(found) - (self._keep - 1))]:
    (self._directory / name).remove(recursive=True)
