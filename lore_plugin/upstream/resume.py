"""Whether a run may go on from what was saved, and with what of it."""

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .. import errors
from .. import logdir as logdirlib
from .. import retired

# Parameters and state of LoRe, which come and go with its options.
OWN = 'lore_'
KEEP_ADVISED = (
    'Add lore to --configs and type --lore.gate.beta_max 0 to go on without '
    'advice, or give another --logdir;')

# Last parts of keys under `agent` that decide how parameters are shaped.
SHAPES = frozenset({
    'typ', 'deter', 'hidden', 'stoch', 'classes', 'blocks', 'imglayers',
    'obslayers', 'dynlayers', 'norm', 'depth', 'mults', 'layers', 'units',
    'outer', 'kernel', 'strided', 'bspace', 'bins', 'output', 'impl'})
# Last parts of keys under `env` that decide what is observed and done.
SPACES = frozenset({
    'size', 'obs', 'view', 'encoding', 'gray', 'proprio', 'image', 'actions'})


def fit(
    params: Mapping[str, Any], have: Mapping[str, Any],
    regex: str | None = None) -> tuple[dict[str, Any], list[str]]:
  """Chooses what an agent takes from a checkpoint.

  LoRe's own state follows its options: what weighs 0 has no moments. Of it,
  what the agent has no use for is left out, and what the checkpoint lacks is
  missing in the result; all else has to be there in the shape that it had.

  Args:
    params: Parameters of the checkpoint by name.
    have: Those of the agent by name; of these only shapes count.
    regex: Takes only names that begin so, and asks for no others.

  Returns:
    The parameters to take, by name, and the names that were left out.

  Raises:
    ConfigError: The checkpoint is that of another agent.
  """
  wanted = {
      k: v for k, v in params.items()
      if regex is None or re.match(regex, k)}
  if not wanted:
    raise errors.ConfigError(
        f'run.from_checkpoint_regex {regex!r} fits none of the {len(params)} '
        f'parameters of the checkpoint, such as {min(params, default="-")!r}. '
        "'.*' takes all.")
  extra = sorted(
      k for k, v in wanted.items() if k.startswith(OWN) and (
          k not in have or tuple(v.shape) != tuple(have[k].shape)))
  taken = {k: v for k, v in wanted.items() if k not in extra}
  wrong = differences(taken, {
      k: v for k, v in have.items()
      if k in taken or (regex is None and not k.startswith(OWN))})
  if wrong:
    raise errors.ConfigError(
        f'The checkpoint does not fit the agent: {wrong}. Type the --configs '
        'and --agent flags that it was trained with, or another --logdir.')
  return taken, extra


def differences(params: Mapping[str, Any], have: Mapping[str, Any]) -> str:
  """Says how parameters differ from those of an agent, or returns ''."""
  shapes = lambda x: {k: tuple(v.shape) for k, v in x.items()}
  old, new = shapes(params), shapes(have)
  wrong = sorted(
      (k for k in old.keys() | new.keys() if old.get(k) != new.get(k)),
      key=lambda k: (k.startswith(OWN), k))
  if not wrong:
    return ''
  tell = lambda x: 'missing' if x is None else f'of shape {x}'
  return (
      f'{len(wrong)} of {len(new)} parameters differ; {wrong[0]} is '
      f'{tell(old.get(wrong[0]))} in the checkpoint and '
      f'{tell(new.get(wrong[0]))} in the agent')


def modules(names: Iterable[str]) -> str:
  """Returns the parts of the agent that parameters belong to, in words."""
  return ', '.join(sorted({x.split('/')[0] for x in names}))


def say_left_out(names: Sequence[str]) -> None:
  import elements
  if names:
    elements.print(
        'Left out of the checkpoint, as this run has no use for it: '
        f'{modules(names)}.', color='yellow')


def plain_load(agent: Any) -> Callable[..., Any]:
  """Lets an agent without advice begin from the checkpoint of one with it.

  Args:
    agent: Upstream's, as its make_agent returned it.

  Returns:
    A function to take the place of `agent.load`.
  """
  load = agent.load
  def wrapper(data, *args, **kwargs):
    if not (isinstance(data, dict) and 'params' in data):
      return load(data, *args, **kwargs)
    regex = kwargs.get('regex', args[0] if args else None)
    params, extra = fit(data['params'], agent.params, regex)
    say_left_out(extra)
    return load({**data, 'params': params}, *args, **kwargs)
  return wrapper


def check(
    config: Any, folder: pathlib.Path, last: pathlib.Path | None) -> None:
  """Refuses to go on with a run that can't be read as it is now configured.

  Upstream would find out in the middle of training, or never.

  Args:
    config: The whole configuration.
    folder: Where the run keeps the agent's checkpoints.
    last: Its newest whole one, or None.

  Raises:
    ConfigError: With the key, both values and what to type.
  """
  before = recorded(config.logdir)
  if last is None or before is None or not config.script.startswith(
      ('train', 'parallel')):
    return
  start = (
      f'--run.from_checkpoint {str(folder)!r} starts there from what was '
      'learned here.')
  task = before.get('task', config.task)
  if task != config.task:
    raise errors.ConfigError(
        f'The run in {config.logdir!r} was trained on the task {task!r}, not '
        f'{config.task!r}. Type --task {task}, or give another --logdir; '
        + start)
  if config.random_agent:
    return
  advised = bool(before.get('lore.enabled', False))
  if advised != bool(config.lore.enabled):
    raise errors.ConfigError(
        f'The run in {config.logdir!r} was trained '
        f'{"with" if advised else "without"} lore, so that its replay can\'t '
        'be read as it is now configured. '
        + (KEEP_ADVISED if advised else 'Give another --logdir;')
        + f' {start}')
  if note := retired.check_resumed(
      before, config.logdir, config.flat):
    import elements
    elements.print(note, color='yellow')
  changed = [
      k for k in _decisive(config) if before.get(k, config.flat[k])
      != config.flat[k]]
  # Only whether replay holds what belongs to it counts.
  key = 'replay_context'
  if key in config.flat and key in before and (
      bool(before[key]) != bool(config.flat[key])):
    changed.append(key)
  if changed:
    raise errors.ConfigError(
        f'The run in {config.logdir!r} was trained with other values, so that '
        f'what it saved can\'t be read: {_tell(changed, before, config)}, or '
        f'give another --logdir.')


def check_start(config: Any, folder: pathlib.Path) -> None:
  """Refuses a checkpoint of an agent that is built otherwise.

  Args:
    config: The whole configuration.
    folder: Of the checkpoint that `run.from_checkpoint` named.

  Raises:
    ConfigError: With the keys, both values and what to type.
  """
  partial = config.script != 'eval_only' and (
      config.run.from_checkpoint_regex != '.*')
  # At the root of a file system, as in a container, there are fewer.
  before = next(filter(None, map(recorded, folder.parents[1:3])), None)
  if partial or config.random_agent or before is None:
    return
  changed = [
      k for k in _decisive(config) if k.startswith('agent.')
      and before.get(k, config.flat[k]) != config.flat[k]]
  if changed:
    raise errors.ConfigError(
        f'The agent of run.from_checkpoint {str(folder)!r} was built '
        f'otherwise: {_tell(changed, before, config)}.')


def _decisive(config):
  """Names the keys that decide the shapes of what is saved."""
  suite = config.task.partition('_')[0]
  for key in config.flat:
    last = key.rpartition('.')[2]
    if key.startswith('agent.') and last in SHAPES:
      yield key
    elif key.startswith(f'env.{suite}.') and last in SPACES:
      yield key


def _tell(keys, before, config):
  text = lambda x: (
      ' '.join(map(str, x)) if isinstance(x, (tuple, list)) else x)
  most = keys[:4]
  values = ', '.join(
      f'{k} {text(before[k])} (now {text(config.flat[k])})' for k in most)
  more = f' and {len(keys) - len(most)} more' if keys[4:] else ''
  flags = ' '.join(f'--{k} {text(before[k])}' for k in most)
  hint = ', or the --configs that it was trained with' if more else ''
  return f'{values}{more}. Type {flags}{hint}'


def recorded(logdir: str | os.PathLike) -> dict[str, Any] | None:
  """Returns the keys of a run's configuration; None where there is none."""
  import elements
  if logdirlib.is_remote(str(logdir)):
    return None
  try:
    return elements.Config.load(str(pathlib.Path(logdir) / 'config.yaml')).flat
  except Exception:
    # No file, or half a file: upstream writes it anew at every start.
    return None
