"""python -m lore_plugin: train, or one of the commands below.

Nothing heavy is imported before it is known what is wanted.
"""

import argparse
import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence

from . import __version__
from . import errors

# By name: module, its function, and what it does.
COMMANDS = {
    'ablate': ('runs.ablate', 'main', 'Execute a suite of runs.'),
    'advice': ('report.advice', 'main',
               'Show what a run\'s advisor was asked and what it led to.'),
    'doctor': ('doctor.run', 'main', 'Examine a run or the installation.'),
    'evaluate': ('play.evaluate', 'main', 'Measure a trained agent.'),
    'judge': ('play.judge', 'main',
              'Play advice alone, without an agent and without training.'),
    'options': ('options', 'main', 'Show the options that a word finds.'),
    'patch': ('upstream.patch', 'main',
              'Add `python -m dreamerv3` to a checkout; unpatch removes it.'),
    'report': ('report.summary', 'main', 'Turn runs or results into a page.'),
    'serve': ('advisor.remote.serve', 'main',
              'Serve one advisor to many runs.'),
    'tune': ('runs.tune', 'main', 'Search for weights of the method.'),
    'unpatch': ('upstream.patch', 'undo', ''),
}


def parser() -> argparse.ArgumentParser:
  """Returns the parser of the program's own arguments."""
  result = argparse.ArgumentParser(
      prog='python -m lore_plugin',
      usage='python -m lore_plugin --configs BLOCK ... | COMMAND [--help] ...',
      description='Trains DreamerV3 with advice (--configs minigrid lore), or '
      'does one of:\n' + '\n'.join(
          f'  {name:<10}{does}' for name, (_, _, does) in COMMANDS.items()
          if does),
      formatter_class=argparse.RawDescriptionHelpFormatter)
  result.add_argument(
      '--version', action='version', version=f'LoRe {__version__}')
  return result


def command(name: str) -> Callable[[Sequence[str]], object]:
  """Returns the function behind a command, and imports what it needs."""
  module, function, _ = COMMANDS[name]
  return getattr(
      importlib.import_module(f'.{module}', __package__), function)


def train(argv: Sequence[str] | None = None) -> int:
  """Trains; see `launch.main`, whose import takes a second.

  An exception that Ctrl-C raises meanwhile may come up where Python prints
  and forgets it, or ends in a traceback of somebody else's module.
  """
  usual = signal.getsignal(signal.SIGINT)
  ours = (usual is signal.default_int_handler
          and threading.current_thread() is threading.main_thread())
  if ours:
    signal.signal(signal.SIGINT, _leave)
  from . import launch
  if ours:
    signal.signal(signal.SIGINT, usual)
  return launch.main(argv)


def _leave(*_: object) -> None:
  print('lore: Interrupted.', file=sys.stderr, flush=True)
  os._exit(130)


def missing(name: str | None) -> str:
  """Says what to do where a package is not installed."""
  place = os.path.join(os.path.dirname(os.path.dirname(
      os.path.abspath(__file__))), '.venv', 'bin', 'activate')
  inside = sys.prefix == os.path.dirname(os.path.dirname(place))
  what = f'This Python ({sys.executable}) has no package {name!r}. '
  if os.path.isfile(place) and not inside:
    return f'{what}Activate the environment of LoRe: . {place}'
  return (
      f'{what}Activate the environment in which LoRe is installed, or make '
      'one: make setup')


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a command by name; flags with a value are upstream's.

  Returns:
    The exit code: 0; 2 after a LoreError; that of training.
  """
  argv = list(sys.argv[1:] if argv is None else argv)
  if argv[:1] == ['help']:
    argv = [*argv[1:2], '--help']
  if argv in ([], ['-h'], ['--help'], ['--version']):
    parser().parse_args(argv or ['--help'])
  try:
    if argv[0].startswith('--'):
      return train(argv)
    errors.choose(argv[0], COMMANDS, 'command')
    command(argv[0])(argv[1:])
  except errors.LoreError as e:
    print(f'lore: {e}', file=sys.stderr, flush=True)
    return 2
  except ModuleNotFoundError as e:
    if (e.name or '').split('.')[0] == __package__:
      raise
    print(f'lore: {missing(e.name)}', file=sys.stderr, flush=True)
    return 2
  except BrokenPipeError:
    # Whoever read it has seen enough; Python would complain at its end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 141
  return 0


if __name__ == '__main__':
  sys.exit(main())
