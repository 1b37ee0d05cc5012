"""Keys and values of earlier versions, and what took their place.

Who types one, or has it in a block or a suite, is told in one line. The
config.yaml of a finished run may hold them, and that of a run that goes on as
well, if nothing is lost with them.
"""

import dataclasses
from collections.abc import Container, Iterable, Mapping
from typing import Any

from . import errors


@dataclasses.dataclass(frozen=True, slots=True)
class Key:
  """A key that is gone.

  Attributes:
    key: Its name.
    default: The default that it had.
    instead: What took its place, without a full stop.
  """
  key: str
  default: Any
  instead: str


KEYS = {x.key: x for x in (
    Key('env.minigrid.encoding', 'attributes',
        'symbols are the attributes of each cell, as classes'),
    Key('lore.describer', 'auto',
        'lore.world names the world, which remembers the episode'),
    Key('lore.advise_eval', False,
        '`python -m lore_plugin evaluate` plays with and without advice'),
    Key('lore.gate.ensemble', 5, 'the ensemble has 5 members'),
    Key('lore.gate.ceiling', 0.0,
        'lore.kl.hard bounds the divergence of each state'),
    Key('lore.gate.warmup', 0, 'beta is what (3) gives from the start'),
    Key('lore.gate.hysteresis', 0.0,
        'the gate opens and shuts at lore.gate.tau'),
    Key('lore.gate.dropout', 0.0,
        'lore.trust.control sets the share of steps without advice'),
    Key('lore.imagination.beta', 0.0, 'imagination never sees advice'),
    Key('lore.advisor.policy.novelty', 0,
        'each question is asked once and its answer kept'),
    Key('lore.advisor.policy.plateau', 0,
        'lore.advisor.cooldown and lore.advisor.calls hold calls back'),
    Key('lore.advisor.policy.min_td', 0.0,
        'lore.advisor.min_u asks where the agent is unsure'),
    Key('lore.gate.uplift', 10.0,
        'a proven uplift of 1 lowers tau by 10, which opens the gate'),
    Key('lore.trust.probe', 0.5,
        'the share of episodes advised against the evidence is fixed'),
    Key('lore.trust.memory', 20.0, '20 episodes of each arm count'),
    Key('lore.trust.dense', 1.0,
        'states and events met always count before the first reward'),
    Key('lore.trust.imagined', 0.0,
        'episodes decide, not what the critic thinks of advice'),
    Key('lore.temperature.low', 0.5, 'T is matched in [0.5, 3]'),
    Key('lore.temperature.high', 3.0, 'T is matched in [0.5, 3]'),
    Key('lore.temperature.rate', 0.05,
        'T goes a twentieth of its way in an update'),
    Key('lore.kl.init', 0.0, 'lambda begins at 0'),
    Key('lore.kl.damp', 0.0,
        'lore.kl.hard scales beta down where the divergence is too great'),
    Key('lore.kl.schedule.start', 1.0,
        'the schedule begins at lore.kl.target and lore.kl.hard '
        'themselves'),
    Key('lore.advisor.plan', False,
        'advice is given step by step; lore.advisor.policy.macro asks at '
        'macro boundaries only'),
    Key('lore.advisor.history', 0, 'a query names the state alone'),
    Key('lore.advisor.smoothing', 0.01,
        'advice leaves a hundredth of probability to every action'),
    Key('lore.advisor.stale', 60.0,
        'a call that could not begin for a minute is given up'),
    Key('lore.advisor.workers', 4, 'four calls are under way at once'),
    Key('lore.advisor.breaker.failures', 5,
        'five failures in a row stop calls'),
    Key('lore.advisor.breaker.rest', 30.0,
        'after half a minute one call tries again'),
    Key('lore.advisor.policy.growth', 1.0,
        'lore.advisor.cooldown stays as it is'),
    Key('lore.advisor.policy.backoff', 0,
        'lore.advisor.cooldown and lore.advisor.min_u hold calls back'),
    Key('lore.advisor.policy.visits', 1,
        'a state is asked about from its first visit on'),
    Key('lore.advisor.policy.combine', 'all',
        'all conditions of lore.advisor.policy must hold'),
)}

# Values that a key no longer takes: what to read them as in a finished run,
# and what took their place.
CHOICES = {
    ('lore.temperature.mode', 'scale'): (
        'match', 'match finds T by (2), fixed takes lore.temperature.value'),
    ('lore.temperature.mode', 'target_kl'): (
        'match', 'match finds T by (2), and lore.kl.hard bounds the KL'),
    ('lore.kl.schedule.mode', 'uncertainty'): (
        'steps', 'the schedule goes by updates or by success'),
    ('lore.world', 'minigrid-view'): (
        'minigrid', 'minigrid remembers what was seen in the episode, and '
        'has words of its own'),
}

# Worlds that are gone, by the version that is stored with what was advised
# in their words.
WORLDS = {'minigrid-1': 'minigrid-view'}


def say(key: str) -> str:
  """Says in one line what took the place of a retired key."""
  return f'{key} is gone: {KEYS[key].instead}. Leave it out.'


def check(key: str, value: Any, choices: Iterable[str] = ()) -> None:
  """Raises a ConfigError for a value that is gone."""
  if gone := CHOICES.get((key, value)):
    allowed = f'Choose from: {", ".join(choices)}' if choices else (
        f'Type --{key} {gone[0]}')
    raise errors.ConfigError(f'{key} {value!r} is gone: {gone[1]}. {allowed}.')


def unused(worlds: Mapping[str, int]) -> str:
  """Says which stored replies are in the words of a world that is gone.

  Args:
    worlds: How many replies there are, by version of the world.

  Returns:
    '14 replies in the words of minigrid-view', or ''.
  """
  return ' and '.join(
      f'{count} replies in the words of {WORLDS[version]}'
      for version, count in sorted(worlds.items()) if version in WORLDS)


def modernise(
    flat: Mapping[str, Any],
    known: Container[str] = ()) -> tuple[dict[str, Any], list[str]]:
  """Reads the configuration of a run that an earlier version made.

  Args:
    flat: Values by key, flat.
    known: Keys that are in use now, as those of a user's own suite may be.

  Returns:
    Those without retired keys, and a sentence for each retired key whose
    value was not its default: of these the run was different.
  """
  result, told = {}, []
  for key, value in flat.items():
    if key in KEYS and key not in known:
      if value != KEYS[key].default:
        told.append(f'{key} was {value} and is gone: {KEYS[key].instead}.')
    elif (key, value) in CHOICES:
      result[key], instead = CHOICES[key, value]
      told.append(f'{key} was {value}, which is gone: {instead}.')
    else:
      result[key] = value
  return result, told


def check_resumed(
    flat: Mapping[str, Any], place: str, known: Container[str] = ()) -> str:
  """Checks that a run which goes on loses nothing with the retired keys.

  Args:
    flat: Its configuration so far, flat.
    place: Its logdir.
    known: Keys that are in use now.

  Returns:
    A note for the user, or ''.

  Raises:
    ConfigError: A retired key had a value other than its default.
  """
  _, told = modernise(flat, known)
  if told:
    raise errors.ConfigError(
        f'The run in {place!r} can\'t go on as it began: {told[0]} Give '
        f'another --logdir, or go on without it: remove the key from '
        f'config.yaml there.')
  held = sorted(k for k in KEYS if k in flat and k not in known)
  return held and (
      f'{len(held)} options of this run are gone, and had their defaults: '
      f'{", ".join(held[:4])}{" ..." if len(held) > 4 else ""}.') or ''
