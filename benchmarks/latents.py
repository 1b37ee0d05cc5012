"""What latent states tell of the advice, beside what the agent sees now.

  python benchmarks/latents.py LOGDIR [--episodes 400] [--heldout 100]

LOGDIR is a finished run with advice, on a task with held-out layouts. Its
agent plays episodes whose advice is followed at each step (`taught` on layouts
of training, `led` on held-out ones), and held-out ones without (`alone`). Then
networks of two layers learn to name the advised actions from the states of
`taught`: from the latent states that the actor reads, and from the present
observation, which has no memory. Printed is, in JSON, the mean probability
that the actor and both networks give to the advised actions, and how often the
action before is one of them. At last the network that reads observations
plays held-out episodes itself (`imitator`).
"""

import argparse
import contextlib
import functools
import io
import json
import pathlib
import tempfile
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from lore_plugin import launch
from lore_plugin import upstream
from lore_plugin.advisor import ground
from lore_plugin.play import evaluate
from lore_plugin.play import rollout

FEATURES = 'log/record_features'
# Strengths at which advice is followed always, and never.
LED, ALONE = '50', '1e-6'
UNITS, BATCH, UPDATES, RATE, DECAY = 128, 256, 1000, 1e-3, 1e-2
# More than a cell's types, colours and states, directions, and what Crafter
# lets one carry of a kind.
CLASSES = 20

# latent, now, last (the action before, one-hot), advised and actor: a row for
# each state.
Columns = dict[str, np.ndarray]


def watched(plain: Any, base: Any) -> type:
  """Makes an agent whose policy also shows what its actor reads, [B, F]."""
  class Watched(plain(base)):

    def signals(self, inp, bdims, logits):
      if bdims == 1:
        self.shown[FEATURES] = inp
      return super().signals(inp, bdims, logits)

  return Watched


def present(obs: dict[str, Any]) -> np.ndarray:
  """Returns what the agent sees now as one vector; symbols as one-hots."""
  parts = []
  for key, value in sorted(obs.items()):
    if key.startswith(('log/', 'lore/', 'is_')) or key == 'reward':
      continue
    value = np.asarray(value)
    parts.append((
        np.eye(CLASSES)[value] if value.dtype.kind in 'iu' else value).ravel())
  return np.concatenate(parts)


def play(
    logdir: pathlib.Path, strength: str, heldout: bool,
    episodes: int) -> tuple[Columns, dict[str, Any]]:
  """Plays episodes. Returns their states, and what came of them."""
  found = upstream.check()
  flags = ['--lore.gate.beta_max', strength, '--lore.gate.tau', '-100']
  config, _ = evaluate.load_config(logdir, found, flags)
  data, _ = evaluate.load_checkpoint(logdir, found)
  rows: list[dict[str, np.ndarray]] = []
  before: dict[int, np.ndarray] = {}

  def watch(index, env, obs, acts, outs):
    last = before.get(index)
    before[index] = np.eye(agent.actions)[acts['action']]
    if not obs['is_last'] and outs['lore/valid'] and last is not None:
      rows.append({
          'latent': outs[FEATURES], 'now': present(obs), 'last': last,
          'advised': ground.foremost(outs['lore/prior']),
          'actor': outs[evaluate.LOGITS_WM]})

  quiet = contextlib.redirect_stdout(io.StringIO())
  shows = upstream.swapped(
      evaluate, observed=functools.partial(watched, evaluate.observed))
  with tempfile.TemporaryDirectory() as temp, quiet, shows:
    config, _, _ = evaluate.choose_advice(
        config, logdir, (True,), 1_000_000, temp)
    agent = evaluate.make_agent(config)
    evaluate.load_agent(agent, data, logdir)
    agent.advise_eval = True
    kwargs = {'heldout': True} if heldout else {}
    played = rollout.play(
        agent, lambda i: launch.make_env(config, i, **kwargs), episodes,
        watch=watch)
    agent.close()
  columns = {
      k: np.stack([x[k] for x in rows]).astype(np.float32) for k in rows[0]}
  return columns, outcome(played)


def outcome(played: dict[str, Any]) -> dict[str, Any]:
  """Returns the success of episodes, or their return where none is told."""
  found = rollout.proportion(played)
  if found['success'] is not None:
    return {'success': found['success'], 'interval': found['interval']}
  error = played['scores'].std() / len(played['scores']) ** 0.5
  return {'return': round(found['score'], 2), 'error': round(float(error), 2)}


class Imitator:
  """Plays by a network of the present observation, as `rollout.play` asks."""

  def __init__(self, params: list):
    self.rng = np.random.default_rng(0)
    self.probs = jax.jit(lambda x: jax.nn.softmax(network(params, x)))

  def init_policy(self, batch: int) -> tuple:
    return ()

  def policy(self, carry: Any, obs: Any, mode: str) -> tuple:
    rows = [
        present({k: v[i] for k, v in obs.items()})
        for i in range(len(obs['is_first']))]
    probs = np.asarray(self.probs(np.array(rows, np.float32)), np.float64)
    acts = np.array([
        self.rng.choice(len(x), p=x / x.sum()) for x in probs], np.int32)
    return carry, {'action': acts}, {}


def imitate(
    logdir: pathlib.Path, params: list, episodes: int) -> dict[str, Any]:
  """Returns what comes of held-out episodes that an imitator plays."""
  config, _ = evaluate.load_config(logdir, upstream.check(), [])
  config = config.update({'lore.enabled': False})
  make = functools.partial(launch.make_env, config, heldout=True)
  return outcome(rollout.play(Imitator(params), make, episodes))


def agreement(logits: Any, advised: np.ndarray) -> float:
  """Returns the mean probability of the advised actions. Shapes [N, A]."""
  return shared(jax.nn.softmax(jnp.asarray(logits), -1), advised)


def shared(probs: Any, advised: np.ndarray) -> float:
  """The same of probabilities. Shapes [N, A]."""
  return round(float((np.asarray(probs) * advised).sum(-1).mean()), 3)


def network(params: list, x: Any) -> Any:
  """Logits [N, A] of inputs [N, F], with normalised hidden layers."""
  for i, (weight, bias) in enumerate(params):
    x = x @ weight + bias
    if i < len(params) - 1:
      scale = jnp.sqrt(1e-4 + jnp.square(x).mean(-1, keepdims=True))
      x = jax.nn.silu(x / scale)
  return x


def learn(inputs: np.ndarray, advised: np.ndarray) -> list:
  """Trains a network to name advised actions. Shapes [N, F], [N, A]."""
  target = advised / advised.sum(-1, keepdims=True)
  sizes = [inputs.shape[1], UNITS, UNITS, advised.shape[1]]
  keys = jax.random.split(jax.random.PRNGKey(0), len(sizes))
  params = [
      (jax.random.normal(k, (a, b)) * a ** -0.5, jnp.zeros(b))
      for k, a, b in zip(keys, sizes[:-1], sizes[1:])]
  opt = optax.adamw(RATE, weight_decay=DECAY)

  @jax.jit
  def step(params, state, x, y):
    def loss(p):
      return -(y * jax.nn.log_softmax(network(p, x))).sum(-1).mean()
    update, state = opt.update(jax.grad(loss)(params), state, params)
    return optax.apply_updates(params, update), state

  rng, state = np.random.default_rng(0), opt.init(params)
  for _ in range(UPDATES):
    rows = rng.integers(len(inputs), size=BATCH)
    params, state = step(params, state, inputs[rows], target[rows])
  return params


def main(argv: list[str] | None = None) -> None:
  parser = argparse.ArgumentParser(
      description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
  parser.add_argument('logdir', type=pathlib.Path)
  parser.add_argument('--episodes', type=int, default=400)
  parser.add_argument('--heldout', type=int, default=100)
  args = parser.parse_args(argv)
  kinds = {
      'taught': (LED, False, args.episodes), 'led': (LED, True, args.heldout),
      'alone': (ALONE, True, args.heldout)}
  played = {k: play(args.logdir, *x) for k, x in kinds.items()}
  # Upstream forbids what is not sent to the device on purpose.
  jax.config.update('jax_transfer_guard', 'allow')
  taught = played['taught'][0]
  nets = {k: learn(taught[k], taught['advised']) for k in ('latent', 'now')}
  for kind, (states, came) in played.items():
    print(json.dumps({
        'logdir': str(args.logdir), 'episodes': kind, **came,
        'states': len(states['advised']),
        'actor': agreement(states['actor'], states['advised']),
        'last': shared(states['last'], states['advised']),
        **{k: agreement(network(net, states[k]), states['advised'])
           for k, net in nets.items()}}), flush=True)
  print(json.dumps({
      'logdir': str(args.logdir), 'episodes': 'imitator',
      **imitate(args.logdir, nets['now'], args.heldout)}), flush=True)


if __name__ == '__main__':
  main()
