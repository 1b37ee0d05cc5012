"""Evaluation of checkpoints: the play loop, the agent, a user's mistakes."""

import gzip
import json
import pickle

import elements
import numpy as np
import pytest

from lore_plugin import __main__ as cli
from lore_plugin import config as configlib
from lore_plugin import curves
from lore_plugin import errors
from lore_plugin import launch
from lore_plugin import upstream
from lore_plugin.upstream import checkpoint
from lore_plugin.advisor import build
from lore_plugin.advisor import store as storelib
from lore_plugin.play import evaluate
from lore_plugin.play import record
from lore_plugin.play import rollout


class Countdown:
  """An environment whose episodes take `length` steps; even ones pay."""

  act_space = {
      'action': elements.Space(np.int32, (), 0, 3),
      'reset': elements.Space(bool)}

  def __init__(self, length):
    self.length, self.left, self.episode = length, 0, -1
    self.closed = False

  def step(self, action):
    first = bool(action['reset']) or self.left == 0
    if first:
      self.left, self.episode = self.length, self.episode + 1
    else:
      self.left -= 1
    last = not first and self.left == 0
    return {
        'reward': np.float32(last and self.episode % 2 == 0),
        'log/success': np.float32(last and self.episode % 2 == 0),
        'is_first': np.bool_(first), 'is_last': np.bool_(last)}

  def close(self):
    self.closed = True


class Still:
  """An agent that does nothing, advised on every other environment."""

  def __init__(self):
    self.modes = set()

  def init_policy(self, batch_size):
    return ()

  def policy(self, carry, obs, mode):
    self.modes.add(mode)
    count = len(obs['reward'])
    return carry, {'action': np.zeros(count, np.int32)}, {
        'lore/valid': np.arange(count) % 2 == 0}


@pytest.mark.parametrize('episodes, envs', [
    (1, 1), (1, 20), (5, 2), (7, 3), (20, 20), (6, 1)])
def test_every_environment_plays_its_share(episodes, envs):
  worlds, seen = [], []
  def make_env(i):
    worlds.append(Countdown(2 + i))
    return worlds[-1]
  played = rollout.play(
      Still(), make_env, episodes, envs,
      watch=lambda index, env, obs, acts, outs: seen.append(
          (index, env.length)))
  envs = min(envs, episodes)
  assert played['scores'].shape == played['lengths'].shape == (episodes,)
  # Short episodes are not favoured: who plays fast does not play more.
  share = [episodes // envs + (i < episodes % envs) for i in range(envs)]
  assert sorted(played['lengths']) == sorted(
      2 + i for i, n in enumerate(share) for _ in range(n))
  for index, length in enumerate(played['lengths']):
    assert seen.count((index, length)) == length + 1
  # The first episode of an environment pays, the second does not.
  order = np.arange(episodes) // envs
  np.testing.assert_array_equal(played['scores'], order % 2 == 0)
  assert all(x.closed for x in worlds)


def test_advised_share_counts_steps_that_count():
  played = rollout.play(Still(), lambda i: Countdown(3), 4, 4)
  assert played['advised'] == 0.5
  agent = Still()
  played = rollout.play(agent, lambda i: Countdown(3), 4, 2)
  assert agent.modes == {'eval'}
  assert played['scores'].tolist() == played['wins'].tolist() == [1, 1, 0, 0]


def test_proportion_by_hand():
  result = rollout.proportion({
      'scores': np.array([0.5, 0, 1, 1]), 'wins': np.array([1.0, 0, 1, 1]),
      'unlocked': {}})
  assert 'unlocked' not in result
  assert result['success'] == 0.75 and result['score'] == 0.625
  low, high = result['interval']
  # Wilson's interval of 3 in 4.
  assert low == pytest.approx(0.3006, abs=1e-4)
  assert high == pytest.approx(0.9544, abs=1e-4)


def test_episodes_without_end_are_taken_as_they_are(monkeypatch):
  monkeypatch.setattr(rollout, 'LONGEST', 5)
  worlds = []
  def make_env(i):
    worlds.append(Countdown(10 ** 9 if i else 5))
    return worlds[-1]
  played = rollout.play(Still(), make_env, 4, 2)
  assert played['lengths'].tolist() == [5, 5, 5, 5]
  # What ends with the last of these actions ends by itself, and is paid.
  assert played['scores'].tolist() == [1, 0, 0, 0]
  assert worlds[1].episode == 1
  # Those of the second environment.
  assert played['cut'] == 2
  found = rollout.proportion(played)
  assert found['cut'] == 2
  assert curves.cut(found) == (
      '2 of 4 episodes were cut, as they went on for too long')
  played = rollout.play(Still(), lambda i: Countdown(5), 4, 2)
  assert played['cut'] == 0 and 'cut' not in rollout.proportion(played)
  assert not curves.cut(rollout.proportion(played))
  # What is played on beside those that count is not counted.
  played = rollout.play(
      Still(), lambda i: Countdown(2 if i else 10 ** 9), 3, 2)
  assert played['cut'] == 2


def test_no_atari_episode_is_cut():
  """Upstream ends them after 108,000 frames, four of them an action."""
  assert rollout.LONGEST > 108_000 / 4


class Digger(Countdown):
  """Wood in every episode of three steps or more, a diamond in paid ones."""

  def step(self, action):
    obs = super().step(action)
    done = self.length - self.left
    return {
        **obs, 'log/achievement_collect_wood': np.float32(done >= 3),
        'log/achievement_collect_diamond': obs['reward']}


def test_achievements_by_hand():
  # Two short episodes and two long ones; the first of each is paid.
  played = rollout.play(Still(), lambda i: Digger(2 + 2 * i), 4, 2)
  assert {k: v.tolist() for k, v in played['unlocked'].items()} == {
      'collect_wood': [0, 1, 0, 1], 'collect_diamond': [1, 1, 0, 0]}
  found = rollout.proportion(played)
  assert found['unlocked'] == {'collect_wood': 0.5, 'collect_diamond': 0.5}
  # exp(mean log(1 + 50)) - 1.
  assert found['crafter_score'] == pytest.approx(50)


def write_run(folder, *argv):
  """Writes what training leaves behind, without training."""
  found = upstream.find()
  upstream.install()
  config = configlib.resolve(
      ['--configs', 'minigrid', *argv, '--logdir', str(folder)],
      configlib.load(found.configs))
  folder.mkdir(parents=True)
  config.save(str(folder / 'config.yaml'))
  quick = elements.Config({**config.flat, **evaluate.QUICK})
  agent = launch.make_agent(quick)
  saved = elements.Checkpoint(
      elements.Path(str(checkpoint.folder(folder, found.version))))
  saved.step = elements.Counter(1234)
  saved.agent = agent
  saved.save()
  if hasattr(agent, 'close'):
    agent.close()
  return folder


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  return write_run(
      tmp_path_factory.mktemp('runs') / 'advised', 'debug', 'lore',
      '--lore.advisor.provider', 'scripted', '--lore.advisor.calls', '10')


@pytest.fixture(scope='module')
def asked(run, tmp_path_factory):
  """The first evaluation of the run, which may ask."""
  folder = tmp_path_factory.mktemp('recordings')
  result = evaluate.evaluate(
      run, episodes=4, calls=30, envs=4, record=folder, recorded=1)
  return result, folder


def replies(run):
  store = storelib.Store(run / 'advice.sqlite', readonly=True)
  try:
    return store.query('select count(*) from replies')[0][0]
  finally:
    store.close()


def spent(run):
  store = storelib.Store(run / 'advice.sqlite', readonly=True)
  try:
    return dict(store.query(
        'select account, count(*) from ledger group by account'))
  finally:
    store.close()


def test_calls_are_reported_and_on_an_account_of_their_own(run, asked):
  result, _ = asked
  assert 0 < result['calls'] <= 30 and replies(run) == result['calls']
  account, = spent(run)
  assert account.startswith('evaluation-')
  kinds = [(x['advice'], x['actions']) for x in result['results']]
  assert kinds == [(False, 'sampled'), (False, 'greedy'),
                   (True, 'sampled'), (True, 'greedy')]
  off, on = result['results'][:2], result['results'][2:]
  assert all(x['advised'] == x['calls'] == 0 for x in off)
  assert all(x['advised'] > 0.5 for x in on)
  assert result['step'] == 1234 and result['layouts'] == 'held-out'
  assert 0 <= result['trust'] <= 1 and 'trust' in ' '.join(result['notes'])
  json.dumps(result)


@pytest.mark.parametrize('task, words', [
    ('minigrid_DoorKey-5x5', ', 3 layouts, held-out'),
    ('crafter_symbolic', ', 3 episodes, held-out')])
def test_the_table_calls_episodes_what_they_are(task, words):
  text = evaluate.table({
      'task': task, 'seed': 0, 'step': None, 'episodes': 3, 'notes': [],
      'layouts': 'held-out', 'results': [{
          'advice': False, 'actions': 'greedy', 'success': None, 'calls': 0,
          'score': 1.0, 'score_std': 0.0, 'length': 9.0, 'length_std': 0.0,
          'advised': 0.0}]})
  assert words in text and text.count('layouts') == words.count('layouts')


def test_stored_advice_costs_nothing(run, asked):
  before = (run / 'advice.sqlite').read_bytes()
  result = evaluate.evaluate(
      run, episodes=3, advice=(True,), actions=('greedy', 'greedy'))
  first, second = result['results']
  assert result['calls'] == 0 and first['advised'] > 0.5
  assert (run / 'advice.sqlite').read_bytes() == before
  assert first == second, 'greedy actions are certain'


def read(folder, advised, kind):
  episodes, notes = record.read(folder)
  assert not notes
  return next(x for x in episodes
              if x['advice'] == advised and x['actions'] == kind)


def test_recordings_follow_the_equations(asked):
  _, folder = asked
  assert len(list(folder.glob('*.json.gz'))) == 4
  episode = read(folder, True, 'greedy')
  steps = episode['steps'][:-1]
  assert any(x['advice'] and x['beta'] > 0.1 for x in steps)
  for x in steps:
    wm = np.log(np.maximum(x['pi_wm'], 1e-5))
    if x['advice']:
      # Equation (1); advice is the softmax of the advisor's logits.
      wm += x['beta'] / x['temperature'] * np.log(
          np.maximum(x['advice'], 1e-5))
    mix = np.exp(wm) / np.exp(wm).sum()
    np.testing.assert_allclose(x['pi_mix'], mix, atol=5e-3)
    assert x['pi_mix'][x['action']] == max(x['pi_mix'])
    assert set(x['parts']) == {'entropy'} and x['text']
  alone = read(folder, False, 'sampled')
  for x in alone['steps'][:-1]:
    assert x['advice'] is None and x['beta'] == 0
    assert x['pi_mix'] == x['pi_wm']
  assert len({x['action'] for x in alone['steps'][:-1]}) > 1
  for x in (episode, alone):
    assert x['steps'][-1]['action'] is None
    assert x['length'] == len(x['steps']) - 1
    assert len(x['frames']) <= len(x['steps'])


def test_a_run_without_advice(tmp_path, capsys):
  run = write_run(tmp_path / 'plain', 'debug')
  capsys.readouterr()
  assert cli.main([
      'evaluate', str(run), '--episodes', '2', '--json', '--record',
      str(tmp_path / 'rec')]) == 0
  # Nothing but JSON, whatever upstream prints.
  result = json.loads(capsys.readouterr().out)
  assert [x['actions'] for x in result['results']] == ['sampled', 'greedy']
  assert 'without lore' in ' '.join(result['notes'])
  greedy = read(tmp_path / 'rec', False, 'greedy')
  for x in greedy['steps'][:-1]:
    assert x['pi_mix'][x['action']] == max(x['pi_mix'])
    assert x['beta'] is None and 'text' not in x
  assert 'greedy' in evaluate.table(result)
  with pytest.raises(errors.ConfigError, match='--advice off'):
    evaluate.evaluate(run, advice=(True,))


def test_no_stored_advice(tmp_path, run):
  config = (run / 'config.yaml').read_text()
  (tmp_path / 'config.yaml').write_text(config)
  name = checkpoint.folder(run).name
  (tmp_path / name).symlink_to(run / name)
  with pytest.raises(errors.ConfigError, match='--calls N'):
    evaluate.evaluate(tmp_path, advice=(True,))
  assert not (tmp_path / 'advice.sqlite').exists()


def test_a_checkpoint_of_another_size(run, asked):
  with pytest.raises(errors.ConfigError, match='shape') as e:
    evaluate.evaluate(run, flags=['--agent.policy.units', '24'])
  assert 'parameters differ' in str(e.value)


def raises(logdir, *words):
  with pytest.raises(errors.ConfigError) as e:
    evaluate.evaluate(logdir)
  for word in words:
    assert word in str(e.value), str(e.value)


def test_bad_folders(tmp_path, run):
  raises(tmp_path / 'none', 'no such folder')
  raises(tmp_path, 'is empty')
  (tmp_path / 'metrics.jsonl').write_text('')
  raises(tmp_path, 'no config.yaml')
  config = tmp_path / 'config.yaml'
  config.write_text('a: [1')
  raises(tmp_path, 'Can\'t read', 'by half')
  whole = (run / 'config.yaml').read_text()
  config.write_text('task: minigrid_DoorKey-5x5\n')
  raises(tmp_path, 'not whole')
  config.write_text(whole + 'nonsense: 1\n')
  raises(tmp_path, 'nonsense', 'does not know')
  config.write_text(whole)
  raises(tmp_path, 'no checkpoint', '--run.save_every')
  folder = checkpoint.folder(tmp_path)
  (folder / '1').mkdir(parents=True)
  (folder / '1' / 'agent.pkl').write_bytes(b'half')
  raises(tmp_path, "'done'")
  (folder / '1' / 'done').touch()
  raises(tmp_path, 'agent.pkl', 'Remove its folder')
  (folder / '1' / 'agent.pkl').write_bytes(pickle.dumps({'x': 1}))
  raises(tmp_path, 'agent.pkl')


@pytest.mark.parametrize('flags, words', [
    (['--episodes', '0'], 'at least 1'), (['--calls', '-1'], 'at least 0'),
    (['--no.such', '1'], 'Unknown flag')])
def test_bad_flags(run, flags, words, capsys):
  assert cli.main(['evaluate', str(run), *flags]) == 2
  assert words in capsys.readouterr().err


def test_pictures():
  image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
  import io

  import PIL.Image
  back = np.asarray(PIL.Image.open(io.BytesIO(record.png(image))))
  np.testing.assert_array_equal(back, image)
  assert record.picture(object()) is None


def test_recorder_keeps_what_it_was_asked_for(tmp_path):
  recorder = record.Recorder(tmp_path, 2, {
      'task': 'x', 'seed': 0, 'step': None, 'advice': False,
      'actions': 'sampled', 'run': 'r'})
  rollout.play(
      Still(), lambda i: Countdown(3), 4, 2,
      watch=lambda index, env, obs, acts, outs: recorder.watch(
          index, env, obs, acts, {}))
  names = sorted(x.name for x in tmp_path.iterdir())
  assert names == [f'r-alone-sampled-00{i}.json.gz' for i in (0, 1)]
  episode = json.loads(gzip.decompress((tmp_path / names[0]).read_bytes()))
  assert [x['reward'] for x in episode['steps']] == [0, 0, 1, None]
  assert episode['success'] == 1 and episode['length'] == 3


def test_recordings_of_cut_episodes_are_kept(tmp_path, monkeypatch):
  monkeypatch.setattr(rollout, 'LONGEST', 2)
  recorder = record.Recorder(tmp_path, 2, {
      'task': 'x', 'seed': 0, 'step': None, 'advice': False,
      'actions': 'sampled', 'run': 'r'})
  rollout.play(
      Still(), lambda i: Countdown(10 ** 9), 2, 2,
      watch=lambda index, env, obs, acts, outs: recorder.watch(
          index, env, obs, acts, {}))
  episodes, notes = record.read(tmp_path)
  assert not notes and [x['episode'] for x in episodes] == [0, 1]
  assert [x['length'] for x in episodes] == [2, 2] and not recorder.open
  assert episodes[0]['steps'][-1]['action'] is None


def test_cut_episodes_are_noted(run, asked, monkeypatch):
  monkeypatch.setattr(rollout, 'LONGEST', 3)
  result = evaluate.evaluate(
      run, episodes=3, advice=(False,), actions=('sampled',))
  assert result['results'][0]['cut'] == 3
  line = 'Advice off, sampled: 3 of 3 episodes were cut, as they went on for '
  line += 'too long.'
  assert line in result['notes'] and line in evaluate.table(result)


def test_a_file_without_a_reply_is_no_advice(tmp_path):
  config = configlib.resolve(
      ['--configs', 'minigrid', 'lore', '--logdir', str(tmp_path)],
      configlib.load())
  # As of a run whose server never answered.
  storelib.Store(tmp_path / 'advice.sqlite').close()
  found, advice, notes = evaluate.choose_advice(
      config, tmp_path, (False, True), 0, tmp_path)
  assert advice == (False,) and 'no stored advice' in notes[0]


def test_caps_that_only_a_server_keeps_end_no_evaluation(tmp_path):
  """Runs of earlier versions may have them."""
  config = configlib.resolve([
      '--configs', 'minigrid', 'lore', '--lore.advisor.address', '127.0.0.1:9',
      '--lore.advisor.money', '2', '--logdir', str(tmp_path)],
      configlib.load())
  prepared, advised = evaluate.prepare_advice(config, 7, str(tmp_path))
  caps = build.caps(prepared.lore.advisor)
  assert advised and caps == storelib.Caps(7)
  assert build.rehearse(prepared) == []
