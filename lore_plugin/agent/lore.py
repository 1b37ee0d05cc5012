"""The official agent, with an advisor's logits added to its own."""

import contextlib
import threading

import dreamerv3.agent
import elements
import embodied.jax
import jax
import jax.numpy as jnp
import ninjax as nj
import numpy as np

from .. import errors
from . import maths
from . import modules

f32 = jnp.float32
sg = jax.lax.stop_gradient

PRIOR, VALID = 'lore/prior', 'lore/valid'
TRUST, UPLIFT = 'lore/trust', 'lore/uplift'
# Observed only with hysteresis: 1 if the gate was open one step before, -1 if
# it was shut, 0 at the first step.
OPEN = 'lore/open'
# Observed only if the KL schedule follows it: how well the agent does alone,
# as a share of the range of returns, in [0, 1].
ALONE = 'lore/alone'
# All of these in one array, the logits first: each array costs its way to the
# device.
ADVICE = 'lore/advice'
# Within the agent only: whether the advice is learned.
FILLED = 'lore/filled'
# How sure the prior network is of the advice in a state.
SURE = 'lore/sure'
VALUE = 'lore/value'
# Numbers of one shape in one array: each array costs its way off the device.
PACKED = 'lore/packed/'
# The deviation below which a signal counts as constant, in its own unit.
FLOORS = {'entropy': 0.1, 'value': 0.5, 'disagreement': 0.01}
# Numbers that stand for the next latent state where it is predicted.
SKETCH = 16
# Steps of a replayed sequence of which one is looked at where only averages
# count: neighbours resemble each other, and every state comes by again.
SPARSE = 4
# Parameters that only learning reads: what predicts the next latent state,
# optimizers, and how much the moments have seen. A pattern of their names.
IDLE = r'dyn/prior|lore_train_|lore_moments_\w+/seen/'
# Under this name the loss hands replayed features on to `train`, by way of
# the metrics, which are all that upstream returns of it.
REPLAYED = 'lore/replayed'


class LoreAgent(dreamerv3.agent.Agent):
  """Mixes advice into the acting policy; learning stays upstream's.

  Observations carry `lore/advice`, see `join`: the advisor's logits, whether
  there are any, and how far they are trusted. `lore/trust` in [0, 1] scales
  beta, `lore/uplift` in [0, 1] is what advice has been shown to add. None of
  this reaches the encoder or the decoder. The policy returns the uncertainty
  that the call policy reads and what the logger is told, packed; `train` packs
  its figures as well. See `unpack`.
  """

  def __init__(self, obs_space, act_space, config):
    plain = {k: v for k, v in obs_space.items() if not k.startswith('lore/')}
    super().__init__(plain, act_space, config)
    self.obs_space = obs_space
    self.lore = config.lore
    self.actkey = advised_action(act_space)
    self.pol = AdvisedHead(self.pol, self.actkey)
    self.actions = int(act_space[self.actkey].classes)
    self.columns = columns(config.lore)
    names = [k for k in FLOORS if config.lore.gate[k]]
    self.weights = {k: config.lore.gate[k] for k in names}
    self.moments = {k: self._make_moments(k) for k in names}
    if 'disagreement' in names:
      latent = int(np.prod(self.dyn.entry_space['stoch'].shape))
      # Random sums of what is predicted have the variance of it all, and are
      # as quick to predict as they are few. Always the same ones.
      self.sketch = np.float32(np.random.default_rng(0).normal(
          size=(latent, SKETCH)) / latent ** 0.5)
      self.ensemble = modules.Ensemble(
          SKETCH, members=config.lore.gate.ensemble, name='lore_ensemble')
      self.ensemble_trainer = modules.Trainer(
          self.ensemble, name='lore_train_ensemble')
    if config.lore.prior.enabled:
      self.student = modules.Ensemble(self.actions, name='lore_prior')
      self.student_trainer = modules.Trainer(
          self.student, name='lore_train_prior')
    # Where the gate never opens there is no advice to learn.
    self.distils = bool(config.lore.kl.distil and config.lore.gate.beta_max)
    if self.distils:
      # Its rate is a multiple of upstream's, which falls with size.
      self.actor_trainer = modules.Trainer(
          self.pol.head, rate=config.lore.kl.distil * config.opt.lr,
          name='lore_train_actor')
    self.dual = modules.Scalar(config.lore.kl.init, name='lore_dual')
    temp = config.lore.temperature
    init = temp.value if temp.mode == 'fixed' else temp.high
    self.temp = modules.Scalar(init, name='lore_temp')
    if config.lore.gate.warmup:
      self.updates = modules.Scalar(0.0, name='lore_updates')
    if config.lore.kl.schedule.mode != 'none':
      self.progress = modules.Scalar(0.0, name='lore_progress')

  @property
  def policy_keys(self):
    # Each array costs its way to the policy after every update, and upstream
    # sends some that acting does not read: as many as advice adds.
    idle = IDLE if self.dec.initial(1) else f'dec/|{IDLE}'
    own = 'lore_[a-z_]+'
    if 'value' in self.weights or self.lore.advisor.policy.min_td > 0:
      own += '|val|valnorm'
    return f'^(?!{idle})(?={super().policy_keys}|^({own})/)'

  def policy(self, carry, obs, mode='train'):
    obs = self._split(obs)
    outs = {}
    def mixer(inp, bdims, dist):
      nonlocal obs
      obs = self._fill(inp, obs)
      info = self._gate(self._parts(inp, bdims, dist.logits), obs)
      if self.lore.gate.dropout:
        keep = jax.random.bernoulli(
            nj.seed(), 1 - self.lore.gate.dropout, info['beta'].shape)
        info['beta'] *= keep
      mixed, info['beta'] = self._mix(dist.logits, info['beta'], obs)
      outs.update(self._describe(dist.logits, mixed, info, obs))
      if self.lore.advisor.policy.min_td > 0:
        outs[VALUE] = self._value(inp, bdims)
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
    return carry, outs, {**metrics, **pack(own)}

  def _after(self, feat, prevact, obs):
    """What is done with replayed states once upstream has. Yields metrics."""
    if self.distils:
      yield 'distil', self._distil(feat, obs)
    if 'disagreement' in self.weights:
      yield 'ensemble_loss', self._train_ensemble(
          feat, prevact[self.actkey], obs['is_first'])
    if self.lore.prior.enabled:
      yield 'prior_loss', self._train_student(feat, obs)
    if self.lore.trust.imagined:
      mean, error = self._imagined(feat, obs)
      yield 'imagined', mean
      yield 'imagined_error', error

  def loss(self, carry, obs, prevact, training):
    obs = self._split(obs)
    with self._advised_imagination(obs):
      loss, (carry, entries, outs, metrics) = super().loss(
          carry, obs, prevact, training)
    extra, mets = self._advice_loss(outs['repfeat'], obs, training)
    metrics = {**metrics, **{f'lore/{k}': v for k, v in mets.items()}}
    if training:
      metrics[REPLAYED] = jax.tree.map(sg, (outs['repfeat'], prevact, obs))
    return loss + extra, (carry, entries, outs, metrics)

  def _split(self, obs):
    """Names what `join` put together."""
    obs = dict(obs)
    advice = obs.pop(ADVICE)
    obs[PRIOR] = advice[..., :self.actions]
    for i, name in enumerate(self.columns):
      obs[name] = advice[..., self.actions + i]
    obs[VALID] = obs[VALID] > 0
    return obs

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

  def _gate(self, parts, obs):
    """Equation (3). Returns u, tau, beta and the parts, each [...]."""
    u = maths.combine(
        {k: self._normalise(k, v) for k, v in parts.items()}, self.weights)
    gate = self.lore.gate
    # An agent known to do worse alone is not as sure as it seems.
    tau = gate.tau - gate.uplift * obs[UPLIFT]
    if gate.hysteresis:
      tau -= gate.hysteresis * obs[OPEN]
    beta = maths.gate(u, gate.beta_max, gate.kappa, tau)
    beta *= f32(obs[VALID]) * obs[TRUST]
    if gate.warmup:
      beta *= jnp.minimum(self.updates() / gate.warmup, 1)
    if self.lore.kl.damp:
      beta = maths.damp(beta, self.dual(), self.lore.kl.damp)
    return {'u': u, 'tau': tau, 'beta': beta, **parts}

  def _mix(self, logits, beta, obs):
    """Equation (1). Returns the mixed logits and what is left of beta."""
    # A closed gate leaves the actor's own logits, not their sum with zeros.
    if not self.lore.gate.beta_max:
      return logits, beta
    prior = obs[PRIOR] / self.temp()
    if self.lore.gate.ceiling:
      beta = maths.cap(beta, prior, self.lore.gate.ceiling)
    if self.lore.kl.hard:
      beta = maths.bound(beta, logits, prior, self._scheduled('hard'))
    return maths.mix(logits, prior, beta), beta

  def _scheduled(self, name):
    """Returns a bound of `lore.kl` in nats as the schedule has it now."""
    value, sched = self.lore.kl[name], self.lore.kl.schedule
    if sched.mode == 'none':
      return value
    return value * maths.schedule(self.progress(), sched.start, sched.end)

  def _parts(self, inp, bdims, logits):
    """The signals of equation (3), each in its own unit. Shape [...], f32."""
    parts = {}
    if 'entropy' in self.weights:
      parts['entropy'] = maths.entropy(logits)
    if 'value' in self.weights:
      value = self.val(inp, bdims)
      parts['value'] = maths.value_spread(value.probs, value.bins)
    if 'disagreement' in self.weights:
      # One row for each action, before the axes of the batch are known.
      preds = self.ensemble(inp[..., None, :], jnp.eye(self.actions))
      parts['disagreement'] = maths.disagreement(
          preds, jax.nn.softmax(logits, -1))
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

  def _train_ensemble(self, feat, prevact, reset):
    """Learns to tell the next latent state from this one and the action.

    The target is the probability of each class of the next stochastic latent:
    between 0 and 1, so that its scale stays while the world model changes,
    which the recurrent state's does not, and free of sampling noise. Shapes
    [B, T, ...].
    """
    now = jax.tree.map(lambda x: x[:, :-1:SPARSE], feat)
    after = jax.tree.map(lambda x: x[:, 1::SPARSE], (feat, prevact, reset))
    feat, prevact, reset = after
    target = jax.nn.softmax(f32(feat['logit']), -1)
    target = target.reshape((*reset.shape, -1)) @ self.sketch
    return self.ensemble_trainer(lambda: self.ensemble.error(
        self.feat2tensor(now), target, f32(~reset),
        jax.nn.one_hot(prevact, self.actions)))

  def _train_student(self, feat, obs):
    """Learns the advisor's logits from latent states. Shapes [B, T, ...]."""
    feat, prior, valid = sparse((feat, obs[PRIOR], obs[VALID]))
    return self.student_trainer(lambda: self.student.error(
        self.feat2tensor(feat), prior, f32(valid)))

  def _fill(self, inp, obs):
    """Adds learned advice where there is none and the student is sure."""
    if not self.lore.prior.enabled:
      return obs
    prior, sure = maths.confidence(self.student(inp))
    filled = ~obs[VALID] & (obs[TRUST] > 0) & (
        sure >= self.lore.prior.confidence)
    return {
        **obs, PRIOR: jnp.where(filled[..., None], prior, obs[PRIOR]),
        VALID: obs[VALID] | filled, FILLED: filled, SURE: sure}

  @contextlib.contextmanager
  def _advised_imagination(self, obs):
    """Lets learned advice into imagination, if asked to."""
    if not self.lore.imagination.beta:
      yield
      return
    def mixer(inp, bdims, dist):
      # No state is like another there: trust and proof are those of now.
      shape = inp.shape[:bdims]
      state = {k: jnp.full(shape, obs[k].mean()) for k in (TRUST, UPLIFT)}
      state[OPEN] = jnp.zeros(shape)
      state[VALID] = jnp.zeros(shape, bool)
      state[PRIOR] = jnp.zeros((*shape, self.actions))
      state = self._fill(sg(inp), state)
      info = self._gate(self._parts(inp, bdims, dist.logits), state)
      share = self.lore.imagination.beta / max(self.lore.gate.beta_max, 1e-9)
      mixed, _ = self._mix(dist.logits, share * info['beta'], state)
      return self.pol.replace(dist, mixed)
    with self.pol.mixing(mixer):
      yield

  def _imagined(self, feat, obs):
    """What the critic thinks of the advice in the last state of each sequence.

    One step of every action is imagined. Features [B, T, ...].
    """
    feat, obs = jax.tree.map(lambda x: x[:, -1], (feat, obs))
    count = len(obs[VALID])
    start = jax.tree.map(
        lambda x: jnp.repeat(x, self.actions, 0),
        {k: feat[k] for k in self.dyn.entry_space})
    action = {self.actkey: jnp.tile(jnp.arange(self.actions), count)}
    _, (after, _) = self.dyn.imagine(start, action, 1, False, single=True)
    inp = self.feat2tensor(after)
    # Upstream's continuation holds the discount, if told to.
    left = self.con(inp, 1).prob(1)
    left *= 1 if self.config.contdisc else 1 - 1 / self.config.horizon
    q = self.rew(inp, 1).pred() + left * self._value(inp, 1)
    inp = self.feat2tensor(feat)
    logits = self.pol(inp, 1)[self.actkey].logits
    # As if it were trusted: what little is followed says little.
    obs = {**obs, TRUST: jnp.ones(count)}
    info = self._gate(self._parts(inp, 1, logits), obs)
    mixed, _ = self._mix(logits, info['beta'], obs)
    return maths.advantage(
        q.reshape((count, self.actions)), mixed, logits, obs[VALID])

  def _value(self, inp, bdims):
    """What the critic expects, in units of reward. Shape [...], f32."""
    offset, scale = self.valnorm.stats()
    return self.val(inp, bdims).pred() * scale + offset

  def _normalise(self, name, value):
    return maths.normalise(value, *self.moments[name].stats(), FLOORS[name])

  def _describe(self, logits, mixed, info, obs):
    """What the logger, the replay and the call policy are told, packed."""
    advised = f32(obs[VALID]) * f32(self.lore.gate.beta_max > 0)
    beta = info['beta']
    ones = jnp.ones_like(beta)
    filled = f32(obs[FILLED]) * advised if FILLED in obs else 0 * advised
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
    if FILLED in obs:
      logs['src_net'] = filled
      logs['sure'] = obs[SURE]
    outs = pack(logs)
    if self.lore.gate.hysteresis:
      outs[OPEN] = jnp.where(info['u'] > info['tau'], f32(1), f32(-1))
    return outs

  def _advice_loss(self, repfeat, obs, training):
    """Equations (2), (4) and (5) on replayed states. Shape of features [B, T].

    Features get no gradient: the penalty moves the actor, not the world model.
    """
    repfeat, obs = sparse((repfeat, obs))
    inp = sg(self.feat2tensor(repfeat))
    prior, valid = obs[PRIOR], obs[VALID]
    logits = self.pol(inp, 2)[self.actkey].logits
    parts = self._parts(inp, 2, logits)
    if training:
      for name, value in parts.items():
        self.moments[name].update(value)
      self._update_progress(logits, obs)
    info = self._gate(parts, obs)
    if training:
      self._update_temp(logits, prior, info['beta'], valid)
    mixed, info['beta'] = self._mix(logits, info['beta'], obs)
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
    if training and (kl.penalty or kl.damp):
      anywhere = modules.pmean(f32(valid).mean()) > 0
      self.dual.set(
          maths.update_dual(self.dual(), mean, target, kl.lr), anywhere)
    return loss, jax.tree.map(sg, metrics)

  def _update_progress(self, logits, obs):
    """Counts updates, and moves the schedule. Actor logits [B, T, A]."""
    sched = self.lore.kl.schedule
    if self.lore.gate.warmup:
      self.updates.set(self.updates() + 1)
    if sched.mode == 'steps':
      self.progress.set(self.progress() + 1 / sched.over)
    elif sched.mode == 'uncertainty':
      left = modules.pmean(maths.entropy(logits).mean() / np.log(self.actions))
      self.progress.set(
          self.progress() + (1 - left - self.progress()) / sched.over)
    elif sched.mode == 'success':
      alone = modules.pmean(obs[ALONE].mean())
      self.progress.set(
          self.progress() + (alone - self.progress()) / sched.over)

  def _update_temp(self, logits, prior, beta, valid):
    temp = self.lore.temperature
    ends = temp.low, temp.high
    if temp.mode == 'fixed':
      return
    if temp.mode == 'match':
      found = maths.match_temperature(logits, prior, valid, *ends)
    elif temp.mode == 'scale':
      found = maths.scale_temperature(logits, prior, valid, *ends)
    else:
      found = maths.target_temperature(
          logits, prior, beta, valid, self._scheduled('target'), *ends)
    smooth = self.temp() + temp.rate * (modules.pmean(found) - self.temp())
    self.temp.set(smooth, modules.pmean(f32(valid).mean()) > 0)


class AdvisedHead:
  """Stands in for the policy head and mixes advice in while asked to.

  Upstream calls its head in one place per function, out of our reach. Whether
  a mixing context is open is known while jax traces, so it costs nothing at
  run time. Threads trace independently: upstream's parallel script compiles
  its policy while the learner compiles its loss.
  """

  def __init__(self, head, key):
    self.head = head
    self.key = key
    self.local = threading.local()

  def __call__(self, inp, bdims):
    dists = self.head(inp, bdims)
    mixer = getattr(self.local, 'mixer', None)
    if mixer is None:
      return dists
    return {**dists, self.key: mixer(inp, bdims, dists[self.key])}

  def __getattr__(self, name):
    return getattr(self.__dict__['head'], name)

  @contextlib.contextmanager
  def mixing(self, mixer):
    """Applies mixer(inp, bdims, dist) -> dist to the advised action."""
    self.local.mixer = mixer
    try:
      yield
    finally:
      self.local.mixer = None

  @staticmethod
  def replace(dist, logits):
    """Returns the distribution with other logits."""
    result = embodied.jax.outs.Categorical(logits)
    result.minent, result.maxent = dist.minent, dist.maxent
    return result


def sparse(tree):
  """Returns one of `SPARSE` steps of replayed sequences, [B, T, ...]."""
  return jax.tree.map(lambda x: x[:, ::SPARSE], tree)


def columns(lore):
  """Names what stands behind the logits in what the agent observes.

  Args:
    lore: The section `lore` of the configuration.
  """
  names = [VALID, TRUST, UPLIFT]
  if lore.gate.hysteresis:
    names.append(OPEN)
  if lore.kl.schedule.mode == 'success':
    names.append(ALONE)
  return tuple(names)


def spaces(actions, lore):
  """Returns what the agent observes besides the environment.

  Args:
    actions: Number of actions A.
    lore: The section `lore` of the configuration.
  """
  return {ADVICE: elements.Space(np.float32, actions + len(columns(lore)))}


def join(advice, names):
  """Puts advice into the one array that the agent observes.

  Args:
    advice: Under `lore/prior` the advisor's logits, mean 0, of shape [..., A],
      f32; under each name numbers or bools of shape [...], or one for all.
    names: What stands behind the logits, see `columns`; N of them.

  Returns:
    Array of shape [..., A + N], f32.
  """
  prior = advice[PRIOR]
  rest = [np.full(prior.shape[:-1], advice[k], np.float32) for k in names]
  return np.concatenate([prior, np.stack(rest, -1)], -1)


def pack(values):
  """Returns numbers of one shape as one array under a name that tells them."""
  return {PACKED + ','.join(values): jnp.stack(
      [f32(x) for x in values.values()], -1)}


def unpack(outs, prefix):
  """Takes apart what `pack` put together, on the host.

  Args:
    outs: What the agent returned, from the policy or from training.
    prefix: Stands before the names of what was packed.

  Returns:
    The same, but with the numbers one by one, each of the shape it had, f32.
  """
  result = {}
  for key, value in outs.items():
    if key.startswith(PACKED):
      names = key.removeprefix(PACKED).split(',')
      columns = np.ascontiguousarray(value.T)
      result.update({prefix + k: v for k, v in zip(names, columns)})
    else:
      result[key] = value
  return result


def advised_action(act_space):
  """Returns the name of the one discrete action that can be advised.

  Raises:
    EnvError: If there is none, or more than one.
  """
  keys = [
      k for k, v in act_space.items()
      if k != 'reset' and v.discrete and v.shape == ()]
  others = [k for k in act_space if k != 'reset' and k not in keys]
  if len(keys) != 1 or others:
    found = ', '.join(f'{k}: {v}' for k, v in act_space.items()
                      if k != 'reset')
    raise errors.EnvError(
        'LoRe advises exactly one discrete action of shape (), but this '
        f'task has {{{found}}}. Choose a task with a discrete action space, '
        'or leave lore out of --configs.')
  return keys[0]
