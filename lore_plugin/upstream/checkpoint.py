"""Checkpoints that were saved with other options, or by another agent."""

import contextlib
import pathlib
import re

from .. import errors
from .. import upstream

# Parameters and state of LoRe, which come and go with its options.
OWN = 'lore_'
KEEP_ADVISED = (
    'Add lore to --configs and type --lore.gate.beta_max 0 to go on without '
    'advice, or give another --logdir; --run.from_checkpoint_regex '
    "'^(?!lore_)' with")


def fit(params, have, regex=None):
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


def differences(params, have):
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


def modules(names):
  """Returns the parts of the agent that parameters belong to, in words."""
  return ', '.join(sorted({x.split('/')[0] for x in names}))


def check_replay(config, found):
  """Refuses to go on with a run whose replay is not what would be read now.

  Upstream would find out in the middle of training.

  Raises:
    ConfigError: `lore` or its hysteresis was turned on or off since the run in
      the logdir began.
  """
  if '://' in config.logdir or not config.script.startswith(
      ('train', 'parallel')):
    return
  logdir = pathlib.Path(config.logdir)
  folder = upstream.checkpoint(logdir, found.version, config.script)
  before = recorded(logdir)
  if before is None or config.random_agent or not any(folder.glob('*/done')):
    return
  advised = bool(before.get('lore.enabled', False))
  if advised != bool(config.lore.enabled):
    raise errors.ConfigError(
        f'The run in {str(logdir)!r} was trained '
        f'{"with" if advised else "without"} lore, so that its replay can\'t '
        'be read as it is now configured. '
        + (KEEP_ADVISED if advised else 'Give another --logdir;')
        + f' --run.from_checkpoint {str(folder)!r} starts there from what was '
        'learned here.')
  key = 'lore.gate.hysteresis'
  old, new = before.get(key, 0.0), config.flat[key]
  if advised and bool(old) != bool(new):
    raise errors.ConfigError(
        f'{key} is {new}, but the run in {str(logdir)!r} was trained with '
        f'{old}, so that its replay {"holds" if old else "lacks"} whether '
        f'gates were open. Type --{key} {old}, or give another --logdir.')


@contextlib.contextmanager
def keep_config(logdir):
  """Keeps the configuration of a run that refuses to go on with another.

  Upstream writes the new one before it reads the checkpoint, and what
  examines the run afterwards would take it for that of its training.
  """
  path = pathlib.Path(logdir) / 'config.yaml'
  before = path.read_bytes() if path.is_file() else None
  try:
    yield
  except errors.LoreError:
    if before is not None:
      path.write_bytes(before)
    raise


def recorded(logdir):
  """Returns the keys of a run's configuration; None where there is none."""
  import elements
  try:
    return elements.Config.load(str(logdir / 'config.yaml')).flat
  except Exception:
    # No file, or half a file: upstream writes it anew at every start.
    return None
