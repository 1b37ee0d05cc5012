"""The files that a run begins from and leaves behind.

Upstream saves through `elements.Checkpoint`: a folder of checkpoints, in it
one folder for each, named by the time, with a pickle for each thing that is
saved, an empty file `done` when it is whole, and beside them the file
`latest`, which names the newest.
"""

import contextlib
import os
import pathlib
import pickle
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from .. import errors
from .. import logdir as logdirlib
from . import plain
from . import resume
from .find import CHECKPOINTS
from .find import Upstream
from .find import find

# Of these one is there as soon as a run can have taken steps.
TRAINED = (
    logdirlib.METRICS, logdirlib.SCORES, logdirlib.EPISODES,
    'checkpoint.pkl', 'ckpt/latest', 'agent.pkl', 'ckpt/agent')
AGAIN = 'Give another --logdir, or put the file back from a copy.'


def folders(
    logdir: str | os.PathLike, version: str | None = None,
    script: str = 'train') -> list[pathlib.Path]:
  """Returns where a script keeps its checkpoints, that of the agent first."""
  version = version or find().version
  kind = 'parallel' if script.startswith('parallel') else 'train'
  # A copy that we don't know keeps them as the newest one does.
  places = CHECKPOINTS.get(version, CHECKPOINTS['main'])
  return [pathlib.Path(logdir) / x for x in places[kind]]


def folder(
    logdir: str | os.PathLike, version: str | None = None,
    script: str = 'train') -> pathlib.Path:
  """Returns where a script keeps the agent's checkpoints."""
  return folders(logdir, version, script)[0]


def newest(folder: str | os.PathLike) -> pathlib.Path | None:
  """Returns the newest whole checkpoint in a folder of them, or None.

  That is what `latest` names; where it names none, as after a kill, the last
  one by name.
  """
  folder = pathlib.Path(folder)
  named = _named(folder)
  if named and (folder / named / 'done').is_file():
    return folder / named
  whole = sorted(x.parent for x in folder.glob('*/done'))
  return whole[-1] if whole else None


def _named(folder):
  try:
    return (folder / 'latest').read_text(encoding='utf-8').strip()
  except (OSError, UnicodeDecodeError):
    return ''


def resolve(path: str | os.PathLike) -> pathlib.Path:
  """Returns the folder of one saved checkpoint.

  Args:
    path: That folder, a folder of checkpoints, or a logdir.

  Raises:
    ConfigError: If there is no finished checkpoint.
  """
  given = logdirlib.expand(path)
  if (given / 'done').is_file():
    return given
  places = [x['train'][0] for x in CHECKPOINTS.values()]
  for place in (given, *(given / x for x in places)):
    found = newest(place)
    if found:
      return found
  raise errors.ConfigError(
      f'run.from_checkpoint {str(path)!r} is not a finished checkpoint: '
      f'there is no file {str(given / "done")!r}. Give '
      f'{" or ".join(f"<logdir>/{x}" for x in places)}.')


def read(folder: str | os.PathLike) -> dict[str, Any]:
  """Reads the agent of one checkpoint.

  Returns:
    What the agent saved: `params`, `counters`, and `advisor` and `trust` of an
    advised one.

  Raises:
    ConfigError: It can't be read.
  """
  path = pathlib.Path(folder) / 'agent.pkl'
  try:
    data = plain.load(path)
    data['params'], data['counters']
  except Exception as e:
    raise errors.ConfigError(
        f'Can\'t read the checkpoint {str(path)!r}: {type(e).__name__}: {e}. '
        'Remove its folder and start the run again with the same --logdir.'
    ) from e
  return data


def step(folder: str | os.PathLike) -> int | None:
  """Returns the environment steps of one checkpoint, None if unknown."""
  try:
    return int(plain.load(pathlib.Path(folder) / 'step.pkl'))
  except Exception:
    return None


def reached(
    logdir: str | os.PathLike, script: str = 'train') -> int | None:
  """Returns the steps of a run's newest checkpoint, None if unknown."""
  last = newest(folder(logdir, script=script))
  return None if last is None else step(last)


def save(logdir: str | os.PathLike, logger: Any, **saved: Any) -> None:
  """Writes a last checkpoint, which upstream's loop leaves to its clock."""
  import elements
  checkpoint = elements.Checkpoint(elements.Path(str(folder(logdir))))
  checkpoint.step = logger.step
  for name, value in saved.items():
    setattr(checkpoint, name, value)
  checkpoint.save()


@contextlib.contextmanager
def ready(config: Any, found: Upstream) -> Iterator[Any]:
  """Prepares what a run begins from, and what it leaves if it can't.

  Yields:
    The configuration that upstream is to read.

  Raises:
    ConfigError: The run can't go on from what is there.
  """
  with tempfile.TemporaryDirectory(prefix='lore-') as temp:
    prepared = start(config, found, pathlib.Path(temp))
    check(config, found)
    mend(config, found)
    yield prepared


def check(config: Any, found: Upstream) -> None:
  """Refuses to go on with a run as it is now configured.

  Raises:
    ConfigError: What was saved can't be read so.
  """
  if logdirlib.is_remote(config.logdir):
    return
  if config.script == 'eval_only' and any(
      newest(folder(config.logdir, found.version, x))
      for x in ('train', 'parallel')):
    raise errors.ConfigError(
        f'A run was trained in {config.logdir!r}. The script eval_only would '
        'write its own configuration and episodes there, so that training '
        'could not go on. Give another --logdir; --run.from_checkpoint '
        f'{config.logdir!r} says what to evaluate.')
  own = folder(config.logdir, found.version, config.script)
  resume.check(config, own, newest(own))


def start(config: Any, found: Upstream, temp: pathlib.Path) -> Any:
  """Gives upstream the checkpoint to start from in the form that it reads."""
  path = config.run.from_checkpoint
  if not path or logdirlib.is_remote(path):
    return config
  given = resolve(path)
  check_whole(given)
  resume.check_start(config, given)
  if found.version == '3.3.1' and config.script != 'eval_only':
    given = legacy(given, temp / 'agent.pkl')
  return config.update({'run.from_checkpoint': str(given)})


def legacy(folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
  """Writes a checkpoint's agent as the single file that 3.3.1 starts from.

  Its training scripts save in the folder layout of today's elements, but
  still read that of an older one: one pickled dictionary with the agent under
  the name `model`.
  """
  agent = pickle.loads((folder / 'agent.pkl').read_bytes())
  target.write_bytes(pickle.dumps({'model': agent}))
  return target


def mend(config: Any, found: Upstream) -> None:
  """Lets a run go on that was killed while it saved.

  A process that dies while it writes `latest` leaves it empty, and upstream
  then refuses to start. The checkpoint before is still there, as it is removed
  afterwards.

  Raises:
    ConfigError: The newest checkpoint is whole by its name, but not to read.
  """
  if logdirlib.is_remote(config.logdir) or not config.script.startswith(
      ('train', 'parallel')):
    return
  for place in folders(config.logdir, found.version, config.script):
    name = point(place)
    if name:
      import elements
      elements.print(
          f'The last save was interrupted. Going on from {name}.',
          color='yellow')
    last = newest(place)
    if last:
      check_whole(last)


def point(folder: pathlib.Path) -> str:
  """Lets `latest` name a whole checkpoint.

  Returns:
    The name that was written, or '' if nothing was wrong or nothing is left.
  """
  latest = folder / 'latest'
  last = newest(folder)
  if last is None:
    latest.unlink(missing_ok=True)
    return ''
  if last.name == _named(folder):
    return ''
  temp = folder.parent / f'{folder.name}-latest'
  temp.write_text(last.name, encoding='utf-8')
  temp.replace(latest)
  return last.name


def check_whole(folder: pathlib.Path) -> None:
  """Reads a checkpoint's files to their ends, without believing them.

  Raises:
    ConfigError: One of them was cut short or is no pickle.
  """
  for path in sorted(folder.glob('*.pkl')):
    try:
      with path.open('rb') as f:
        Blank(f).load()
    except MemoryError:
      raise
    except Exception as e:
      raise errors.ConfigError(
          f'The checkpoint {str(path)!r} is damaged: after '
          f'{path.stat().st_size:,} bytes, {type(e).__name__}: {e}. {AGAIN}'
      ) from e


class Nothing:
  """Stands for any object of a pickle."""

  def __new__(cls, *args, **kwargs):
    return super().__new__(cls)

  def __init__(self, *args, **kwargs):
    pass

  def __call__(self, *args, **kwargs):
    return self

  def __setstate__(self, state):
    pass

  def __setitem__(self, key, value):
    pass

  def append(self, value: Any) -> None:
    pass

  def extend(self, values: Any) -> None:
    pass

  add = append


class Blank(pickle.Unpickler):
  """Goes through a pickle and runs nothing of what it names."""

  def find_class(self, module: str, name: str) -> Any:
    return Nothing

  def persistent_load(self, pid: Any) -> Any:
    return Nothing()


class Before:
  """What a folder held before a run wrote into it.

  Upstream writes the configuration before it makes an environment or reads a
  checkpoint. Of a run that refuses to begin nothing may stay: what examines
  the folder afterwards would take that for what was trained.

  Args:
    logdir: The run's folder.
  """

  def __init__(self, logdir: str | os.PathLike):
    self.folder = pathlib.Path(logdir)
    self.names = self._names()
    path = self.folder / logdirlib.CONFIG
    self.config = path.read_bytes() if path.is_file() else None

  def _names(self):
    return {x.name for x in self.folder.iterdir()} if (
        self.folder.is_dir()) else set()

  def restore(self) -> None:
    """Removes what has come since, where there is nothing that was trained.
    """
    new = {x for x in self._names() - self.names if not x.endswith('.lock')}
    if any((self.folder / x).exists() for x in TRAINED):
      new = set()
    for path in (self.folder / x for x in new):
      with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
          shutil.rmtree(path)
        else:
          path.unlink()
    if self.config is not None:
      (self.folder / logdirlib.CONFIG).write_bytes(self.config)


@contextlib.contextmanager
def keep(logdir: str | os.PathLike) -> Iterator[Before]:
  """Undoes what a run wrote that refuses to begin, or to go on so.

  Yields:
    The `Before`, for who ends the program without an exception.
  """
  before = Before(logdir)
  try:
    yield before
  except errors.LoreError:
    before.restore()
    raise
