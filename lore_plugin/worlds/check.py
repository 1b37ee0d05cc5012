"""The conformance test of worlds."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..advisor.types import Description
from . import base


def check_world(
    world: base.World, env: Any, seeds: Iterable[int] = range(3),
    steps: int = 200, size: int = 2048,
    other: Callable[[int, list[int]], tuple[base.World, Any]] | None = None,
) -> list[list[base.Situation]]:
  """Asserts that a world keeps the interface's promises, over episodes.

  It must leave its input alone, be a function of the observations and actions
  since the last reset, offer distinct choices that begin with legal,
  advisable actions, say the same about what it can't see, and fit into `size`
  bytes.

  Args:
    world: The world.
    env: An environment of its task whose `reset(seed=...)` returns an
      observation and an info, and whose `step(action)` returns five values,
      as Gymnasium's do. The world sees an observation that is no dict as the
      entry `obs` of one.
    seeds: Seeds of the episodes.
    steps: Steps of each episode at most.
    size: Bytes that a situation may take on its way to the advisor.
    other: other(seed, actions) returns a world of another environment, and
      that environment, whose episode differs only in what these actions
      never show; None leaves that promise unchecked.

  Returns:
    The situations of all episodes, one list each.

  Raises:
    AssertionError: A promise is broken; carries the evidence.
  """
  assert world.version, 'A world needs a version.'
  assert any(world.actions), world.actions
  found = []
  for seed in seeds:
    rng = np.random.default_rng(seed)
    path, actions = _play(world, env, seed, steps, size, rng)
    found.append([situation for _, situation in path])
    world.reset()
    for at, (obs, situation) in enumerate(path):
      action = actions[at - 1] if at else None
      again = world.observe(copy.deepcopy(obs), action)
      assert again == situation, (
          'not the same after a reset', seed, at, situation, again)
    if other is not None:
      twin, _ = _play(*other(seed, actions), seed, steps, size, actions)
      for at, ((_, mine), (_, theirs)) in enumerate(zip(path, twin)):
        assert mine == theirs, (
            'told something hidden', seed, at, mine, theirs)
  return found


def _play(world, env, seed, steps, size, choose):
  """Plays an episode: pairs of observation and situation, and the actions.

  Args:
    choose: A random generator, or the actions to take.
  """
  drawn = isinstance(choose, np.random.Generator)
  world.reset()
  obs = _named(env.reset(seed=seed)[0])
  path, actions, action, over = [], [], None, False
  while True:
    before = copy.deepcopy(obs)
    situation = world.observe(obs, action)
    assert repr(obs) == repr(before), ('input changed', before, obs)
    _check(situation, world, size)
    path.append((before, situation))
    if over or len(actions) == (steps if drawn else len(choose)):
      return path, actions
    action = _act(situation, world, choose) if drawn else choose[len(actions)]
    actions.append(action)
    obs, _, ended, cut, _ = env.step(action)
    obs, over = _named(obs), ended or cut


def _named(obs):
  """Returns an observation as in training: without names it is `obs`."""
  return obs if isinstance(obs, dict) else {'obs': obs}


def _act(situation, world, rng):
  """Follows a random choice mostly, so that an episode goes somewhere."""
  skills = [x for x in situation.skills if x]
  if skills and rng.random() < 0.8:
    return int(rng.choice(skills[rng.integers(len(skills))]))
  return int(rng.choice([i for i, x in enumerate(world.actions) if x]))


def _check(situation, world, size):
  """Asserts what holds for each situation on its own."""
  assert isinstance(situation, base.Situation), type(situation)
  question = situation.question
  assert question.mission is not None and question.facts, question
  assert question.facts.isprintable(), repr(question.facts)
  choices = question.choices
  assert all(choices) and len(set(choices)) == len(choices), choices
  assert len(situation.skills) == len(choices), situation
  for skill in situation.skills:
    assert len(set(skill)) == len(skill), skill
    for action in skill:
      assert 0 <= action < len(world.actions), (action, world.actions)
      assert world.actions[action], ('never to be advised', action)
  data = base.describe(situation, world)
  assert Description.decode(data.encode(size)) == data, data


def pursue(
    world: base.World, env: Any, seed: int,
    choose: Callable[[base.Situation], str], steps: int = 200,
    patience: int = 50,
) -> list[tuple[str, base.Situation, base.Situation, bool]]:
  """Pursues choices to their ends, to see whether their names are true.

  A choice ends when it is not offered any more, or with the episode.

  Args:
    world: The world.
    env: As in `check_world`.
    seed: Seed of the episode.
    choose: choose(situation) names what is pursued next.
    steps: Actions at most.
    patience: Actions after which a choice without end is given up.

  Returns:
    A list of (choice, situation before its last action, situation after it,
    whether the episode terminated).
  """
  world.reset()
  ends, name = [], None
  situation = world.observe(_named(env.reset(seed=seed)[0]))
  for _ in range(steps):
    if name is None:
      name, spent = choose(situation), 0
    skill = situation.skills[situation.question.choices.index(name)]
    obs, _, ended, cut, _ = env.step(skill[0])
    spent += 1
    before, situation = situation, world.observe(
        _named(obs), skill[0])
    if (ended or cut or name not in situation.question.choices or
        spent == patience):
      ends.append((name, before, situation, ended))
      name = None
    if ended or cut:
      break
  return ends
