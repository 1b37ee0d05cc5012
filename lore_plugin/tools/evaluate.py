"""Measures an agent on layouts that training never used."""

import numpy as np

from .. import progress


def rollout(agent, make_env, episodes=100, envs=20, mode='eval'):
  """Plays a fixed number of episodes in each of several environments.

  Each environment plays its own share to the end. Stopping at the first
  so-many finished episodes instead would favour short ones.

  Args:
    agent: An `embodied.Agent`. Its eval mode gives no advice.
    make_env: Makes environment number i: make_env(i).
    episodes: Episodes in total, a multiple of envs.
    envs: Environments played side by side.
    mode: The mode given to the agent's policy.

  Returns:
    Return of each episode. Shape [episodes], f64.
  """
  assert episodes % envs == 0, (episodes, envs)
  share = episodes // envs
  worlds = [make_env(i) for i in range(envs)]
  try:
    carry = agent.init_policy(envs)
    scores = np.zeros((envs, share))
    played = np.zeros(envs, int)
    space = {k: v for k, v in worlds[0].act_space.items() if k != 'reset'}
    acts = {k: np.zeros((envs, *v.shape), v.dtype) for k, v in space.items()}
    reset = np.ones(envs, bool)
    while (played < share).any():
      obs = [
          env.step({'reset': reset[i], **{k: v[i] for k, v in acts.items()}})
          for i, env in enumerate(worlds)]
      for i, x in enumerate(obs):
        if played[i] < share:
          scores[i, played[i]] += x['reward']
      obs = {
          k: np.stack([x[k] for x in obs])
          for k in obs[0] if not k.startswith('log/')}
      reset = obs['is_last'].copy()
      played += reset
      carry, acts, _ = agent.policy(carry, obs, mode)
    return scores.reshape(-1)
  finally:
    for env in worlds:
      env.close()


def proportion(scores):
  """Summarises returns as a success rate with its Wilson interval."""
  wins, count = int((scores > 0).sum()), len(scores)
  return {
      'success': wins / count, 'episodes': count,
      'interval': list(progress.wilson(wins, count)),
      'score': float(scores.mean())}
