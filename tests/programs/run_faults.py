"""Training runs whose advisor is asked over a server that fails.

  run_faults.py FOLDER SDK KIND [SDK KIND]...

Each run is the whole program: upstream's unmodified main(), its training loop,
a new logdir, advisor and SDK. What they share is the process and the compiled
agent, whose parameters go on from one run to the next: compiling takes longer
than all the rest. Prints a JSON object a run.
"""

import json
import os
import pathlib
import sys
import time

import numpy as np
import tiny
from lore_plugin.advisor import circuit
from lore_plugin.agent import advised
from lore_plugin.agent import lore as agentlib
from lore_plugin import config as configlib
from lore_plugin import launch
from lore_plugin import upstream

sys.path.append(str(pathlib.Path(__file__).parents[1]))
import faults  # noqa: E402

STEPS = 300


def flags(logdir, sdk, kind, server):
  timeout = faults.SHORT if kind == 'silence' else 20.0
  return [
      '--configs', 'debug', 'lore', '--task', 'dummy_line',
      '--logdir', logdir, '--run.steps', STEPS, '--run.log_every', 1,
      '--run.envs', 2, '--logger.outputs', 'jsonl', '--jax.platform', 'cpu',
      '--jax.profiler', 'False', '--agent.report', 'False',
      '--lore.advisor.provider', sdk, '--lore.advisor.model', 'm',
      '--lore.advisor.mode', 'action', '--lore.advisor.ask', 'sync',
      '--lore.advisor.retries', 0, '--lore.advisor.timeout', timeout,
      # Its control group would not ask; here every step may.
      '--lore.trust.enabled', False,
      '--lore.advisor.url', faults.url(server, sdk)]


def train(blocks, logdir, sdk, kind, server, updates):
  """Runs upstream's main() against a fault. Returns what was counted.

  Args:
    blocks: Blocks of the configuration.
    logdir: Where the run goes.
    sdk: 'anthropic' or 'openai'.
    kind: One of `faults.FAULTS`.
    server: The server.
    updates: Updates of the agent by earlier runs.
  """
  server.fault, server.requests = faults.FAULTS[kind][0], 0
  config = configlib.resolve(flags(logdir, sdk, kind, server), blocks)
  begun = time.perf_counter()
  kept = upstream.run(
      config, make_agent=make_agent, make_env=launch.make_env,
      make_logger=launch.make_logger)
  agent = kept['agent']
  stats = agent.stats()
  store = agent.advisor.store
  spent = store.spent(agent.advisor.asker.account)
  agent.close()
  params = agent.agent.save()['params']
  return {
      'sdk': sdk, 'kind': kind, 'steps': int(kept['logger'].step),
      'updates': int(agent.agent.n_updates) - updates,
      'finite': all(np.isfinite(x).all() for x in params.values()),
      'requests': server.requests, 'spent': spent['calls'],
      'seconds': round(time.perf_counter() - begun, 2),
      'stats': {k: v for k, v in stats.items() if v}}


def make_agent(config):
  agent = launch.make_agent(config)
  assert isinstance(agent, advised.AdvisedAgent)
  for source in agent.advisor.sources:
    source.circuit = circuit.Circuit(circuit.Patience(failures=2, rest=60.0))
    if source.provider.name == 'openai':
      # Scores are stated; without it the first answers would only show that
      # the server gives no log-probabilities.
      source.provider.method = 'stated'
  return agent


def share(make):
  """Returns a constructor that makes one agent, for all runs."""
  made = []
  def once(*args):
    made.append(made[0] if made else make(*args))
    return made[-1]
  return once


def main(folder, *pairs):
  for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'):
    os.environ[name] = 'sk-fake-12x'
  blocks = configlib.load(upstream.check().configs)
  upstream.original()
  tiny.prepare()
  agentlib.LoreAgent = share(agentlib.LoreAgent)
  server = faults.start()
  updates = 0
  for i, (sdk, kind) in enumerate(zip(pairs[::2], pairs[1::2])):
    logdir = str(pathlib.Path(folder) / str(i))
    result = train(blocks, logdir, sdk, kind, server, updates)
    updates += result['updates']
    print('RESULT', json.dumps(result), flush=True)


if __name__ == '__main__':
  main(*sys.argv[1:])
