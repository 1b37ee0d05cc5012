"""The configuration: upstream's blocks and ours, flags, and their checks.

`resolve` does what upstream's main() does with its arguments, with LoRe's
blocks merged in and with errors that name the closest key. Its result is all
that upstream's main() gets to see.
"""

import difflib
import importlib.util
import os
import pathlib
import re
import subprocess
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from . import errors
from . import logdir as logdirlib
from . import options
from . import retired
from .advisor.providers import http

if TYPE_CHECKING:
  import elements

AUTO = ('jax.platform', 'jax.compute_dtype')


def folder(name: str) -> pathlib.Path:
  """Returns where our data files are: in the wheel, or beside the package."""
  package = pathlib.Path(__file__).resolve().parent
  for place in (package / name, package.parent / name):
    if place.is_dir():
      return place
  raise errors.LoreError(
      f'LoRe was installed without its folder {name!r}. '
      'Install it again: pip install --force-reinstall .')


def read(path: str | os.PathLike) -> dict[str, dict]:
  """Reads blocks from a YAML file, as upstream does."""
  blocks = _parse(path)
  if not isinstance(blocks, dict) or not all(
      isinstance(v, dict) for v in blocks.values()):
    raise errors.ConfigError(
        f'{path} must hold named blocks, each with keys and values.')
  return blocks


def _parse(path):
  import ruamel.yaml
  try:
    return ruamel.yaml.YAML(typ='safe').load(
        pathlib.Path(path).read_text(encoding='utf-8'))
  except (OSError, UnicodeDecodeError, ruamel.yaml.YAMLError) as e:
    raise errors.ConfigError(f'Can\'t read {path}: {e}') from e


def saved(logdir: str | os.PathLike) -> dict:
  """Reads the configuration of a run, as it was written.

  Returns:
    Values by their keys with dots.

  Raises:
    ConfigError: The folder is of no run, or the file can't be read.
  """
  folder = pathlib.Path(logdir)
  path = folder / logdirlib.CONFIG
  if not path.is_file():
    why = (
        'there is no such folder' if not folder.exists() else
        'the folder is empty' if folder.is_dir() and not any(folder.iterdir())
        else f'it has no {path.name}')
    raise errors.ConfigError(
        f'{str(folder)!r} is not the logdir of a run: {why}. Give the '
        '--logdir of a training run.')
  try:
    found = _parse(path)
    if not isinstance(found, dict):
      raise errors.ConfigError(f'Can\'t read {path}: it holds no keys')
  except errors.ConfigError as e:
    raise errors.ConfigError(
        f'{e}. It may have been written by half; start the run again with the '
        'same --logdir.') from e
  return {'.'.join(k): v for k, v in _leaves(found)}


def load(
    configs: str | os.PathLike | None = None,
    suites: Iterable[str] = ()) -> dict[str, dict]:
  """Merges upstream's blocks with ours.

  Args:
    configs: Path of upstream's configs.yaml. Where the copy lacks it (None),
      our own record of its values takes its place.
    suites: Suites that upstream's own make_env makes. What `env` says of them
      is upstream's alone, as is what its defaults say of others.

  Returns:
    Dictionary from block names to mappings. `defaults` holds every key, flat,
    and upstream's value wherever both have one; of other blocks with the same
    name upstream's is used.
  """
  import elements
  theirs = read(configs or folder('patches') / 'dreamerv3.yaml')
  ours = read(folder('configs') / 'lore.yaml')
  if 'defaults' not in theirs:
    raise errors.ConfigError(f'{configs} has no block named defaults.')
  flat = elements.Config(theirs['defaults']).flat
  for key in flat.keys() & retired.KEYS:
    if key.startswith('lore.'):
      raise errors.ConfigError(f'{retired.say(key)} ({configs}, defaults)')
  suites = {*suites, *(k.split('.')[1] for k in flat if k.startswith('env.'))}
  for key, value in options.defaults().items():
    if not (key.startswith('env.') and key.split('.')[1] in suites):
      flat.setdefault(key, value)
  return {**ours, **theirs, 'defaults': flat}


def resolve(argv: Iterable, blocks: dict[str, dict]) -> 'elements.Config':
  """Applies --configs and the flags to the defaults, and checks the result.

  Args:
    argv: Arguments, without the program's name.
    blocks: What `load` returned.

  Returns:
    elements.Config with every key.

  Raises:
    ConfigError: If a block or a key is unknown, or a value does not fit.
  """
  import elements
  argv = [str(x) for x in argv]
  if argv and not argv[0].startswith('--'):
    raise errors.ConfigError(
        f'Found {argv[0]!r} before any flag. Type --key value, for example: '
        '--configs minigrid lore')
  try:
    parsed, other = elements.Flags(configs=['defaults']).parse_known(argv)
  except (KeyError, TypeError, ValueError, OverflowError) as e:
    raise errors.ConfigError(f'--configs: {_text(e)}') from e
  config = elements.Config(blocks['defaults'])
  given = {
      x.removeprefix('--').partition('=')[0].removesuffix('+') for x in other
      if x.startswith('--')}
  for name in parsed.configs:
    block = find(name, blocks)
    config = _apply(config, block, f'in block {name!r}')
    if name != 'defaults':
      given |= {'.'.join(path) for path, _ in _leaves(block)}
  config = apply_flags(config, other)
  config = config.update(options.implied(config.flat, given))
  validate(config)
  return automatic(config)


def find(name: str, blocks: dict[str, dict]) -> dict:
  """Returns the block of a name; a file's name stands for its one block.

  Raises:
    ConfigError: There is none.
  """
  if name in blocks:
    return blocks[name]
  if not name.endswith(('.yaml', '.yml')):
    raise errors.ConfigError(
        f'Unknown configuration block {name!r}.{_closest(name, blocks)} '
        f'Blocks: {", ".join(sorted(blocks))}; or a YAML file with one block.')
  found = read(logdirlib.expand(name))
  if len(found) != 1:
    raise errors.ConfigError(
        f'{name} holds {len(found)} blocks ({", ".join(found) or "none"}), '
        'but --configs takes a file with one.')
  return next(iter(found.values()))


def _apply(config, block, where):
  try:
    updated = config.update(block)
  except (KeyError, TypeError, ValueError, OverflowError) as e:
    _diagnose(config, block, where)
    raise errors.ConfigError(f'{_text(e)} ({where})') from e
  for path, value in _leaves(block):
    key = '.'.join(path)
    if key not in config.flat or not key.startswith('lore.'):
      continue
    # Upstream's rule, type(old)(new), would read 'no' as True.
    if isinstance(config.flat[key], bool) != isinstance(value, bool):
      raise errors.ConfigError(
          f'{key} can\'t be {value!r} ({where}); its default is '
          f'{config.flat[key]!r}.')
  return updated


def _diagnose(config, block, where):
  """Finds the key for which a block can't be applied, and raises for it."""
  for path, value in _leaves(block):
    update = value
    for part in reversed(path):
      update = {part: update}
    try:
      config.update(update)
    except KeyError as e:
      key = '.'.join(path)
      if key in retired.KEYS:
        raise errors.ConfigError(f'{retired.say(key)} ({where})') from e
      raise errors.ConfigError(
          f'Unknown key {key!r} ({where}).{_closest(key, config.flat)}'
      ) from e
    except (TypeError, ValueError, OverflowError) as e:
      raise errors.ConfigError(f'{_text(e)} ({where})') from e


def _leaves(mapping, path=()):
  for key, value in mapping.items():
    if isinstance(value, dict):
      yield from _leaves(value, (*path, key))
    else:
      yield (*path, key), value


def apply_flags(
    config: 'elements.Config', argv: Sequence[str]) -> 'elements.Config':
  """Returns the configuration with flags applied.

  Raises:
    ConfigError: A flag is unknown, or its value does not fit.
  """
  import elements
  flags = elements.Flags(config)
  try:
    parsed, remaining = flags.parse_known(argv, help_exits=True)
  except OverflowError as e:
    found = [
        key for key, x in zip(argv, argv[1:])
        if x.lstrip('+-').lower() in ('inf', 'infinity')]
    raise errors.ConfigError(
        f'{" ".join(found[:1])} takes a whole number, which infinity is '
        'not. Type a large one, such as 1000000000.') from e
  except (KeyError, TypeError, ValueError) as e:
    raise errors.ConfigError(f'{_text(e)}{_meaning(_text(e))}') from e
  for flag in remaining:
    name = flag.removeprefix('--').removesuffix('+')
    if name == 'configs' or name in config.flat:
      example = 'minigrid lore' if name == 'configs' else _example(
          name, config.flat[name])
      raise errors.ConfigError(
          f'Flag --{name} needs a value, for example: --{name} {example}')
    name = name.partition('=')[0]
    if name in retired.KEYS:
      raise errors.ConfigError(retired.say(name))
    if flag.startswith('--'):
      raise errors.ConfigError(
          f'Unknown flag --{name}.'
          f'{_closest(name, [*config.flat, "configs"])}')
  if remaining:
    raise errors.ConfigError(f'Can\'t read {" ".join(remaining)!r}.')
  return parsed


def _example(name, value):
  if name in options.TABLE:
    return options.TABLE[name].example
  return ' '.join(map(str, value)) if isinstance(value, tuple) else value


def _meaning(text):
  """Returns what a key of ours that a text names takes, or ''."""
  named = re.search(r"key '([\w.]+)'", text)
  option = options.TABLE.get(named.group(1)) if named else None
  if option is None:
    return ''
  rule = f' It is {option.rule}.' if option.rule else ''
  return (
      f'{"" if text.endswith(".") else "."} {option.help}{rule} For example: '
      f'--{option.key} {option.example}')


def _closest(name, allowed):
  """Returns ' Did you mean ...?', or nothing where nothing is close."""
  allowed = list(allowed)
  found = difflib.get_close_matches(name, allowed, n=3, cutoff=0.6)
  last = name.split('.')[-1]
  # The right last part under another parent is a frequent slip.
  found += [x for x in allowed if x.split('.')[-1] == last and x not in found]
  if name.startswith('lore.') and last:
    # Or the right word for what a key of another name does.
    meant = [x.key for x in options.find(last) if x.key in allowed]
    found = [*meant[:1], *(x for x in found if x not in meant[:1])]
  return errors.meant(found)


def _text(error):
  """The text of an exception; str() of a KeyError would quote it."""
  return str(error.args[0]) if error.args else type(error).__name__


def validate(config: 'elements.Config') -> None:
  """Checks the values of our own keys.

  Raises:
    ConfigError: With the key, the value and what is allowed.
  """
  flat = config.flat
  options.check(flat)
  # Before it is written into config.yaml, which a password must not reach.
  http.check_url(
      str(flat.get('lore.advisor.url', '')), 'lore.advisor.url')
  if flat.get('lore.deterministic') and flat['script'] != 'train':
    raise errors.ConfigError(
        'lore.deterministic is True, but holds for script train alone, not '
        f'for {flat["script"]!r}. Type --script train.')
  if flat.get('lore.heldout_every') and flat['script'] not in (
      'train', 'train_eval'):
    raise errors.ConfigError(
        f'lore.heldout_every is {flat["lore.heldout_every"]}, but the agent '
        'is evaluated while it trains by the scripts train and train_eval '
        f'alone, not by {flat["script"]!r}. Type --lore.heldout_every 0.')
  if flat.get('lore.heldout_every') and not flat['lore.heldout']:
    raise errors.ConfigError(
        f'lore.heldout_every is {flat["lore.heldout_every"]}, but '
        'lore.heldout is 0, so that nothing would be played. Type '
        '--lore.heldout 100.')
  if (flat.get('lore.kl.schedule.mode') == 'success'
      and not (flat['lore.trust.enabled'] and flat['lore.trust.control'])):
    raise errors.ConfigError(
        'lore.kl.schedule.mode is success, which is known from the control '
        'group alone. Type --lore.trust.enabled True --lore.trust.control 0.1.'
    )


def automatic(config: 'elements.Config') -> 'elements.Config':
  """Replaces `auto` for platform and number format by what is there.

  Only where the user, or a block, wrote auto: upstream's default stays cuda
  in bfloat16.
  """
  if config.jax.platform == 'auto':
    platform = 'cuda' if has_cuda() else 'cpu'
    config = config.update({'jax.platform': platform})
  if config.jax.compute_dtype == 'auto':
    # Processors compute bfloat16 by way of float32, several times slower.
    dtype = 'float32' if config.jax.platform == 'cpu' else 'bfloat16'
    config = config.update({'jax.compute_dtype': dtype})
  return config


def has_cuda() -> bool:
  """Whether jax can compute on a GPU here.

  Asks a process of its own, because upstream must set jax's flags before jax
  looks for devices, and only where jax's CUDA plugin is installed.
  """
  plugins = ('jax_cuda12_plugin', 'jax_cuda13_plugin')
  if not any(importlib.util.find_spec(x) for x in plugins):
    return False
  code = 'import jax; print(len(jax.devices("cuda")))'
  env = {**os.environ, 'XLA_PYTHON_CLIENT_PREALLOCATE': 'false'}
  try:
    return subprocess.run(
        [sys.executable, '-c', code], env=env, timeout=120,
        capture_output=True, check=False).returncode == 0
  except subprocess.TimeoutExpired:
    return False
