"""What a run writes line by line, and what of it counts after a kill."""

import json

import elements
import numpy as np
import pytest
from agents import resolve

from lore_plugin import launch
from lore_plugin import lines
from lore_plugin import logdir
from lore_plugin import status
from lore_plugin.advisor import advisor as service
from lore_plugin.advisor.providers import mock
from lore_plugin.agent import advised


class Session:
  """A process that trains: its log, and what of it a checkpoint holds."""

  def __init__(self, folder, *flags):
    self.config = resolve(
        '--logdir', str(folder), '--logger.outputs', 'jsonl', *flags)
    self.logger = launch.make_logger(self.config)
    self.saved = elements.Checkpoint(elements.Path(folder / 'ckpt'))
    self.saved.step = self.logger.step
    if self.saved.exists():
      self.saved.load()

  def play(self, *ends, score=0.0):
    """Takes steps, and logs an episode at the end of each."""
    for end in ends:
      while self.logger.step < end:
        self.logger.step.increment()
      self.logger.add({'score': score}, prefix='episode')
      self.logger.write()

  def end(self):
    self.logger.close()
    status.close()


def killed(folder, *flags):
  """A run whose checkpoint is of step 1000, and its log ends at 1090."""
  first = Session(folder, *flags)
  first.play(900)
  first.logger.step.increment(100)
  first.saved.save()
  first.play(*range(1010, 1100, 10), score=1.0)
  first.end()
  lines.append(
      folder / logdir.ALONE, {'step': 1050, 'success': 1.0, 'score': 1.0})


def test_episodes_of_the_part_that_was_lost_are_no_results(tmp_path):
  """Nine successes after the checkpoint; then one episode from 1000 to 1100.
  """
  killed(tmp_path)
  assert len(logdir.read_episodes(tmp_path)) == 10
  second = Session(tmp_path)
  # It may yet refuse to go on; nothing is lost before it does.
  assert len(logdir.read_episodes(tmp_path)) == 10
  second.play(1100, 1200)
  second.end()
  found = logdir.read_episodes(tmp_path)
  assert [(x['step'], x['score']) for x in found] == [
      (900, 0), (1100, 0), (1200, 0)]
  assert [x['step'] for x in lines.read(tmp_path / logdir.SCORES)] == [
      900, 1100, 1200]
  assert logdir.read_alone(tmp_path) == []
  assert logdir.last_step(tmp_path) == 1200
  # As upstream's own plots read it: both columns, and no row without either.
  rows = [json.loads(x) for x in
          (tmp_path / logdir.SCORES).read_text().splitlines()]
  assert len([x for x in rows if 'episode/score' in x]) == 12
  assert [x for x in rows if 'episode/score' not in x] == [
      {'step': 1000, 'lore/resumed': 1.0}]


def test_a_session_that_logged_nothing_drops_what_was_lost_before_it(
    tmp_path):
  """It went on from 1000 to 1095, saved, and was killed before it logged."""
  killed(tmp_path)
  second = Session(tmp_path)
  second.logger.step.increment(95)
  second.saved.save()
  second.end()
  third = Session(tmp_path)
  third.play(1200)
  third.end()
  assert [x['step'] for x in logdir.read_episodes(tmp_path)] == [900, 1200]


def test_frames_are_counted_as_the_log_counts_them(tmp_path):
  """An environment repeats actions four times: of frame 4000, not of 1000."""
  path, step = tmp_path / 'x.jsonl', elements.Counter()
  lines.append(path, {'step': 3600})
  lines.append(path, {'step': 4040})
  lines.watch(step, [(path, 4), (tmp_path / 'none.jsonl', 1)])
  step.load(1000)
  step.increment()
  step.increment(2)
  assert int(step) == 1003
  assert path.read_text().count('{"step": 4000, "lore/resumed": 1.0}') == 1
  assert lines.read(path) == [{'step': 3600}]
  assert not (tmp_path / 'none.jsonl').exists()


@pytest.mark.parametrize('flags', [
    ('--script', 'eval_only'), ('--replica', '1'),
    ('--lore.enabled', 'False', '--task', 'dummy_line')])
def test_what_is_not_ours_to_note(tmp_path, flags):
  """An evaluation, another process of the same run, and upstream's own run."""
  killed(tmp_path)
  second = Session(tmp_path, *flags)
  second.play(1100)
  second.end()
  assert 'lore/resumed' not in (tmp_path / logdir.METRICS).read_text()


def test_a_run_that_begins_notes_nothing(tmp_path):
  session = Session(tmp_path)
  session.play(10, 20)
  session.end()
  assert len((tmp_path / logdir.SCORES).read_text().splitlines()) == 2


def test_files_without_such_a_line_are_read_as_before(tmp_path):
  path = tmp_path / 'x.jsonl'
  path.write_text(''.join(
      json.dumps({'step': x}) + '\n' for x in (10, 20, 30, 40, 25, 50)))
  assert [x['step'] for x in lines.read(path)] == [10, 20, 25, 50]


def test_half_a_line_spoils_none_after_it(tmp_path):
  path = tmp_path / 'new' / 'x.jsonl'
  lines.append(path, {'step': 10})
  with path.open('a') as f:
    f.write('{"step": 20, "sc')
  lines.append(path, lines.resumed(15))
  lines.append(path, {'step': 30})
  assert path.read_text().splitlines() == [
      '{"step": 10}', '{"step": 20, "sc',
      '{"step": 15, "lore/resumed": 1.0}', '{"step": 30}']
  assert lines.read(path) == [{'step': 10}, {'step': 30}]


class Inner:
  """Stands in for the jitted agent."""

  params = {'actor/kernel': np.zeros(2)}

  def init_policy(self, batch_size):
    return ()

  def policy(self, carry, obs, mode):
    outs = {advised.U: np.zeros(1, np.float32)}
    return carry, {'action': np.zeros(1, np.int32)}, outs

  def load(self, data, regex):
    pass


def play(agent, mode, *lengths):
  carry = agent.init_policy(1)
  for length in lengths:
    for i in range(length):
      last = np.array([i == length - 1])
      carry, _, _ = agent.policy(carry, {
          advised.STATE: np.zeros((1, 256), np.uint8),
          'reward': np.zeros(1, np.float32), 'is_first': np.array([i == 0]),
          'is_last': last, 'is_terminal': last}, mode)


def make(folder):
  return advised.AdvisedAgent(
      Inner(), service.Advisor(mock.Mock(), 2), 2,
      journal=advised.journal(str(folder)))


def test_the_journal_says_where_it_goes_on(tmp_path):
  """Saved at step 5, after it episodes end at 7 and 9; then one at 15."""
  first = make(tmp_path)
  play(first, 'train', 5)
  data = {'params': Inner.params, 'trust': first.trust.save()}
  play(first, 'train', 2, 2)
  steps = lambda: [x['step'] for x in logdir.read_journal(tmp_path)]
  assert steps() == [5, 7, 9]
  second = make(tmp_path)
  second.load(data)
  play(second, 'eval', 3)
  assert steps() == [5, 7, 9]  # Nothing was trained yet.
  play(second, 'train', 10)
  assert steps() == [5, 15]
  # A new run that begins from there has lost nothing of its own.
  third = make(tmp_path)
  third.load(data, '.*')
  play(third, 'train', 11)
  text = (tmp_path / logdir.EPISODES).read_text()
  assert text.count('lore/resumed') == 1
