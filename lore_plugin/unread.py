"""Flags that an advised run takes and never reads: a notice, no error.

The table says of each key under which values of others it is read. Keys that
are always read are not in it.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .advisor import providers

# Those that answer by rules, or by nothing, and look at no key.
RULES = {'adversarial', 'mock', 'random', 'scripted', 'shuffled', 'uniform'}
# Those that ask a server; a registered one may read every key.
HOSTED = {'anthropic', 'openai'}
LOCAL = {'local'}
OURS = RULES | HOSTED | LOCAL | {'flawed'}


def asked(lore: Any) -> set[str]:
  """Returns the names of the providers that a run itself asks."""
  names = str(lore.advisor.provider).split(',')
  return {providers.resolve(x.strip()) for x in names}


def any_of(lore: Any, names: Iterable[str]) -> bool:
  """Returns whether one of them, or one that is not ours, is asked."""
  found = asked(lore)
  return bool(found & set(names) or found - OURS)


def moves(lore: Any) -> bool:
  """Returns whether there is a bound that a schedule can move."""
  return lore.kl.penalty or bool(lore.kl.hard and lore.gate.beta_max)


Rule = tuple[Sequence[str], Callable[[Any], bool], str]

# Keys, whether the section `lore` lets them be read, and why it does not. Of
# several rules for one key the first that forbids it is told.
RULED: tuple[Rule, ...] = (
    (('gate.kappa', 'gate.tau', 'kl.distil', 'kl.hard'),
     lambda x: x.gate.beta_max > 0, 'lore.gate.beta_max is 0'),
    (('trust.control',),
     lambda x: x.trust.enabled, 'lore.trust.enabled is False'),
    (('temperature.value',),
     lambda x: x.temperature.mode == 'fixed',
     'lore.temperature.mode is not fixed'),
    (('kl.target', 'kl.lr'),
     lambda x: x.kl.penalty, 'lore.kl.penalty is False'),
    (('kl.schedule.end', 'kl.schedule.over'),
     lambda x: x.kl.schedule.mode != 'none', 'lore.kl.schedule.mode is none'),
    (('kl.schedule.end', 'kl.schedule.over', 'kl.schedule.mode'),
     lambda x: x.kl.schedule.mode == 'none' or moves(x),
     'lore.kl.penalty is False, and lore.kl.hard bounds nothing'),
    (('prior.confidence',),
     lambda x: x.prior.enabled, 'lore.prior.enabled is False'),
    (('experience.enabled',),
     lambda x: x.advisor.mode == 'subgoal' or not x.experience.enabled,
     'lore.advisor.mode is not subgoal'),
    (('advisor.address',),
     # Behind a server several may have answered, and 'auto' means all.
     lambda x: x.advisor.replay == 'none' or x.advisor.provider == 'auto',
     'lore.advisor.replay asks nobody'),
    (('advisor.url', 'advisor.threads', 'advisor.price.input',
      'advisor.price.output'),
     lambda x: x.advisor.replay == 'none',
     'lore.advisor.replay asks nobody'),
    (('advisor.provider', 'advisor.model', 'advisor.url', 'advisor.threads',
      'advisor.price.input', 'advisor.price.output'),
     lambda x: not x.advisor.address or x.advisor.replay != 'none',
     'the server on lore.advisor.address has its own'),
    (('advisor.model',),
     lambda x: x.advisor.replay != 'none' or any_of(
         x, HOSTED | LOCAL | {'flawed'}),
     'lore.advisor.provider has no models'),
    (('advisor.url', 'advisor.price.input', 'advisor.price.output'),
     lambda x: any_of(x, HOSTED), 'lore.advisor.provider asks no server'),
    (('advisor.threads',),
     lambda x: any_of(x, LOCAL), 'lore.advisor.provider is not local'),
)


def find(argv: Sequence[str], lore: Any) -> dict[str, str]:
  """Returns flags of an advised run that nothing reads, and why.

  Args:
    argv: Arguments, without the program's name.
    lore: The section `lore` of the configuration.
  """
  out: dict[str, str] = {}
  for flag in dict.fromkeys(str(x).partition('=')[0] for x in argv):
    key = flag.removeprefix('--lore.')
    for keys, is_read, why in RULED if key != flag else ():
      if key in keys and not is_read(lore):
        out.setdefault(flag, why)
  return out


def say(argv: Sequence[str], lore: Any) -> str:
  """Says which flags of an advised run nothing reads, or returns ''."""
  found = find(argv, lore)
  if not found:
    return ''
  told = ', '.join(f'{flag} (as {why})' for flag, why in found.items())
  return (
      f'Warning: this run does not read {told}. It goes on as if '
      f'{"it" if len(found) == 1 else "they"} had not been typed.')
