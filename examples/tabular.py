"""Advice for an agent of another kind: a table of values, in 30 lines.

  python examples/tabular.py [PROVIDER] [EPISODES]
"""

import sys

import gymnasium
import numpy as np
import taxi

import lore_plugin


def learn(env, advisor=None, episodes=200, seed=0):
  """Q-learning; where it explores, it follows advice. Returns returns, [E]."""
  rng = np.random.default_rng(seed)
  values, returns = np.zeros((500, 6)), np.zeros(episodes)
  for episode in range(episodes):
    obs, info = env.reset(seed=seed * episodes + episode)
    over = False
    while not over:
      if rng.random() > 0.2:
        best = values[obs]
        action = rng.choice(np.flatnonzero(best == best.max()))
      elif advisor:
        actions = advisor.ask(info['situation']).actions
        action = rng.choice(list(actions), p=list(actions.values()))
      else:
        action = rng.integers(6)
      after, reward, ended, cut, info = env.step(action)
      target = reward + 0.99 * (not ended) * values[after].max()
      values[obs, action] += 0.5 * (target - values[obs, action])
      returns[episode] += reward
      obs, over = after, ended or cut
  return returns


if __name__ == '__main__':
  provider, count = [*sys.argv[1:], *('local', '200')[len(sys.argv) - 1:]]
  taxis = lore_plugin.wrap(gymnasium.make('Taxi-v4'), taxi.TaxiWorld)
  with lore_plugin.Advisor(provider, world=taxis.world) as asked:
    for name, helper in (('alone', None), ('advised', asked)):
      late = learn(taxis, helper, int(count))[-int(count) // 5:]
      print(name, 'return of the last fifth:', late.mean())
    print('spent:', asked.spent())
