"""Keeps whole episodes for the viewer: what was seen, advised and done.

One gzipped JSON file an episode:

  version, task, seed, step, advice, actions, run, episode
  names     word for each action, A entries, or [] without words
  success   1 or 0 as the environment says; null where it does not
  score, length
  frames    distinct frames as PNG, base64
  steps     one a step: frame (index), text, mission, options, events,
            advice, pi_wm, pi_mix (probabilities of the A actions; advice is
            null without), beta, u, parts, temperature, trust (null where the
            agent has none), action (null at the end), reward (what the action
            earned), choices (pairs of a choice and the model's probability,
            the likeliest first) and chosen (the one that is pursued), both
            absent without advice
"""

import base64
import gzip
import json
import os
import pathlib
import struct
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import errors
from ..advisor import ground
from ..advisor import table as tablelib
from ..advisor import types
from . import rollout

VERSION = 1
TILE = 20
PREFIX = 'log/lore_'


class Recorder:
  """Writes the first episodes of an evaluation as files.

  Args:
    folder: Where to.
    count: Episodes with numbers below it are kept.
    about: What is said of each: task, seed, step, advice, actions, run.
    table: What the advisor knows, a `table.Table`; None without an advisor.
  """

  def __init__(
      self, folder: str | os.PathLike, count: int, about: Mapping[str, Any],
      table: tablelib.Table | None = None):
    self.folder = pathlib.Path(folder)
    self.count = count
    self.about = about
    self.table = table
    self.open: dict[int, dict[str, Any]] = {}

  def watch(
      self, index: int, env: Any, obs: Mapping[str, Any],
      acts: Mapping[str, Any], outs: Mapping[str, Any]) -> None:
    """Takes in one step of episode `index`; see `rollout.play`."""
    if index >= self.count:
      return
    episode = self.open.setdefault(index, {
        **self.about, 'version': VERSION, 'episode': index, 'names': [],
        'frames': [], 'steps': [], 'success': None})
    steps = episode['steps']
    if rollout.SUCCESS in obs:
      # 0 or 1 as the environment says; None where it does not.
      episode['success'] = max(
          episode['success'] or 0, int(obs[rollout.SUCCESS] > 0))
    if steps:
      steps[-1]['reward'] = number(obs['reward'])
    steps.append(self._step(episode, env, obs, acts, outs))
    if obs['is_last']:
      # The agent acts once more, on an environment that is about to restart.
      steps[-1].update(action=None, reward=None)
      self._write(index, self.open.pop(index))

  def _step(self, episode, env, obs, acts, outs):
    logs = {
        k.removeprefix(PREFIX): number(v)
        for k, v in outs.items() if k.startswith(PREFIX)}
    step = {
        'frame': self._frame(episode, env),
        'action': int(acts['action']) if 'action' in acts else None,
        'pi_wm': softmax(outs.get('log/record_wm')),
        'pi_mix': softmax(outs.get('log/record_mix')),
        'advice': None,
        **{k: logs.get(k) for k in ('beta', 'u', 'temperature', 'trust')},
        'parts': {
            k.removeprefix('u_'): v for k, v in logs.items()
            if k.startswith('u_')}}
    if 'lore/valid' in outs and outs['lore/valid']:
      step['advice'] = softmax(outs['lore/prior'])
      if self.table:
        step['choices'] = choices(self.table, obs['lore/state'])
        step['chosen'] = str(outs.get('lore/choice', '')) or next(
            (name for name, _ in step['choices']), None)
    if 'lore/state' in obs:
      words = types.Description.decode(obs['lore/state'])
      episode['names'] = list(words.actions)
      step.update(
          text=words.text, mission=words.mission,
          options=[x.name for x in words.options], events=list(words.events))
    return step

  def _frame(self, episode, env):
    frame = picture(env)
    if frame is None:
      return None
    data = encode(frame)
    if data not in episode['frames']:
      episode['frames'].append(data)
    return episode['frames'].index(data)

  def _write(self, index, episode):
    rewards = [x['reward'] or 0.0 for x in episode['steps']]
    episode['score'] = sum(rewards)
    episode['length'] = len(rewards) - 1
    self.folder.mkdir(parents=True, exist_ok=True)
    about = self.about
    name = '-'.join([
        str(about['run']), 'advice' if about['advice'] else 'alone',
        str(about['actions']), f'{index:03d}'])
    (self.folder / f'{name}.json.gz').write_bytes(gzip.compress(
        json.dumps(episode, separators=(',', ':')).encode(), mtime=0))


def choices(
    table: tablelib.Table, state: np.ndarray) -> list[tuple[str, float]]:
  """Returns pairs of a choice and its probability, the likeliest first.

  Args:
    table: What the advisor knows, a `table.Table`.
    state: A description as encoded. Shape [N], u8.
  """
  question = table.situation(state.tobytes()).question
  if not question.replies:
    return []  # There is one choice alone.
  scores = question.replies[min(question.replies)]
  return [
      (name, round(share, 5))
      for name, share in ground.ranked(question.query.candidates, scores)]


def read(folder: str | os.PathLike) -> tuple[list[dict[str, Any]], list[str]]:
  """Reads the episodes in a folder.

  Returns:
    Episodes sorted by file name, and a note about each file that can't be
    read.
  """
  episodes, notes = [], []
  for path in sorted(pathlib.Path(folder).glob('*.json.gz')):
    try:
      # What is not a number is not there: no viewer reads NaN.
      episode = json.loads(
          gzip.decompress(path.read_bytes()), parse_constant=lambda _: None)
      check(episode)
      episodes.append(episode)
    except (OSError, EOFError, ValueError, zlib.error) as e:
      notes.append(
          f'The recording {path.name} can\'t be read and is left out: {e}')
  return episodes, notes


def check(episode: Any) -> None:
  """Raises a ConfigError unless this is an episode as `Recorder` writes."""
  if not isinstance(episode, dict) or episode.get('version') != VERSION:
    raise errors.ConfigError('it is no recording of a version known here.')
  wanted = {'task', 'seed', 'advice', 'actions', 'names', 'frames', 'steps'}
  missing = sorted(wanted - set(episode))
  if missing or not episode['steps']:
    raise errors.ConfigError(f'it lacks {", ".join(missing) or "steps"}.')


def picture(env: Any) -> np.ndarray | None:
  """Returns what an environment looks like. Shape [H, W, 3], u8, or None.

  Of MiniGrid the whole grid, with the agent's view lit up.
  """
  inner = env
  # Wrappers of upstream and of gymnasium keep what they wrap under one of two
  # names; asking them for other names raises errors of many kinds.
  while inner is not None:
    if hasattr(type(inner), 'get_frame'):
      return inner.get_frame(highlight=True, tile_size=TILE)
    inside = getattr(inner, '__dict__', {})
    inner = inside.get('env', inside.get('_env'))
  try:
    image = np.asarray(env.render())
  except (AttributeError, ValueError, NotImplementedError):
    return None  # Wrappers raise ValueError for names they do not know.
  return image if image.ndim == 3 and image.dtype == np.uint8 else None


def encode(image: np.ndarray) -> str:
  """Returns an image as PNG in base64. Shape [H, W, 3], u8."""
  return base64.b64encode(png(image)).decode('ascii')


def png(image: np.ndarray) -> bytes:
  """Encodes an image. Shape [H, W, 3], u8."""
  height, width, _ = image.shape
  rows = np.zeros((height, 1 + 3 * width), np.uint8)
  rows[:, 1:] = image.reshape(height, -1)
  def chunk(kind, data):
    return (struct.pack('>I', len(data)) + kind + data
            + struct.pack('>I', zlib.crc32(kind + data)))
  head = struct.pack('>IIBBBBB', width, height, 8, 2, 0, 0, 0)
  return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(
      b'IDAT', zlib.compress(rows.tobytes(), 9)) + chunk(b'IEND', b'')


def softmax(logits: Any) -> list[float] | None:
  """Returns probabilities, rounded for the file; None stays None."""
  if logits is None:
    return None
  logits = np.asarray(logits, np.float64)
  probs = np.exp(logits - logits.max())
  return [round(float(x), 5) for x in probs / probs.sum()]


def number(x: Any) -> float:
  return round(float(x), 5)
