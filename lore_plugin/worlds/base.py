"""What a world is: the bridge between an environment and words."""

import abc
import dataclasses
from typing import Any

from ..advisor.types import Description, Option


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
  """What an advisor is asked. Whoever asks the same gets the same reply.

  Attributes:
    mission: The task in words, as far as it is still to be done.
    facts: What is known, in one to a few sentences, without geometry.
    choices: What can be done now, in words; distinct, in a fixed order.
  """
  mission: str
  facts: str
  choices: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Situation:
  """One step as a world sees it.

  Attributes:
    question: What can be asked here.
    skills: For each choice the actions that begin a shortest known way to
      it; as many entries as choices.
    events: What the last step brought about: 'key taken'. No part of the
      question.
  """
  question: Question
  skills: tuple[tuple[int, ...], ...] = ()
  events: tuple[str, ...] = ()


class World(abc.ABC):
  """Remembers an episode and says what is known and what can be done.

  A world sees what the agent sees and has seen in this episode, and the
  agent's own actions; never the simulator's hidden state. Its words are
  canonical: what differs in nothing that matters has the same words.

  Attributes:
    version: Name and version; changes whenever the words change, since
      replies are stored by them.
    actions: The word for each action; A entries. '' marks an action that is
      never advised.
    pictures: Whether the facts of its questions are pictures, which only some
      providers can see; see `advisor.pictures`.
    room: Bytes that a situation of it may take, where that is more than
      `lore.text_bytes`.
    manual: What an advisor should know, for models that follow instructions:
      how the world works, what to do first; '' is a general text. With the
      examples it is the world's prompt, and part of its words.
    examples: Worked examples, each a question and the choice that is right
      there, for all models; none are general ones.

  Args:
    env: The environment, for what does not change: its action space, which
      kind of task it is. Never for where things are.
    task: The task's name.
  """

  version = ''
  actions: tuple[str, ...] = ()
  pictures = False
  room = 0
  manual = ''
  examples: tuple[tuple[Question, str], ...] = ()

  def __init__(self, env: Any, task: str):
    self.env = env
    self.task = task

  @abc.abstractmethod
  def reset(self) -> None:
    """Forgets the episode."""

  @abc.abstractmethod
  def observe(
      self, obs: dict[str, Any], action: int | None = None) -> Situation:
    """Takes in one step.

    Args:
      obs: What the agent sees now.
      action: The action that led here; None after a reset.
    """


def describe(
    situation: Situation, world: World, steps: bool = False) -> Description:
  """Returns a situation in the form in which it travels to the advisor.

  Args:
    situation: What the world says.
    world: The world, for its actions and version.
    steps: Whether to say how each choice begins, for an advisor that is asked
      for the next action; the same situation otherwise tells no geometry.
  """
  question = situation.question
  facts = question.facts
  if steps:
    ways = [
        f'To {choice}: {" or ".join(world.actions[x] for x in skill)}.'
        for choice, skill in zip(question.choices, situation.skills) if skill]
    facts = ' '.join([facts, *ways])
  options = tuple(
      Option(*x) for x in zip(question.choices, situation.skills))
  return Description(
      facts, question.mission, tuple(world.actions), options,
      situation.events, world.version)
