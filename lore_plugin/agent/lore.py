"""The official agent, with an advisor's logits added to its own."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
import numpy as np

from . import columns
from . import head
from . import learners
from . import maths
from . import modules
from .. import errors
from ..upstream import bases
from .columns import PRIOR, TRUST, UPLIFT, VALID

f32 = jnp.float32
sg = jax.lax.stop_gradient

# The deviation below which a signal counts as constant, in its own unit.
FLOORS = {'entropy': 0.1, 'value': 0.5, 'disagreement': 0.01}
# How far a proof or a hope of 1 lowers tau. Signals are normalised to some
# deviations, so that the gate of an agent known to do much worse alone is open
# however sure it seems.
UPLIFT_TAU = 10.0
# Bracket of T in (2). Where the actor knows nothing the upper end is found,
# and there the advice of a language model, some nats, is still advice.
COLDEST, WARMEST = 0.5, 3.0
# Share of the way that T goes in one update: it averages over some twenty
# batches, each of which has advice in a part of its states only.
TEMP_RATE = 0.05
# Parameters that only learning reads: what predicts the next latent state,
# optimizers, and how much the moments have seen. A pattern of their names.
IDLE = r'dyn/prior|lore_train_|lore_moments_\w+/seen/'
# Under this name the loss hands replayed features on to `train`, by way of
# the metrics, which are all that upstream returns of it.
REPLAYED = 'lore/replayed'
# What it replaces of upstream's Agent: attributes, and methods that call it.
REPLACED = {'obs_space', 'pol'}
EXTENDED = {'policy_keys', 'policy', 'train', 'loss'}


def refuse_taken(names: Iterable[str]) -> None:
  """Refuses names of a changed Agent that would mean something else here.

  Raises:
    UpstreamError: There are some.
  """
  if names := sorted(names):
    raise errors.UpstreamError(
        f'dreamerv3.agent.Agent has {", ".join(names)} of its own, which '
        'LoRe\'s agent uses for something else. Give your changes other '
        'names, or leave lore out of --configs.')


class LoreAgent(bases.Dreamer):
  """Mixes advice into the acting policy; learning stays upstream's.

  Observations carry `lore/advice`, see `columns`: the advisor's logits,
  whether there are any, and how far they are trusted. `lore/trust` in [0, 1]
  scales beta, `lore/uplift` in [0, 1] is what advice is known to add, and
  while acting what is hoped of it, if that is more. None of this reaches the
  encoder or the decoder. The policy returns the uncertainty that the call
  policy reads and what the logger is told, packed; `train` packs its figures
  as well.
  """

  def __init__(self, obs_space, act_space, config):
    plain = {k: v for k, v in obs_space.items() if not k.startswith('lore/')}
    super().__init__(plain, act_space, config)
    theirs = dict(vars(self))
    self.obs_space = obs_space
    self.lore = config.lore
    self.actkey = head.advised_action(act_space)
    self.pol = head.AdvisedHead(self.pol, self.actkey)
    self.actions = int(act_space[self.actkey].classes)
    self.columns = columns.names(config.lore)
    self.weights = {
        k: config.lore.gate[k] for k in FLOORS if config.lore.gate[k]}
    self.moments = {k: self._make_moments(k) for k in self.weights}
    if 'disagreement' in self.weights:
      latent = int(np.prod(self.dyn.entry_space['stoch'].shape))
      self.onestep = learners.OneStep(latent, self.actions)
    if config.lore.prior.enabled:
      self.student = learners.Student(
          self.actions, config.lore.prior.confidence)
    # Where the gate never opens there is no advice to learn.
    self.distils = bool(config.lore.kl.distil and config.lore.gate.beta_max)
    if self.distils:
      # Its rate is a multiple of upstream's, which falls with size.
      self.actor_trainer = modules.Trainer(
          self.pol.head, rate=config.lore.kl.distil * config.opt.lr,
          name='lore_train_actor')
    self.dual = modules.Scalar(0.0, name='lore_dual')
    temp = config.lore.temperature
    self.temp = modules.Scalar(
        temp.value if temp.mode == 'fixed' else WARMEST, name='lore_temp')
    if config.lore.kl.schedule.mode != 'none':
      self.progress = modules.Scalar(0.0, name='lore_progress')
    mine = {k for k in vars(LoreAgent) if not k.startswith('__')} - EXTENDED
    overwritten = {k for k, v in theirs.items() if vars(self)[k] is not v}
    shadowed = {k for k in mine if k in theirs or hasattr(bases.Dreamer, k)}
    refuse_taken(overwritten - REPLACED | shadowed)

  @property
  def policy_keys(self):
    # Each array costs its way to the policy after every update, and upstream
    # sends some that acting does not read: as many as advice adds.
    idle = IDLE if self.dec.initial(1) else f'dec/|{IDLE}'
    own = 'lore_[a-z_]+'
    if 'value' in self.weights:
      own += '|val|valnorm'
    return f'^(?!{idle})(?={super().policy_keys}|^({own})/)'

  def policy(self, carry, obs, mode='train'):
    obs = columns.split(obs, self.actions, self.columns)
    outs = {}
    def mixer(inp, bdims, dist):
      nonlocal obs
      if self.lore.prior.enabled:
        obs = self.student.fill(inp, obs)
      info = self.open_gate(self.signals(inp, bdims, dist.logits), obs)
      mixed, info['beta'] = self.mix(dist.logits, info['beta'], obs)
      outs.update(self._describe(dist.logits, mixed, info, obs))
      return self.pol.replace(dist, mixed)
    with self.pol.mixing(mixer):
      carry, act, out = super().policy(carry, obs, mode)
    assert not (out.keys() & outs.keys()), (out.keys(), outs.keys())
    return carry, act, {**out, **outs}

  def train(self, carry, data):
    carry, outs, metrics = super().train(carry, data)
    # After upstream's step, and on what it leaves behind: neither its
    # gradients nor its random numbers can differ for it.
    own = dict(self._after(*metrics.pop(REPLAYED)))
    for key in [x for x in metrics if x.startswith('lore/')]:
      own[key.removeprefix('lore/')] = metrics.pop(key)
    return carry, outs, {**metrics, **columns.pack(own)}

  def _after(self, feat, prevact, obs):
    """What is done with replayed states once upstream has. Yields metrics."""
    if self.distils:
      yield 'distil', self._distil(feat, obs)
    if 'disagreement' in self.weights:
      yield 'ensemble_loss', self.onestep.train(
          self.feat2tensor, feat, prevact[self.actkey], obs['is_first'])
    if self.lore.prior.enabled:
      yield 'prior_loss', self.student.train(self.feat2tensor, feat, obs)

  def loss(self, carry, obs, prevact, training):
    obs = columns.split(obs, self.actions, self.columns)
    loss, (carry, entries, outs, metrics) = super().loss(
        carry, obs, prevact, training)
    extra, mets = self._advice_loss(outs['repfeat'], obs, training)
    metrics = {**metrics, **{f'lore/{k}': v for k, v in mets.items()}}
    if training:
      metrics[REPLAYED] = jax.tree.map(sg, (outs['repfeat'], prevact, obs))
    return loss + extra, (carry, entries, outs, metrics)

  def _make_moments(self, name):
    label = f'lore_moments_{name}'
    if name == 'entropy':
      # Entropy has an absolute scale, and starts at its upper end. Measured
      # against its own history alone, an untrained agent would look average.
      most = float(np.log(self.actions))
      return modules.Moments(
          most / 2, most / 12 ** 0.5, count=1e4, name=label)
    # The critic's spread has none: it falls by orders of magnitude when the
    # critic leaves its initialisation. The ensemble's disagreement falls as it
    # learns. They only tell states apart.
    return modules.Moments(rate=0.01, name=label)

  def open_gate(self, parts, obs):
    """Equation (3). Returns u, beta and the parts, each [...]."""
    u = maths.combine(
        {k: self._normalise(k, v) for k, v in parts.items()}, self.weights)
    gate = self.lore.gate
    # An agent known to do worse alone is not as sure as it seems.
    tau = gate.tau - UPLIFT_TAU * obs[UPLIFT]
    beta = maths.gate(u, gate.beta_max, gate.kappa, tau)
    beta *= f32(obs[VALID]) * obs[TRUST]
    return {'u': u, 'beta': beta, **parts}

  def mix(self, logits, beta, obs):
    """Equation (1). Returns the mixed logits and what is left of beta."""
    # A closed gate leaves the actor's own logits, not their sum with zeros.
    if not self.lore.gate.beta_max:
      return logits, beta
    prior = obs[PRIOR] / self.temp()
    if self.lore.kl.hard:
      beta = maths.bound(beta, logits, prior, self._scheduled('hard'))
    return maths.mix(logits, prior, beta), beta

  def _scheduled(self, name):
    """Returns a bound of `lore.kl` in nats as the schedule has it now."""
    value, sched = self.lore.kl[name], self.lore.kl.schedule
    if sched.mode == 'none':
      return value
    return value * maths.schedule(self.progress(), 1.0, sched.end)

  def signals(self, inp, bdims, logits):
    """The signals of equation (3), each in its own unit. Shape [...], f32."""
    parts = {}
    if 'entropy' in self.weights:
      parts['entropy'] = maths.entropy(logits)
    if 'value' in self.weights:
      value = self.val(inp, bdims)
      parts['value'] = maths.value_spread(value.probs, value.bins)
    if 'disagreement' in self.weights:
      parts['disagreement'] = self.onestep.disagreement(inp, logits)
    return jax.tree.map(sg, parts)

  def _distil(self, feat, obs):
    """Draws the actor to advice, as far as it is proven. Shapes [B, T, ...].

    Towards the advice itself. The mixed policy would be a target that runs
    ahead of the actor, ever sharper and soon sharp about the wrong action. By
    an optimizer of its own: upstream's divides by the size of gradients, so
    that no weight in its loss makes it learn faster. Where nothing is proven
    no step is taken. From all states: from one of four the agent learns less.
    """
    inp = sg(self.feat2tensor(feat))
    advice = self.lore.gate.beta_max * obs[PRIOR] / self.temp()
    weight = f32(obs[VALID]) * obs[UPLIFT]
    def lossfn():
      logits = self.pol(inp, 2)[self.actkey].logits
      return maths.distil(advice, logits, weight)
    return self.actor_trainer(lossfn, modules.pmean(weight.mean()) > 0)

  def _normalise(self, name, value):
    return maths.normalise(value, *self.moments[name].stats(), FLOORS[name])

  def _describe(self, logits, mixed, info, obs):
    """What the logger, the replay and the call policy are told, packed."""
    advised = f32(obs[VALID]) * f32(self.lore.gate.beta_max > 0)
    beta = info['beta']
    ones = jnp.ones_like(beta)
    learned = columns.FILLED in obs
    filled = (
        f32(obs[columns.FILLED]) * advised if learned else 0 * advised)
    logs = {
        'src_wm': 1 - advised,
        'src_llm': advised - filled,
        'src_rand': jnp.zeros_like(advised),
        'prob_max': jax.nn.softmax(mixed, -1).max(-1),
        'entropy_mix': maths.entropy(mixed),
        'entropy_wm': maths.entropy(logits),
        'kl': maths.kl(mixed, logits),
        'beta': beta,
        'ceiling': f32(beta > 0.95 * self.lore.gate.beta_max) * advised,
        'lambda': ones * self.dual(),
        'temperature': ones * self.temp(),
        'trust': obs[TRUST],
        'u': info['u'],
        **{f'u_{k}': info[k] for k in self.weights},
    }
    if learned:
      logs['src_net'] = filled
      logs['sure'] = obs[columns.SURE]
    return columns.pack(logs)

  def _advice_loss(self, repfeat, obs, training):
    """Equations (2), (4) and (5) on replayed states. Shape of features [B, T].

    Features get no gradient: the penalty moves the actor, not the world model.
    """
    repfeat, obs = learners.sparse((repfeat, obs))
    inp = sg(self.feat2tensor(repfeat))
    prior, valid = obs[PRIOR], obs[VALID]
    logits = self.pol(inp, 2)[self.actkey].logits
    parts = self.signals(inp, 2, logits)
    if training:
      for name, value in parts.items():
        self.moments[name].update(value)
      self._update_progress(obs)
    info = self.open_gate(parts, obs)
    if training:
      self._update_temp(logits, prior, valid)
    mixed, info['beta'] = self.mix(logits, info['beta'], obs)
    divergence = maths.kl(mixed, logits)
    mean = modules.pmean(maths.masked_mean(divergence, valid))
    kl, loss = self.lore.kl, 0.0
    target = self._scheduled('target')
    if kl.penalty:
      loss = maths.kl_penalty(
          divergence, self.dual(), target, f32(valid) * obs[TRUST])
    metrics = {
        'kl': mean, 'kl_penalty': f32(loss), 'lambda': self.dual(),
        'temperature': self.temp(), 'advised': f32(valid).mean(),
        'beta': maths.masked_mean(info['beta'], valid),
        **{f'u_{k}': info[k].mean() for k in self.weights},
        **{f'u_{k}_mean': self.moments[k].stats()[0] for k in self.weights},
        **{f'u_{k}_std': self.moments[k].stats()[1] for k in self.weights},
    }
    if training and kl.penalty:
      anywhere = modules.pmean(f32(valid).mean()) > 0
      self.dual.set(
          maths.update_dual(self.dual(), mean, target, kl.lr), anywhere)
    return loss, jax.tree.map(sg, metrics)

  def _update_progress(self, obs):
    """Moves the schedule by one update."""
    sched = self.lore.kl.schedule
    if sched.mode == 'steps':
      self.progress.set(self.progress() + 1 / sched.over)
    elif sched.mode == 'success':
      alone = modules.pmean(obs[columns.ALONE].mean())
      self.progress.set(
          self.progress() + (alone - self.progress()) / sched.over)

  def _update_temp(self, logits, prior, valid):
    """Equation (2), smoothed over updates."""
    if self.lore.temperature.mode == 'fixed':
      return
    found = modules.pmean(maths.match_temperature(
        logits, prior, valid, COLDEST, WARMEST))
    smooth = self.temp() + TEMP_RATE * (found - self.temp())
    self.temp.set(smooth, modules.pmean(f32(valid).mean()) > 0)
