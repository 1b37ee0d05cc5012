"""A training run that is advised by what a model sees.

  run_vision.py PROVIDER LOGDIR

The whole program on a task of pictures, asking a real server on loopback.
"""

import os
import pathlib
import sys

import gymnasium

from lore_plugin import launch

sys.path.append(str(pathlib.Path(__file__).parents[1]))
import lamps  # noqa: E402
import servers  # noqa: E402


def main(provider, logdir):
  gymnasium.register('Lights-v0', lamps.Lights)
  for name in ('ANTHROPIC_API_KEY', 'OPENAI_API_KEY'):
    os.environ[name] = 'sk-none-of-yours'
  server = servers.start(lamps.look_and_answer)
  return launch.main([
      '--configs', 'debug', 'lore', '--task', lamps.TASK, '--logdir', logdir,
      '--run.steps', '400', '--run.envs', '2', '--run.log_every', '1',
      '--jax.platform', 'cpu', '--logger.outputs', 'jsonl',
      '--agent.report', 'False', '--env.gymnasium.size', '64', '64',
      '--lore.world', 'vision', '--lore.advisor.provider', provider,
      '--lore.advisor.ask', 'sync', '--lore.advisor.url',
      server.url + ('/v1' if provider == 'openai' else '')])


if __name__ == '__main__':
  sys.exit(main(*sys.argv[1:]))
