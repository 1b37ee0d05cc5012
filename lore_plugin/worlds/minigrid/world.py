"""MiniGrid and BabyAI as a world: memory, questions and skills."""

from typing import Any

from ... import errors
from ..base import Question, Situation, World
from . import memory as memorylib
from . import mission as missionlib
from . import words

ACTIONS = (
    'turn left', 'turn right', 'move forward', 'pick up', 'drop', 'toggle')


class MiniGridWorld(World):
  """Remembers what MiniGrid's view showed: `image`, `direction`, `mission`.

  Success is what the task rewards: the end of the mission.
  """

  version = 'minigrid-3'

  def __init__(self, env: Any, task: str):
    super().__init__(env, task)
    kinds = {x.__name__ for x in type(env).__mro__}
    if 'MiniGridEnv' not in kinds:
      raise errors.ConfigError(
          f'The world minigrid cannot read the task {task!r}. Set '
          f'--lore.world auto, or a task of the minigrid suite.')
    self.length = int(env.action_space.n)
    self.moving = 'DynamicObstaclesEnv' in kinds
    # Only these two are over by the action 'done', where they reward it.
    self.asks_done = bool(kinds & {'GoToDoorEnv', 'GoToObjectEnv'})
    done = 'say done' if self.asks_done else ''
    actions = (*ACTIONS, done, *[''] * self.length)
    self.actions = actions[:self.length]
    self.reset()

  def reset(self) -> None:
    self.memory = memorylib.Memory(self.moving)
    self.mission: str | None = None
    self.left: tuple[missionlib.Clause, ...] = ()

  def observe(
      self, obs: dict[str, Any], action: int | None = None) -> Situation:
    memory = self.memory
    held = memory.carried
    memory.update(obs['image'], obs['direction'], action)
    if obs['mission'] != self.mission:
      self.mission = obs['mission']
      self.left = missionlib.parse(self.mission)
    elif action is not None and len(self.left) > 1 and self.left[0].done(
        memory, action, held):
      self.left = self.left[1:]
    clause = self.left[0] if self.left else None
    scene = words.Scene(memory, clause, obs['mission'], self.asks_done)
    options = {
        name: actions for name, actions in scene.options.items()
        if all(x < self.length and self.actions[x] for x in actions)}
    if not options:
      options = {'wait': (memorylib.LEFT,)}
    question = Question(
        scene.mission, scene.text(), tuple(sorted(options)))
    skills = tuple(options[x] for x in question.choices)
    return Situation(question, skills, memory.events)
