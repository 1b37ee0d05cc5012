"""Measures a trained agent on seeds that training never uses.

  python -m lore_plugin evaluate LOGDIR [--episodes 100] [--json]
      [--advice both|on|off] [--actions both|sampled|greedy] [--calls 0]
      [--record DIR] [--recorded 4] [--envs 20] [--verbose] [--KEY VALUE ...]

Loads LOGDIR/config.yaml and the newest checkpoint, and plays the same seeds
with advice off and on, with sampled and with greedy actions. Small tasks draw
one layout by many seeds: training has seen all of DoorKey-5x5's. Advice comes
from the run's own store; states without a stored reply go without. With
--calls N up to N more are asked for, on an account of their own, never the
run's, and kept in the run's store. --record writes the first episodes of each
kind for the viewer of `python -m lore_plugin report`. Other flags change the
run's configuration, for example --jax.platform cpu.
"""

import argparse
import contextlib
import io
import json
import os
import pathlib
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

from .. import config as configlib
from .. import curves
from .. import errors
from .. import logdir as logdirlib
from .. import retired
from ..upstream import checkpoint
from ..upstream import resume
from ..upstream import source
from .. import upstream
from .. import worlds
from ..worlds import seeds
from . import rollout

ADVICE = {'both': (False, True), 'on': (True,), 'off': (False,)}
ACTIONS = {
    'both': ('sampled', 'greedy'), 'sampled': ('sampled',),
    'greedy': ('greedy',)}
# How the agent's policy is told; upstream's agent treats all modes alike.
MODES = {'sampled': 'eval', 'greedy': 'greedy'}
# Nothing is trained, so the training step need not be compiled. Upstream's
# agent has the first option, its configuration does not.
QUICK = {'jax.precompile': False, 'jax.profiler': False}
LOGITS_WM, LOGITS_MIX = 'log/record_wm', 'log/record_mix'


def main(argv: Sequence[str] | None = None) -> None:
  """Evaluates one run and prints the result.

  Raises:
    LoreError: The folder, the checkpoint or a flag can't be used.
  """
  args, flags = parse(sys.argv[1:] if argv is None else list(argv))
  quiet = contextlib.nullcontext() if args.verbose else (
      contextlib.redirect_stdout(io.StringIO()))
  with quiet:
    result = evaluate(
        args.logdir, args.episodes, ADVICE[args.advice], ACTIONS[args.actions],
        args.calls, args.envs, args.record, args.recorded, flags)
  if args.json:
    print(json.dumps(result, indent=2))
    return
  print(table(result))
  place = shlex.quote(str(args.logdir))
  print(f'\nNext: python -m lore_plugin report {place} --open')


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Returns the options, and the flags that are left for the configuration."""
  parser = argparse.ArgumentParser(
      prog='python -m lore_plugin evaluate', description=__doc__,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False)
  add = parser.add_argument
  add('logdir', type=pathlib.Path, help='of a training run')
  add('--episodes', type=int, default=100, help='of each kind (100)')
  add('--advice', choices=ADVICE, default='both', help='(both)')
  add('--actions', choices=ACTIONS, default='both', help='(both)')
  add('--calls', type=int, default=0,
      help='that may be made about what has no stored reply (0)')
  add('--envs', type=int, default=20, help='played side by side (20)')
  add('--record', type=pathlib.Path, help='folder for episodes to watch')
  add('--recorded', type=int, default=4, help='of each kind (4)')
  add('--json', action='store_true', help='print one JSON object')
  add('--verbose', action='store_true', help='show what upstream prints')
  args, flags = parser.parse_known_args(argv)
  for name, least in dict(episodes=1, envs=1, recorded=1, calls=0).items():
    if getattr(args, name) < least:
      raise errors.ConfigError(
          f'--{name} is {getattr(args, name)}, but must be at least {least}.')
  return args, flags


def evaluate(
    logdir: str | os.PathLike, episodes: int = 100,
    advice: Sequence[bool] = (False, True),
    actions: Sequence[str] = ('sampled', 'greedy'), calls: int = 0,
    envs: int = 20, record: str | os.PathLike | None = None, recorded: int = 4,
    flags: Sequence[str] = ()) -> dict[str, Any]:
  """Plays held-out seeds with a run's newest checkpoint.

  Args:
    logdir: The run's folder.
    episodes: Episodes of each kind.
    advice: Which of advice off (False) and on (True) to play.
    actions: Which of 'sampled' and 'greedy' to play.
    calls: Calls that may be made beyond the stored replies, at least 0.
    envs: Environments played side by side.
    record: Folder for recorded episodes, or None.
    recorded: Episodes of each kind to record.
    flags: Flags that change the run's configuration.

  Returns:
    A dict that JSON can hold, with `results`, one entry for each kind.

  Raises:
    ConfigError: No configuration, no whole checkpoint, or one of another
      size.
  """
  logdir = logdirlib.expand(logdir)
  folder = logdirlib.expand(record) if record else None
  found = upstream.find()
  config, notes = load_config(logdir, found, flags)
  if config.lore.enabled:
    upstream.check(found)
  data, step = (None, None) if config.random_agent else (
      load_checkpoint(logdir, found))
  if (late := logdirlib.ahead(logdir, step)):
    notes.append(late)
  if config.random_agent:
    notes.append('A uniform random policy has no greedy action.')
    actions = ('sampled',)
  with tempfile.TemporaryDirectory(prefix='lore-') as temp:
    config, advice, told = choose_advice(config, logdir, advice, calls, temp)
    notes += told
    results, trust = measure(
        config, data, logdir, episodes, advice, actions, calls, envs,
        (folder, recorded, step) if folder else None)
  if True in advice:
    notes.append(
        f'Training\'s trust in the advice was {trust:.2f} of 1; here it is '
        'followed in every episode.')
  heldout = worlds.has_heldout(config.task)
  if not heldout:
    notes.append(
        'Of this task no seeds are kept from training; these episodes are '
        'drawn as in training.')
  return {
      'logdir': str(logdir), 'task': config.task, 'seed': int(config.seed),
      'step': step, 'layouts': 'held-out' if heldout else 'as in training',
      'episodes': episodes, 'calls': sum(x['calls'] for x in results),
      'trust': trust, 'results': results,
      'notes': notes + rollout.cuts(results)}


def choose_advice(
    config: Any, logdir: pathlib.Path, advice: Sequence[bool], calls: int,
    temp: str) -> tuple[Any, Sequence[bool], list[str]]:
  """Leaves out advice that the run can't give.

  Args:
    config: The whole configuration.
    logdir, advice, calls: As of `evaluate`.
    temp: As of `prepare_advice`.

  Returns:
    The configuration, which of advice off and on to play, and notes.

  Raises:
    ConfigError: Only advice was asked for, and there is none.
  """
  if not config.lore.enabled or config.random_agent:
    why = 'The run was trained without lore, so it has no advice.'
  else:
    config, known = prepare_advice(
        config, calls if True in advice else 0, temp)
    why = '' if known else (
        'The run has no stored advice; --calls N asks for some.')
  if True not in advice:
    return config, advice, []
  if why and False not in advice:
    raise errors.ConfigError(f'{logdir}: {why} Or type --advice off.')
  if why:
    return config, (False,), [why]
  notes = [] if calls else [
      'Advice is what the run has stored; --calls N asks about other states.']
  record = logdirlib.read_record(logdir) or {}
  if (rule := record.get('replaced', {}).get('adversary')):
    notes.append(f'The adversary of the run, {rule!r}, is not here.')
  return config, advice, notes


def measure(
    config: Any, data: Mapping[str, Any] | None, logdir: pathlib.Path,
    episodes: int, advice: Sequence[bool], actions: Sequence[str], calls: int,
    envs: int, record: tuple[pathlib.Path, int, int | None] | None,
) -> tuple[list[dict[str, Any]], float | None]:
  """Plays every kind of episodes; see `evaluate`.

  Returns:
    The results, and training's trust in the advice, None without advice.
  """
  from .. import launch
  heldout = worlds.has_heldout(config.task)
  kwargs = {'heldout': True} if heldout else {}
  make_env = lambda i: launch.make_env(config, i, **kwargs)
  agent = make_agent(config)
  results, trust = [], None
  try:
    if data:
      load_agent(agent, data, logdir)
    if hasattr(agent, 'trust'):
      trust = float(agent.trust.trust)
    for advised in advice:
      if hasattr(agent, 'advise_eval'):
        agent.advise_eval = advised
      for kind in actions:
        recorder = None
        if record:
          from . import record as recordlib
          folder, recorded, step = record
          recorder = recordlib.Recorder(folder, recorded, {
              'task': config.task, 'seed': int(config.seed), 'step': step,
              'advice': advised, 'actions': kind, 'run': logdir.name},
              agent.advisor.table if advised else None)
        before = count_calls(agent, calls)
        played = rollout.play(
            agent, make_env, episodes, envs, MODES[kind],
            recorder.watch if recorder else None)
        results.append({
            'advice': advised, 'actions': kind,
            **rollout.proportion(played),
            'score_std': float(played['scores'].std()),
            'length': float(played['lengths'].mean()),
            'length_std': float(played['lengths'].std()),
            'advised': played['advised'],
            'calls': count_calls(agent, calls) - before})
  finally:
    if hasattr(agent, 'close'):
      agent.close()
  return results, trust


def load_config(
    logdir: pathlib.Path, found: upstream.Upstream,
    flags: Sequence[str] = ()) -> tuple[Any, list[str]]:
  """Reads a run's configuration.

  Returns:
    elements.Config with every key of this version, and notes for the user.

  Raises:
    ConfigError: It is missing, can't be read or has unknown keys.
  """
  import elements
  path = logdir / logdirlib.CONFIG
  saved = elements.Config(configlib.saved(logdir)).flat
  defaults = elements.Config(configlib.load(
      found.configs, source.taken(found, worlds.SUITES))['defaults'])
  saved, gone = retired.modernise(saved, defaults.flat)
  unknown = sorted(set(saved) - set(defaults.flat))
  if unknown:
    raise errors.ConfigError(
        f'{str(path)!r} has keys that this version of LoRe does not know: '
        f'{", ".join(unknown[:5])}. Use the version that trained the run.')
  missing = sorted(set(defaults.flat) - set(saved))
  if 'task' in missing or 'seed' in missing:
    raise errors.ConfigError(
        f'{str(path)!r} names no task or no seed, so it is not whole. Start '
        'the run again with the same --logdir.')
  notes = list(gone)
  if missing:
    notes.append(
        'Keys newer than the run have their defaults: '
        f'{", ".join(missing[:5])}{" ..." if len(missing) > 5 else ""}.')
  try:
    config = defaults.update(saved)
  except (KeyError, TypeError, ValueError) as e:
    raise errors.ConfigError(f'{str(path)!r}: {e}') from e
  config = configlib.apply_flags(config, list(flags))
  if config.jax.platform == 'cuda' and not configlib.has_cuda():
    config = config.update({
        'jax.platform': 'cpu', 'jax.compute_dtype': 'float32'})
    notes.append('There is no GPU here, so the CPU computes.')
  configlib.validate(config)
  # The folder may have moved since.
  return elements.Config({
      **config.flat, 'logdir': str(logdir), **QUICK}), notes


def load_checkpoint(
    logdir: pathlib.Path,
    found: upstream.Upstream) -> tuple[dict[str, Any], int | None]:
  """Reads the agent of a run's newest whole checkpoint.

  Returns:
    What the agent saved, and the environment steps it was trained for.

  Raises:
    ConfigError: There is none, or it can't be read.
  """
  folder = checkpoint.folder(logdir, found.version)
  if not folder.is_dir():
    raise errors.ConfigError(
        f'The run in {str(logdir)!r} has saved no checkpoint: there is no '
        f'folder {folder.name!r}. Train it further, or with a smaller '
        '--run.save_every.')
  last = checkpoint.newest(folder)
  if last is None:
    raise errors.ConfigError(
        f'No checkpoint in {str(folder)!r} is whole: none has a file '
        "'done'. The run was stopped while it saved; start it again with the "
        'same --logdir.')
  return checkpoint.read(last), checkpoint.step(last)


def prepare_advice(config: Any, calls: int, temp: str) -> tuple[Any, bool]:
  """Makes the configuration answer from the run's store, if it has one.

  Reading goes by a replay of the store, which needs no key and writes
  nothing. Whether to ask was settled when the replies were paid for, so that
  the call policy does not hold any of them back.

  Args:
    config: The whole configuration, with `lore.enabled` True.
    calls: Calls that may be made beyond the stored replies.
    temp: Folder for the store of an advisor that knows nothing.

  Returns:
    The configuration, and whether there is any advice.
  """
  from ..advisor import build as service
  section = config.lore.advisor
  path = pathlib.Path(service.locate(section.store, config.logdir))
  if calls:
    # An account of its own, so that neither the run's caps nor those of an
    # earlier evaluation are touched.
    config = config.update({
        'lore.advisor.calls': calls,
        'lore.advisor.account': f'evaluation-{time.time_ns()}'})
    # Runs of earlier versions may have some that never held.
    return config.update({
        'lore.advisor.tokens': -1, 'lore.advisor.money': -1.0,
        } if section.address else {}), True
  known = path.is_file() and holds_replies(path)
  flat = configlib.load()['defaults']
  update = {
      k: v for k, v in flat.items() if k.startswith('lore.advisor.policy.')}
  update.update({
      'lore.advisor.cooldown': 0,
      'lore.advisor.min_u': flat['lore.advisor.min_u'],
      'lore.advisor.ask': 'sync'})
  if known:
    # The address stays: behind a server, several may have answered.
    update.update({
        'lore.advisor.replay': 'lenient', 'lore.advisor.calls': -1,
        'lore.advisor.tokens': -1, 'lore.advisor.money': -1.0})
  else:
    # A provider that needs no key and no model, and is asked nothing.
    update.update({
        'lore.advisor.provider': 'scripted', 'lore.advisor.calls': 0,
        'lore.advisor.store': str(temp), 'lore.advisor.address': ''})
  return config.update(update), known


def holds_replies(path: pathlib.Path) -> bool:
  """Returns whether a file of advice has any; a run may have had no answer.

  Raises:
    StoreError: It can't be read.
  """
  from ..advisor import store as storelib
  store = storelib.Store(path)
  try:
    return bool(store.identities())
  finally:
    store.close()


def make_agent(config: Any) -> Any:
  """Builds the run's agent with greedy actions and its logits on show."""
  from .. import launch
  if config.random_agent:
    return launch.make_agent(config)
  base = upstream.sampling_agent()
  if config.lore.enabled:
    from ..agent import lore as agentlib
    with upstream.swapped(
        agentlib, LoreAgent=observed(agentlib.LoreAgent)):
      return launch.make_agent(config)
  with upstream.agent_class(observed(base)):
    return launch.make_agent(config)


def observed(base: Any) -> type:
  """Makes a subclass of an agent with a greedy mode and with open logits.

  Its policy returns, besides the rest, `log/record_wm` and `log/record_mix`,
  the actor's logits before and after advice. Shape [B, A], f32. Training
  never sees this class, so replay stays as small as it is.
  """
  import jax

  from ..agent import head

  class Observed(base):

    def policy(self, carry, obs, mode='train'):
      key = head.advised_action(self.act_space)
      outs = {}
      def act(dists, draw):
        # An agent without advice mixes nothing.
        outs.setdefault(LOGITS_WM, dists[key].logits)
        outs[LOGITS_MIX] = dists[key].logits
        if mode == MODES['greedy']:
          return jax.tree.map(lambda x: x.pred(), dists)
        return draw(dists)
      self.shown = outs
      with upstream.drawing(act):
        carry, acts, out = super().policy(carry, obs, mode)
      return carry, acts, {**out, **outs}

    def _describe(self, logits, *args):
      self.shown[LOGITS_WM] = logits
      return super()._describe(logits, *args)

  return Observed


def load_agent(
    agent: Any, data: Mapping[str, Any], logdir: str | os.PathLike) -> None:
  """Gives the agent its checkpoint.

  Raises:
    ConfigError: The checkpoint belongs to an agent of another size.
  """
  inner = getattr(agent, 'agent', agent)
  wrong = resume.differences(data['params'], inner.params)
  if wrong:
    raise errors.ConfigError(
        f'The checkpoint in {str(logdir)!r} does not fit its config.yaml: '
        f'{wrong}. Give the logdir as training left it, with the version of '
        'LoRe that trained it.')
  # Its counters are training's, and its calls are not ours to go on from. What
  # choices led to is a part of the advice.
  agent.load({k: v for k, v in data.items() if k != 'advisor'})
  learned = data.get('advisor', {}).get('experience')
  guide = learned and getattr(agent.advisor, 'guide', None)
  if guide:
    guide.experience.load(learned)


def count_calls(agent: Any, calls: int) -> int:
  """Returns calls that left for a provider; a replay makes none."""
  return int(agent.stats()['calls']) if calls and hasattr(
      agent, 'stats') else 0


def table(result: Mapping[str, Any]) -> str:
  """Formats a result for the terminal."""
  step = result['step']
  when = 'untrained' if step is None else f'after {step:,} steps'
  told = result['results'][0]['success'] is not None
  lines = [
      f'{result["task"]}, seed {result["seed"]}, {when}, '
      f'{result["episodes"]} {seeds.drawn(result["task"])}, '
      f'{result["layouts"]}', '',
      f'{"advice":<8}{"actions":<9}' + (f'{"success":<22}' if told else '')
      + f'{"return":<16}'
      f'{"length":<16}{"steps advised":<15}calls']
  for x in result['results']:
    success = ''
    if told:
      low, high = x['interval']
      success = f'{x["success"]:.2f} [{low:.2f}, {high:.2f}]'
      success = f'{success:<22}'
    spread = lambda a, b, form: f'{a:{form}} (sd {b:{form}})'
    lines.append(
        f'{"on" if x["advice"] else "off":<8}{x["actions"]:<9}{success}'
        f'{spread(x["score"], x["score_std"], ".2f"):<16}'
        f'{spread(x["length"], x["length_std"], ".0f"):<16}'
        f'{x["advised"]:<15.0%}{x["calls"]}')
    if 'unlocked' in x:
      lines.append(
          f'  Crafter score {x["crafter_score"]:.1f} %; unlocked: '
          + curves.unlocked(x['unlocked']))
  lines += ['', 'sd is over episodes' + (
      '; intervals are Wilson\'s, 95 %.' if told else
      '; this environment does not say what a success is.')]
  return '\n'.join(lines + result['notes'])
