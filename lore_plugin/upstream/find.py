"""Where the copy of upstream is that Python imports."""

import dataclasses
import importlib.util
import pathlib

from .. import errors

INSTALL = (
    'Run `make setup` in the LoRe folder to install the official code, or '
    'clone github.com/danijar/dreamerv3 and run from the root of the clone.')
KNOWN = '3.3.1 as published, and main as of commit e3f0224'

# Where upstream's scripts put their checkpoints, by version. The first is that
# of the agent; the parallel script keeps one for each of its processes.
CHECKPOINTS = {
    '3.3.1': {
        'train': ('checkpoint.pkl',),
        'parallel': ('agent.pkl', 'replay.pkl', 'logger.pkl')},
    'main': {
        'train': ('ckpt',),
        'parallel': ('ckpt/agent', 'ckpt/replay', 'ckpt/logger')},
}


@dataclasses.dataclass(frozen=True, slots=True)
class Upstream:
  """The copy of upstream that Python imports.

  Attributes:
    folder: The package `dreamerv3`.
    version: '3.3.1', 'main', or 'unknown'.
    configs: Its configs.yaml, or None where the copy lacks one.
  """
  folder: pathlib.Path
  version: str
  configs: pathlib.Path | None

  @property
  def published(self) -> bool:
    """Whether it is an installed package, which nobody edits."""
    return 'site-packages' in self.folder.parts

  def __str__(self) -> str:
    return f'dreamerv3 {self.version} in {self.folder.parent}'


def find() -> Upstream:
  """Locates upstream without importing it.

  Raises:
    UpstreamError: If there is none, or `embodied` is from somewhere else.
  """
  folder = _package('dreamerv3', 'agent.py')
  embodied = _package('embodied', 'run')
  if embodied.parent != folder.parent:
    raise errors.UpstreamError(
        f'Found dreamerv3 in {folder.parent} but embodied in '
        f'{embodied.parent}. Both must be of one copy. Run from the root of '
        'the checkout that you mean, or uninstall the other copy with '
        '`pip uninstall dreamer embodied`.')
  configs = folder / 'configs.yaml'
  return Upstream(
      folder, _version(embodied), configs if configs.is_file() else None)


def _package(name, content):
  spec = importlib.util.find_spec(name)
  places = list(spec.submodule_search_locations or []) if spec else []
  if not places:
    raise errors.UpstreamError(
        f'DreamerV3 is not installed: there is no package {name!r}. {INSTALL}')
  folder = pathlib.Path(places[0]).resolve()
  if not (folder / content).exists():
    # A clone seen from its parent folder looks like a package of that name.
    inside = (folder / name).is_dir()
    hint = f'Run from inside {folder}, or: ' if inside else ''
    raise errors.UpstreamError(
        f'{folder} is not the package {name!r} of DreamerV3: it has no '
        f'{content}. {hint}{INSTALL}')
  return folder


def _version(embodied):
  try:
    source = (embodied / 'run' / 'train.py').read_text(encoding='utf-8')
  except OSError:
    return 'unknown'
  found = [k for k, v in CHECKPOINTS.items()
           if f'Checkpoint(logdir / {v["train"][0]!r})' in source]
  return found[0] if len(found) == 1 else 'unknown'
