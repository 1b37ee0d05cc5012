"""What models behind a server have in common: forms, booking, lessons.

A provider says how a request looks and what an answer means. Here it is asked
in the best form that the server takes, what it cost is booked, and what comes
back without scores teaches the `Manners` of the server.
"""

import abc
import dataclasses
import importlib
import json
import re
import threading
import time
from collections.abc import Mapping
from typing import Any, ClassVar

from ... import errors
from ... import secrets
from .. import prompts
from .. import types
from . import calls
from . import costs
from . import forms
from . import http
from . import manners
from . import prices

ROOM = 4096  # Tokens for a model that can't answer without reasoning.


class Hosted(types.Provider):
  """Asks a server through an SDK.

  The SDK's error classes are used, its own retries are not: a request that it
  repeats unseen would be paid twice under one reservation, and would go on
  after the step's time limit. What is repeated, how often and when, the
  `Asker` decides by the class of the error, and reserves each time.

  Args:
    config: Mapping with `model`, `timeout`, `url` and `price`.
    sdk: The module `anthropic` or `openai`.
    model: The model where none is named.
    client: Client of that SDK; None makes one from the environment.
  """

  paid = True
  calibrate = True
  parser = 2
  ladder: ClassVar[manners.Ladder]
  blind: ClassVar[re.Pattern]  # Names of models that read no pictures.

  def __init__(
      self, config: Mapping[str, Any], sdk: Any, model: str, client: Any):
    self.sdk = sdk
    self.model = str(config.get('model', '')) or model
    self.sees = not self.blind.match(self.model)
    self.transport = http.Transport(sdk, float(config.get('timeout', 20.0)))
    if client is None:
      client = self.connect(config)
      self.transport.open(str(client.base_url))
    self.client = client
    url = str(getattr(client, 'base_url', ''))
    self.where = secrets.mask(url)
    self.price = prices.find(config, self.name, self.model, url)
    self._estimated = threading.local()
    self.manners = manners.of(url, self.model, self.ladder)

  @abc.abstractmethod
  def connect(self, config: Mapping[str, Any]) -> Any:
    """Returns the SDK's client for the server that is meant."""

  @abc.abstractmethod
  def send(self, prompt: prompts.Prompt, form: manners.Form) -> dict:
    """Asks, and returns what is kept of the answer.

    Beside it stand `read` and `written`, lists of tokens as the server counts
    them; None where it doesn't say.
    """

  @abc.abstractmethod
  def keep(
      self, prompt: prompts.Prompt, form: manners.Form, answer: dict) -> dict:
    """Returns what is stored of an answer, for `parse`."""

  @abc.abstractmethod
  def tagged(self, answer: dict, tag: str) -> bool:
    """Returns whether an answer carries the tag of its question."""

  @abc.abstractmethod
  def learn(
      self, form: manners.Form, answer: dict,
      error: errors.ParseError) -> errors.ParseError:
    """Draws conclusions from an answer without scores; returns the error."""

  @abc.abstractmethod
  def bound(
      self, prompt: prompts.Prompt, form: manners.Form) -> tuple[int, int]:
    """Returns the most tokens that a call takes, and that it writes."""

  def satisfied(self, form: manners.Form, raw: str) -> None:
    """Notes that an answer could be read."""
    self.manners.read(form)

  def ask(self, query: types.Query) -> types.Reply:
    start = time.perf_counter()
    prompt = prompts.render(query)
    most = self._most(prompt)
    answer, form, turn = calls.ask(
        self.transport, self.sdk, self.manners,
        lambda form: self.send(prompt, form),
        lambda form: most is None or self.bound(prompt, form)[0] <= most)
    most, written = self.bound(prompt, form)
    read = costs.used(answer.pop('read'), most - written, 1)
    written = costs.used(answer.pop('written'), written)
    money = self.price(read, written)
    raw = secrets.mask(json.dumps(
        self.keep(prompt, form, answer), ensure_ascii=False))
    try:
      scores = self.parse(raw, len(prompt.candidates))
      self.manners.check(turn, self.tagged(answer, forms.tag(prompt)))
    except errors.ParseError as e:
      e = self.learn(form, answer, e)
      e.tokens, e.money, e.raw = read + written, money, raw
      raise e from e.__cause__
    self.satisfied(form, raw)
    return types.Reply(
        scores, raw, read, written, money, time.perf_counter() - start)

  def estimate(self, query: types.Query) -> tuple[int, float]:
    prompt = prompts.render(query)
    form = self.manners.form
    # Within a call one may come to any rung, and from asking for less
    # reasoning to giving it room.
    think = max(form.think, self.ladder.room) if form.think else 0
    every = [
        self.bound(prompt, dataclasses.replace(form, rung=i, think=think))
        for i in range(self.ladder.rungs)]
    tokens = max(x for x, _ in every)
    # Whoever estimates and asks does so in one thread.
    self._estimated.last = prompt, tokens
    return tokens, max(self.price(x - y, y) for x, y in every)

  def _most(self, prompt: prompts.Prompt) -> int | None:
    """Returns what was set aside for a question; None if nothing was."""
    asked, tokens = getattr(self._estimated, 'last', (None, None))
    self._estimated.last = None, None
    return tokens if asked == prompt else None

  def close(self) -> None:
    self.client.close()
    self.transport.close()


def load(name: str) -> Any:
  """Imports an SDK.

  Raises:
    AdvisorError: It is not installed.
  """
  try:
    return importlib.import_module(name)
  except ImportError as e:
    raise errors.AdvisorError(
        f'The advisor {name} needs its SDK ({e}). Type `pip install {name}`,'
        ' or choose --lore.advisor.provider local.') from e
