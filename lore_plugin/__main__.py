"""python -m lore_plugin: train, or one of the commands below."""

import sys

from . import errors
from . import launch
from .upstream import patch


def ablate(argv):
  """Executes a suite of runs."""
  from .runs import ablate as module
  module.main(argv)


def doctor(argv):
  """Examines a run or the installation."""
  from .doctor import run as module
  module.main(argv)


def evaluate(argv):
  """Measures a trained agent."""
  from .play import evaluate as module
  module.main(argv)


def report(argv):
  """Turns results into figures and a page."""
  from .report import summary as module
  module.main(argv)


def serve(argv):
  """Runs the advisor as a server; imports what only that needs."""
  from .advisor.remote import serve as module
  module.main(argv)


def tune(argv):
  """Searches for weights."""
  from .runs import tune as module
  module.main(argv)


COMMANDS = {
    'ablate': ablate,
    'doctor': doctor,
    'evaluate': evaluate,
    'patch': patch.main,
    'report': report,
    'serve': serve,
    'tune': tune,
    'unpatch': patch.undo,
}


def main(argv=None):
  """Runs a command by name; anything else is upstream's flags."""
  argv = sys.argv[1:] if argv is None else list(argv)
  if not argv or argv[0].startswith('--'):
    return launch.main(argv)
  try:
    errors.choose(argv[0], COMMANDS, 'command')
    COMMANDS[argv[0]](argv[1:])
  except errors.LoreError as e:
    launch.report(e)
    return 2
  return 0


if __name__ == '__main__':
  sys.exit(main())
