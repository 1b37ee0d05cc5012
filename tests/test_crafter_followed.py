"""What training pursues in Crafter is what its rules prefer."""

import numpy as np
import pytest

pytest.importorskip('crafter')

from lore_plugin import config as configlib  # noqa: E402
from lore_plugin import worlds  # noqa: E402
from lore_plugin.advisor import advisor as service  # noqa: E402
from lore_plugin.advisor import experience  # noqa: E402
from lore_plugin.advisor import ground  # noqa: E402
from lore_plugin.advisor import types  # noqa: E402
from lore_plugin.advisor.providers import scripted  # noqa: E402
from lore_plugin.worlds.crafter import rules  # noqa: E402


def test_the_first_of_the_order_that_can_be_begun():
  """Their order is long: most of what comes first can't be begun."""
  config = configlib.resolve(
      ['--configs', 'crafter_small', 'lore', '--seed', '0', '--logdir', 'x'],
      configlib.load())
  env = worlds.make_as(False, config, 0, None, heldout=True)
  advisor = service.Advisor(
      scripted.Scripted(), int(env.act_space['action'].classes),
      experience=experience.Experience(0))
  rng = np.random.default_rng(0)
  obs = env.step({'action': 0, 'reset': True})
  pursued = set()
  for _ in range(150):
    states, no = obs['lore/state'][None], np.zeros(1, bool)
    advisor.consider(
        states, [0], np.zeros(1, np.float32), np.array([obs['reward']]),
        np.array([obs['is_first']]), no, advised=~no)
    prior, valid = advisor.lookup(states, [0], ~no)
    assert advisor.guide.experience.running[0].model
    if not valid[0]:  # Asleep: whatever is done, nothing is.
      obs = env.step({'action': 0, 'reset': False})
      continue
    desc = types.Description.decode(obs['lore/state'])
    can = {
        x.name for x, y in zip(desc.options, ground.legal(desc)) if y}
    order = [x for x in rules.ranking(desc.text) if x in can] or ['explore']
    assert advisor.guide.pursued(0)[1] == order[0]
    pursued.add(order[0])
    best = np.flatnonzero(prior[0] >= prior[0].max() - 1e-6)
    action = int(rng.choice(best))
    advisor.did([0], np.array([action]))
    obs = env.step({'action': action, 'reset': False})
    assert not obs['is_last']
  assert len(pursued) > 5, pursued
  env.close()
  advisor.close()
