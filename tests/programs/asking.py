"""Takes the place of a training run where a test is about its advice.

Walks at random through real environments and asks the advisor that the flags
name, as an agent would, for --run.steps; no agent is compiled or trained.
"""

import json
import pathlib
import pickle
import sys

import numpy as np

from lore_plugin import config as configlib
from lore_plugin import worlds as envs
from lore_plugin.upstream import checkpoint
from lore_plugin.advisor import build as service


def main(argv):
  config = configlib.resolve(argv, configlib.load())
  logdir = pathlib.Path(config.logdir)
  env = envs.make(config, 0, None)
  advisor = service.build(
      config, int(env.act_space['action'].classes))
  rng = np.random.default_rng(int(config.seed))
  action = {'action': 0, 'reset': True}
  for _ in range(int(config.run.steps)):
    obs = env.step(action)
    batch = {k: np.asarray(v)[None] for k, v in obs.items()}
    advisor.consider(
        batch['lore/state'], [0], np.zeros(1, np.float32), batch['reward'],
        batch['is_first'], batch['is_last'])
    _, valid = advisor.lookup(batch['lore/state'])
    # Nothing is asked where an episode ends.
    assert valid.all() or obs['is_last'], (
        'advice came later than the step that asked for it')
    action = {'action': int(rng.integers(7)), 'reset': bool(obs['is_last'])}
  folder = checkpoint.folder(logdir) / 'last'
  folder.mkdir(parents=True)
  (folder.parent / 'latest').write_text('last')
  (folder / 'agent.pkl').write_bytes(pickle.dumps({
      'params': {}, 'counters': {}, 'advisor': advisor.save()}))
  (folder / 'done').touch()
  (logdir / 'summary.json').write_text(json.dumps({
      'advisor': advisor.stats()}))
  advisor.close()
  env.close()


if __name__ == '__main__':
  main(sys.argv[1:])
