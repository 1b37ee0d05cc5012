"""What advice costs: LoRe's agent beside upstream's, in turn.

  python benchmarks/overhead.py [--configs minigrid] [--repeats 30] [--json]
  python benchmarks/overhead.py --only run [--steps 4000] [--json]
  python benchmarks/overhead.py --only steps --repeats 7 --configs size12m \
      --task minigrid_DoorKey-5x5 --jax.platform cpu

Other flags are the agents' own.

Gradient and policy steps alternate between both agents in one process, on the
same made-up batches; each pair gives one ratio. Compilation and peak memory
are those of processes of their own, which alternate too. `run` is the speed
in environment steps a second of a whole training run with the embedded model
whose replies are stored already, beside one without `lore` that trains at the
same time on the other half of the cores; they take turns on the halves, and
are stopped when there is enough to compare. Ratios are LoRe / upstream;
medians, with the 10th and 90th percentile.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

ROUNDS = 3
REPEATS = 30
# A policy step is short, and more of them are needed for as good a figure.
POLICY_REPEATS = 100
# Seconds for which two runs are compared, at least.
SECONDS = 60
PARTS = ('steps', 'processes', 'run')
PINS = hasattr(os, 'sched_setaffinity')


def main():
  parser = argparse.ArgumentParser(
      description=__doc__.splitlines()[0], allow_abbrev=False)
  parser.add_argument('--configs', nargs='+', default=['minigrid'])
  parser.add_argument('--repeats', type=int, default=REPEATS)
  parser.add_argument('--rounds', type=int, default=ROUNDS)
  parser.add_argument(
      '--only', nargs='+', choices=PARTS, default=PARTS,
      help='gradient and policy steps; compilation and memory; whole runs')
  parser.add_argument(
      '--steps', type=int, default=4000,
      help='steps of a whole run; more where it would not train for a minute '
      'after half of them')
  parser.add_argument('--json', action='store_true')
  parser.add_argument('--worker', choices=['upstream', 'lore'])
  args, args.flags = parser.parse_known_args()
  if args.worker:
    print(json.dumps(worker(args)))
    return
  with contextlib.redirect_stdout(sys.stderr):
    # While this process is small: Linux counts the peak of a parent into that
    # of its children.
    others = {
        **(processes(args) if 'processes' in args.only else {}),
        **(runs(args) if 'run' in args.only else {})}
    measured = {
        **(steps(args) if 'steps' in args.only else {}),
        **others}
  result = {}
  for key, pairs in measured.items():
    plain, lore = np.array(pairs).T
    ratios = lore / plain
    result[key] = round(float(np.median(ratios)), 4)
    result[f'{key}_spread'] = [
        round(float(x), 4) for x in np.percentile(ratios, [10, 90])]
    result[f'{key}_absolute'] = [
        round(float(np.median(x)), 5) for x in (plain, lore)]
  if not args.json:
    print('ratio LoRe / upstream   median [10 %, 90 %]   upstream, LoRe')
    for key in measured:
      low, high = result[f'{key}_spread']
      plain, lore = result[f'{key}_absolute']
      print(f'{key:<22}  {result[key]:.3f} [{low:.3f}, {high:.3f}]'
            f'   {plain:.5g}, {lore:.5g}')
  else:
    print(json.dumps(result))


def flags(args, *blocks):
  """Returns the agents' flags, with further blocks."""
  return ['--configs', *args.configs, *blocks, *args.flags]


def build(args, lore):
  """Builds an agent of one kind, without an advisor around it."""
  import elements
  from lore_plugin.agent import columns
  from lore_plugin.agent import head
  from lore_plugin.agent import lore as agentlib
  from lore_plugin import config as configlib
  from lore_plugin import launch
  from lore_plugin.upstream import malloc as memory
  from lore_plugin import upstream
  upstream.original()
  config = configlib.resolve(
      [*flags(args), '--logdir', 'unused', '--jax.profiler', 'False'],
      configlib.load(upstream.find().configs))
  if config.jax.platform == 'cpu':
    memory.keep()  # As in a run.
  env = launch.make_env(config, 0)
  obs = {k: v for k, v in env.obs_space.items() if not k.startswith('log/')}
  act = {k: v for k, v in env.act_space.items() if k != 'reset'}
  env.close()
  fields = dict(
      **config.agent, logdir='unused', seed=0, jax=config.jax,
      batch_size=config.batch_size, batch_length=config.batch_length,
      replay_context=config.replay_context,
      report_length=config.report_length, replica=0, replicas=1)
  if not lore:
    import dreamerv3.agent
    return dreamerv3.agent.Agent(obs, act, elements.Config(fields))
  actions = int(act[head.advised_action(act)].classes)
  obs.update(columns.spaces(actions, config.lore))
  return agentlib.LoreAgent(
      obs, act, elements.Config({**fields, 'lore': config.lore}))


def made_up(spaces, shape, seed):
  rng = np.random.default_rng(seed)
  data = {
      k: rng.integers(0, 2, (*shape, *v.shape)).astype(v.dtype)
      for k, v in sorted(spaces.items())}
  for key in ('is_first', 'is_last', 'is_terminal'):
    data[key] = rng.random(shape) < 0.05
  return data


class Work:
  """One agent and what it needs to take gradient and policy steps."""

  def __init__(self, agent, envs=4):
    self.agent = agent
    config = agent.config
    self.shape = (
        config.batch_size, config.batch_length + config.replay_context)
    self.train_carry = agent.init_train(config.batch_size)
    self.policy_carry = agent.init_policy(envs)
    self.envs = envs
    self.batches = itertools.count()
    import embodied
    self.stream = iter(agent.stream(embodied.streams.Stateless(self.batch)))

  def batch(self):
    data = made_up(self.agent.spaces, self.shape, next(self.batches))
    data['consec'] = np.zeros(self.shape, np.int32)
    return data

  def gradient_step(self, seed):
    import jax
    batch = next(self.stream)
    start = time.perf_counter()
    self.train_carry, _, _ = self.agent.train(self.train_carry, batch)
    jax.block_until_ready(self.agent.params)
    return time.perf_counter() - start

  def policy_step(self, seed, count=20):
    obs = made_up(self.agent.obs_space, (self.envs,), seed)
    start = time.perf_counter()
    for _ in range(count):
      self.policy_carry, _, _ = self.agent.policy(self.policy_carry, obs)
    return (time.perf_counter() - start) / count


def steps(args):
  works = [Work(build(args, lore)) for lore in (False, True)]
  result = {}
  for name, count in (
      ('gradient_step', args.repeats),
      ('policy_step', max(POLICY_REPEATS, args.repeats))):
    pairs = []
    for seed in range(count + 3):
      pair = [0.0, 0.0]
      # Each goes first as often as the other.
      for i in (0, 1) if seed % 2 else (1, 0):
        pair[i] = getattr(works[i], name)(seed)
      pairs.append(pair)
    result[name] = pairs[3:]  # The first compile and warm up.
  return result


def worker(args):
  """Builds one agent and takes a step of each kind, in this process."""
  with contextlib.redirect_stdout(sys.stderr):
    start = time.perf_counter()
    work = Work(build(args, args.worker == 'lore'))
    work.gradient_step(0)
    work.policy_step(0)
    took = time.perf_counter() - start
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  import jax
  device = jax.local_devices()[0].memory_stats() or {}
  return {
      'compile': took, 'memory': peak,
      # Of a GPU, in bytes; a CPU doesn't say.
      'device_memory': device.get('peak_bytes_in_use')}


def processes(args):
  pairs = {'compile': [], 'memory': []}
  # A compilation that is read from a cache is none.
  env = {k: v for k, v in os.environ.items() if 'JAX_COMPILATION' not in k}
  for _ in range(args.rounds):
    both = [
        json.loads(subprocess.run(
            [sys.executable, __file__, '--worker', kind, *flags(args)],
            env=env, check=True, text=True, stdout=subprocess.PIPE,
        ).stdout.splitlines()[-1])
        for kind in ('upstream', 'lore')]
    for key in pairs:
      pairs[key].append([x[key] for x in both])
  return pairs


def runs(args):
  """Trains without and with advice, at once. Environment steps a second."""
  # Where processes can't be pinned, the system shares the cores out.
  cores = sorted(os.sched_getaffinity(0)) if PINS else [0]
  half = max(1, len(cores) // 2)
  pairs = []
  with tempfile.TemporaryDirectory() as temp:
    temp = pathlib.Path(temp)
    advised = [
        *flags(args, 'lore'), '--lore.advisor.provider', 'local',
        '--lore.advisor.store', str(temp / 'advice.sqlite')]
    # What is new is not asked about: this measures the way of the advice.
    kinds = {
        'upstream': flags(args),
        'lore': [*advised, '--lore.advisor.replay', 'lenient']}
    # The first run with advice pays for the replies, and is not counted.
    run = start(temp, 'first', [
        *advised, '--lore.heldout', 0, '--run.steps', args.steps], cores)
    if run.wait():
      sys.exit(f'The run in {temp / "first"} failed.')
    for i in range(args.rounds):
      # Each has the cores that the other had before.
      shares = [cores[:half], cores[-half:]][::-1 if i % 2 else 1]
      names = [f'{i}-{kind}' for kind in kinds]
      both = [
          start(temp, name, [*more, '--run.steps', 1e9], share)
          for name, more, share in zip(names, kinds.values(), shares)]
      try:
        pairs.append(watch(
            both, [temp / x / 'metrics.jsonl' for x in names], args.steps))
      finally:
        for run in both:
          run.kill()
          run.wait()
  return {'run': pairs}


def start(temp, name, more, cores):
  """Starts a training run on some of the cores."""
  run = subprocess.Popen(
      [sys.executable, '-m', 'lore_plugin', *map(str, more), '--logdir',
       str(temp / name), '--seed', '0'], stdout=sys.stderr)
  if PINS:
    os.sched_setaffinity(run.pid, cores)
  return run


def watch(runs, paths, steps):
  """Watches runs until both have trained beside each other for long enough.

  Args:
    runs: Their processes.
    paths: Their logs.
    steps: Steps that each is to take, of which the first half is not counted.

  Returns:
    Steps a second of each.
  """
  trails = [[] for _ in runs]
  while True:
    time.sleep(0.2)
    if any([run.poll() is not None for run in runs]):
      sys.exit('A run ended too early; see above.')
    for trail, path in zip(trails, paths):
      # Lines of episodes say nothing about when they were written.
      lines = path.read_text().splitlines() if path.exists() else []
      lines = [x for x in lines if 'fps/policy' in x]
      if len(lines) > len(trail):
        with contextlib.suppress(ValueError):  # A line half written.
          trail.append((time.monotonic(), json.loads(lines[-1])['step']))
    if all(trail and trail[-1][1] >= steps for trail in trails):
      begin = max(next(t for t, x in trail if x >= steps / 2)
                  for trail in trails)
      end = min(trail[-1][0] for trail in trails)
      # By the lines of the log, of which a fast run has few in so many steps.
      if end - begin >= SECONDS:
        counts = [np.interp([begin, end], *zip(*trail)) for trail in trails]
        return [float(last - first) / (end - begin) for first, last in counts]


if __name__ == '__main__':
  main()
