"""Every key that LoRe adds to DreamerV3's configuration: the only table.

Defaults, checks, error messages, `python -m lore_plugin options` and
docs/options.md come from it. What upstream has as well is not listed.
"""

import argparse
import dataclasses
import difflib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from . import errors
from . import retired


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
  """One key.

  Attributes:
    key: Its name with dots: 'lore.gate.kappa'.
    default: Its default. The type of a value is the type of this.
    help: What it does, in a sentence or two.
    low: Least value of a number, itself allowed.
    above: Number that a value must exceed.
    high: Greatest value of a number, itself allowed.
    choices: The values that are allowed, if these are not numbers.
  """
  key: str
  default: Any
  help: str
  low: float = -math.inf
  above: float = -math.inf
  high: float = math.inf
  choices: tuple[str, ...] = ()

  @property
  def rule(self) -> str:
    """What is allowed, in words; '' if every value of the type is."""
    if self.choices:
      return f'one of {", ".join(self.choices)}'
    if isinstance(self.default, bool):
      return 'True or False'
    parts = []
    if self.low > -math.inf:
      parts.append(f'at least {self.low:g}')
    if self.above > -math.inf:
      parts.append(f'more than {self.above:g}')
    if self.high < math.inf:
      parts.append(f'at most {self.high:g}')
    return ' and '.join(parts)

  @property
  def shown(self) -> str:
    """The default as one would type it."""
    if isinstance(self.default, (tuple, list)):
      return ' '.join(map(str, self.default))
    return "''" if self.default == '' else str(self.default)

  @property
  def example(self) -> str:
    """A value as one would type it; not the one that switches it off."""
    return '5' if self.shown.startswith('-1') else self.shown

  def check(self, value: Any) -> None:
    """Raises a ConfigError if a value is not allowed."""
    retired.check(self.key, value, self.choices)
    if self.choices:
      errors.choose(value, self.choices, f'value of {self.key}:')
    elif isinstance(value, (int, float)) and not (
        math.isfinite(value) and self.low <= value <= self.high
        and value > self.above):
      raise errors.ConfigError(
          f'{self.key} is {value}, but must be {self.rule or "finite"}. '
          f'{self.help} Its default is {self.shown}: --{self.key} '
          f'{self.shown}.')


# Heading and introduction of each part of the documentation, by prefix.
PARTS = {
    '': ('Upstream and environments', ''),
    'lore.': ('LoRe', ''),
    'lore.gate.': (
        'Gate, equation (3)',
        'beta = beta_max * sigmoid(kappa * (u - tau)), where u = entropy * H '
        '+ value * Var[V] + disagreement * Dis, each normalised by running '
        'moments. What weighs 0 is not computed.'),
    'lore.trust.': (
        'Trust',
        'Whether advice helps is found out by comparison with episodes that '
        'go without it.'),
    'lore.experience.': ('Experience', ''),
    'lore.temperature.': ('Temperature, equation (2)', ''),
    'lore.kl.': (
        'KL control, equations (4) and (5)',
        'The schedule multiplies target and hard by a factor that moves from '
        '1 to its end.'),
    'lore.prior.': (
        'Learned advice',
        'A network that learns stored advice and gives it where none is '
        'stored. Nothing is asked where it is sure.'),
    'lore.advisor.': ('Advisor', ''),
}

TABLE = {x.key: x for x in (
    # Upstream's scripts read it, but it is declared in none of its blocks.
    Option('run.from_checkpoint_regex', '.*',
           'Parameters to take from run.from_checkpoint; upstream reads it '
           'and declares it nowhere.'),
    Option('jax.profiler', True,
           'Upstream\'s profile of 20 updates in the logdir.'),

    Option('env.minigrid.obs', 'symbolic',
           'Symbols (grid and direction as vectors) or pixels.',
           choices=('symbolic', 'image')),
    Option('env.minigrid.size', (64, 64), 'Pixels of an image.'),
    Option('env.minigrid.view', 7,
           'Width of the agent\'s view in cells; odd.', low=3),
    Option('env.gymnasium.imports', '',
           'Packages that register environments for --task gymnasium_<ID>, '
           'separated by commas.'),
    Option('env.gymnasium.kwargs', '',
           'Keyword arguments of the environment, as a JSON object.'),
    Option('env.gymnasium.size', (64, 64), 'Pixels of an image.'),

    Option('lore.enabled', False,
           'Off leaves upstream exactly as it is. The block lore turns it '
           'on.'),
    Option('lore.deterministic', False,
           'Same seed, same store, same run, bit for bit; for script train.'),
    Option('lore.text_bytes', 2048, 'Room for a state in words.',
           low=64, high=2 ** 20),
    Option('lore.world', 'auto',
           'Where words and choices come from: auto (by task), minigrid, '
           'crafter, generic, vision, a registered world, or a class, '
           'package.module:Class. With vision the picture is the question, '
           'mode is action, and advice is learned (lore.prior), unless you '
           'say otherwise.'),
    Option('lore.actions', '',
           'Words for the actions where the environment has none, in their '
           'order, with commas between; numbered calls them action 0, ...'),
    Option('lore.heldout', 100,
           'Episodes of new seeds, without advice, that a run of MiniGrid, '
           'BabyAI, Gymnasium or crafter_symbolic ends with; 0 is none.',
           low=0),
    Option('lore.heldout_every', 0,
           'Steps after which they are played while it trains as well, to '
           'alone.jsonl; 0 is never.', low=0),

    Option('lore.gate.beta_max', 3.0, 'Ceiling of beta; 0 never mixes.',
           low=0),
    Option('lore.gate.kappa', 2.0, 'Steepness of the gate.', low=0),
    Option('lore.gate.tau', 0.0, 'Uncertainty at which it is half open.'),
    Option('lore.gate.entropy', 1.0, 'Weight of the policy\'s entropy in u.',
           low=0),
    Option('lore.gate.value', 0.0,
           'Weight of the spread of the critic\'s distribution in u; 0 does '
           'not ask the critic.', low=0),
    Option('lore.gate.disagreement', 0.0,
           'Weight of the disagreement of an ensemble of one-step models in '
           'u; 0 builds none.', low=0),

    Option('lore.trust.enabled', True,
           'Find out by comparison whether advice helps. Without it all '
           'advice is followed.'),
    Option('lore.trust.control', 0.1, 'Least share of steps without advice.',
           low=0, high=0.9),

    Option('lore.experience.enabled', True,
           'Learn from what choices led to: pursue one at a time, drawn from '
           'the model\'s answer and outcomes of the same question.'),

    Option('lore.temperature.mode', 'fixed',
           'match is (2), on replayed states with advice; fixed uses '
           'lore.temperature.value.', choices=('match', 'fixed')),
    Option('lore.temperature.value', 3.0, 'T if fixed.', above=0),

    Option('lore.kl.penalty', True,
           'Add (4) to upstream\'s loss and update lambda by (5). Without it '
           'upstream\'s loss is untouched.'),
    Option('lore.kl.target', 1.0, 'delta in nats, (4) and (5).', low=0),
    Option('lore.kl.lr', 1e-3, 'eta, (5).', low=0),
    Option('lore.kl.distil', 2.5,
           'Learning rate at which the actor is drawn to advice that is '
           'proven to help, as a multiple of agent.opt.lr; 0 is off.', low=0),
    Option('lore.kl.hard', 0.0,
           'Bound in nats on KL(pi_mix || pi_wm) in each state, which scales '
           'beta down; 0 is none.', low=0),
    Option('lore.kl.schedule.mode', 'none',
           'Tighten target and hard by steps (updates), or by the success of '
           'the agent alone.', choices=('none', 'steps', 'success')),
    Option('lore.kl.schedule.end', 1.0, 'Factor on them at last.', low=0),
    Option('lore.kl.schedule.over', 1000,
           'Updates that this takes, or that success is averaged over.',
           low=1),

    Option('lore.prior.enabled', False,
           'Learn stored advice, give it where none is stored, and save the '
           'calls there.'),
    Option('lore.prior.confidence', 0.9,
           'Share of its variance that its members must have in common for '
           'that.', low=0, high=1),

    Option('lore.advisor.provider', 'auto',
           'auto is anthropic if its key is set, else local. Also openai, '
           'scripted, uniform, flawed, random, shuffled, adversarial, mock or '
           'a registered one; a,b falls over from a to b.'),
    Option('lore.advisor.model', '',
           'Model name, or path of a GGUF file for local; empty is the '
           'provider\'s default.'),
    Option('lore.advisor.mode', 'subgoal',
           'Ask for the next subgoal, grounded in what the agent sees, or for '
           'the next action.', choices=('subgoal', 'action')),
    Option('lore.advisor.store', '',
           'File or folder of stored advice; empty is advice.sqlite in the '
           'logdir.'),
    Option('lore.advisor.calls', 98,
           'Budget of calls of a run; 0 asks never, -1 has no limit.', low=-1),
    Option('lore.advisor.cache', True,
           'False asks anew at every visit of a state, to find out what the '
           'cache is worth.'),
    Option('lore.advisor.cooldown', 0,
           'Steps between two calls of one environment.', low=0),
    Option('lore.advisor.min_u', -10.0,
           'Ask only where the gate\'s uncertainty u is at least this.'),
    Option('lore.advisor.timeout', 20.0,
           'Seconds a call may take, and a training step waits for it.',
           above=0),
    Option('lore.advisor.calibrate', 'auto',
           'Subtract each candidate\'s mean score over states: auto does so '
           'for actions, not for subgoals.',
           choices=('auto', 'always', 'never')),
    Option('lore.advisor.url', '',
           'The provider\'s server, if not its public one.'),
    Option('lore.advisor.address', '',
           'host:port of an advisor that many runs share, as `python -m '
           'lore_plugin serve` starts it; empty asks from within the run.'),
    Option('lore.advisor.ask', 'auto',
           'sync waits for answers, async takes them up later, auto is async '
           'where calls leave the machine.',
           choices=('auto', 'sync', 'async')),
    Option('lore.advisor.retries', 1,
           'How often a call without connection or answer is repeated.',
           low=0),
    Option('lore.advisor.replay', 'none',
           'Answer from the store alone: strict ends the run at a state that '
           'it lacks, lenient goes on without advice there.',
           choices=('none', 'strict', 'lenient')),
    Option('lore.advisor.threads', 1, 'CPU threads of the local model.',
           low=1),
    Option('lore.advisor.tokens', -1,
           'Tokens a run may spend; -1 has no limit. With an address the '
           'server is to cap them.', low=-1),
    Option('lore.advisor.money', -1.0,
           'US dollars that a run may cost; -1 has no limit. With an address '
           'the server is to cap them.', low=-1),
    Option('lore.advisor.account', '',
           'Runs of one account share their caps; empty gives each logdir '
           'its own.'),
    Option('lore.advisor.price.input', -1.0,
           'US dollars for a million tokens read; -1 is what the package '
           'genai-prices knows, and nothing for a server on this machine.',
           low=-1),
    Option('lore.advisor.price.output', -1.0,
           'US dollars for a million tokens written; -1 as above.', low=-1),
    Option('lore.advisor.policy.macro', False,
           'Ask only at macro boundaries: where an episode begins, and at '
           'events such as a taken key.'),
)}

# What a choice changes in the defaults of other keys.
IMPLIED = {
    ('lore.world', 'vision'): {
        'lore.advisor.mode': 'action', 'lore.prior.enabled': True}}


def implied(values: Mapping[str, Any], given: set[str]) -> dict[str, Any]:
  """Returns what choices change in the defaults of other keys.

  Args:
    values: Values by key, flat.
    given: Keys, or patterns of keys, that the user or a block has set.
  """
  return {
      k: v for (key, value), changes in IMPLIED.items()
      if values.get(key) == value for k, v in changes.items()
      if not any(x == k or re.fullmatch(x, k) for x in given)}


def defaults() -> dict[str, Any]:
  """Returns the default of every key, flat."""
  return {x.key: x.default for x in TABLE.values()}


def section(prefix: str) -> dict[str, Any]:
  """Returns the defaults under a prefix, 'lore.advisor', as a nested dict."""
  result: dict[str, Any] = {}
  for key, value in defaults().items():
    if key.startswith(f'{prefix}.'):
      *path, last = key.removeprefix(f'{prefix}.').split('.')
      inner = result
      for part in path:
        inner = inner.setdefault(part, {})
      inner[last] = value
  return result


def check(values: Mapping[str, Any], prefix: str = '') -> None:
  """Checks values of our keys; keys that are not ours are left alone.

  Args:
    values: Values by key, flat or nested.
    prefix: What the names of the keys lack: 'lore.advisor'.

  Raises:
    ConfigError: With the key, the value, and what is allowed.
  """
  found = dict(_leaves(values, prefix))
  for key, value in found.items():
    if key in TABLE and not _theirs(key, found):
      TABLE[key].check(value)
    elif key in retired.KEYS and key.startswith('lore.'):
      raise errors.ConfigError(retired.say(key))


def _theirs(key: str, values: Mapping[str, Any]) -> bool:
  """Whether a key belongs to a user's suite that is called as one of ours."""
  if not key.startswith('env.'):
    return False
  suite = key.rpartition('.')[0]
  return any(x.startswith(f'{suite}.') and x not in values for x in TABLE)


def _leaves(
    values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
  for name, value in values.items():
    key = f'{prefix}.{name}' if prefix else name
    if isinstance(value, Mapping):
      yield from _leaves(value, key)
    else:
      yield key, value


def find(pattern: str = '') -> list[Option]:
  """Returns the options whose key or help holds a text, in their order."""
  return [
      x for x in TABLE.values()
      if pattern.lower() in x.key.lower() or pattern.lower() in x.help.lower()]


def listing(pattern: str = '') -> str:
  """Formats options for the terminal.

  Raises:
    ConfigError: None fits.
  """
  found = find(pattern)
  if not found and pattern in retired.KEYS:
    raise errors.ConfigError(retired.say(pattern))
  if not found:
    word = pattern.split('.')[-1]
    last = {x.split('.')[-1]: x for x in reversed(TABLE)}
    close = [last[x] for x in difflib.get_close_matches(word, last, 3)]
    close += [x.key for x in find(word) if word and x.key not in close]
    raise errors.ConfigError(
        f'No option has {pattern!r} in its name or meaning.'
        f'{errors.meant(close)} Type python -m lore_plugin options to see '
        'all.')
  lines = []
  for x in found:
    rule = f'; {x.rule}' if x.rule else ''
    lines += [f'--{x.key}  ({x.shown}{rule})', f'    {x.help}']
  return '\n'.join(lines)


def markdown() -> str:
  """Returns the text of docs/options.md."""
  lines = [
      '# Options', '',
      'Every key that LoRe adds to DreamerV3\'s configuration. Each is a '
      'flag, `--lore.gate.beta_max 2.0`, and may stand in a block of '
      '`configs.yaml`. `python -m lore_plugin options PATTERN` shows those '
      'that a word finds. This page is made from '
      '[options.py](../lore_plugin/options.py) by '
      '`python -m lore_plugin options --markdown`.']
  part = None
  for x in TABLE.values():
    prefix = max((p for p in PARTS if x.key.startswith(p)), key=len)
    if prefix != part:
      part = prefix
      heading, text = PARTS[part]
      lines += ['', f'## {heading}', ''] + ([text, ''] if text else [])
      lines += [
          '| option | default | allowed | meaning |', '|---|---|---|---|']
    meaning = x.help.replace('|', '\\|')
    lines.append(f'| `{x.key}` | `{x.shown}` | {x.rule} | {meaning} |')
  lines += [
      '', '## Retired', '',
      'What a configuration of an earlier version may hold. A run of that '
      'version can be examined; it can go on if these had their defaults.',
      '', '| option | default | instead |', '|---|---|---|']
  for y in retired.KEYS.values():
    lines.append(f'| `{y.key}` | `{y.default}` | {y.instead} |')
  for (key, value), (_, instead) in retired.CHOICES.items():
    lines.append(f'| `{key}` | `{value}` | {instead} |')
  return '\n'.join(lines) + '\n'


def main(argv: Sequence[str]) -> None:
  """Runs the command.

  Raises:
    ConfigError: No option fits.
  """
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin options',
      description='Shows keys of LoRe with default, range and meaning, for '
      'example: python -m lore_plugin options money')
  parser.add_argument(
      'pattern', nargs='?', default='',
      help='a part of a key or of what it means (all keys)')
  parser.add_argument(
      '--markdown', action='store_true', help='write docs/options.md')
  # Whoever pastes a flag means its name.
  args = parser.parse_args([
      x.removeprefix('--') if x.startswith(('--lore.', '--env.')) else x
      for x in argv])
  print(markdown() if args.markdown else listing(args.pattern) + '\n', end='')
