"""Trains with parts of LoRe replaced by what it is measured against.

  python -m lore_plugin.runs.replaced RIVAL ADVERSARY \\
    --configs minigrid lore --task minigrid_DoorKey-5x5 ...

RIVAL is a rule of `rivals` or `rewards`, which takes the place of the trust
control, and ADVERSARY one of `adversaries`, which spoils the advice. '' is
none.
"""

import contextlib
import functools
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence

from . import adversaries
from . import rewards
from .. import errors
from .. import upstream
from ..agent import advised

READ: dict[str, Callable[[str], functools.partial]] = {
    'rival': rewards.read, 'adversary': adversaries.read}


def check(parts: Mapping[str, str]) -> None:
  """Reads the rules of an arm, by the part that they replace.

  Raises:
    ConfigError: There is no such rule, or its number is wrong.
  """
  for name, rule in parts.items():
    READ[name](rule)


@contextlib.contextmanager
def replaced(parts: Mapping[str, str]) -> Iterator[None]:
  """Builds agents with other parts meanwhile.

  Args:
    parts: Rules, by the part that they replace.

  Raises:
    ConfigError: There is no such rule, or its number is wrong.
  """
  made = {name: READ[name](rule) for name, rule in parts.items()}
  with contextlib.ExitStack() as stack:
    if 'rival' in made:
      stack.enter_context(
          upstream.swapped(advised.trustlib, Trust=made['rival']))
    plain = advised.build
    def build(config, *args):
      with rewards.made(parts.get('rival', ''), config):
        agent = plain(config, *args)
      if 'adversary' in made:
        agent.advisor = made['adversary'](
            agent.advisor, agent.trust,
            pathlib.Path(config.logdir) / adversaries.NAME,
            int(config.seed))
      return agent
    stack.enter_context(upstream.swapped(advised, build=build))
    yield


def main(argv: Sequence[str]) -> int:
  """Trains with the first two arguments in place. Returns the exit code."""
  from .. import launch
  parts = {x: y for x, y in zip(READ, argv) if y}
  try:
    with replaced(parts), upstream.swapped(launch, replaced=parts):
      return launch.main(argv[len(READ):])
  except errors.ConfigError as e:
    launch.report(e)
    return 2


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
