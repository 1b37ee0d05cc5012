import pathlib
import pickle

import elements
import numpy as np
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import launch
from lore_plugin.upstream import checkpoint
from lore_plugin.upstream import resume
from lore_plugin import upstream


def params(**shapes):
  return {k.replace('__', '/'): np.zeros(v) for k, v in shapes.items()}


HAVE = params(pol__head=(2, 7), val__head=(3,), lore_dual__value=())


def test_the_same_agent_takes_all():
  taken, extra = resume.fit(dict(HAVE), HAVE)
  assert taken.keys() == HAVE.keys() and not extra


def test_own_state_comes_and_goes_with_options():
  saved = {
      **params(pol__head=(2, 7), val__head=(3,)),
      **params(lore_moments_value__mean=(), lore_dual__value=(4,))}
  taken, extra = resume.fit(saved, HAVE)
  assert taken.keys() == {'pol/head', 'val/head'}
  # Gone, and of another shape.
  assert extra == ['lore_dual/value', 'lore_moments_value/mean']
  assert resume.modules(extra) == 'lore_dual, lore_moments_value'
  # As of an agent that was never advised.
  assert resume.fit(params(pol__head=(2, 7), val__head=(3,)), HAVE)[1] == []


@pytest.mark.parametrize('saved, words', [
    (params(pol__head=(2, 7)), '1 of 2 parameters differ; val/head is mi'),
    (params(pol__head=(2, 7), val__head=(4,)), 'of shape (4,) in the check'),
    (params(pol__head=(2, 7), val__head=(3,), rew=()), 'rew is of shape ()'),
])
def test_another_agent(saved, words):
  with pytest.raises(errors.ConfigError) as e:
    resume.fit(saved, HAVE)
  assert words in str(e.value) and '--configs' in str(e.value)


def test_a_part_of_a_checkpoint():
  saved = params(pol__head=(2, 7), val__head=(9,), lore_gone=())
  taken, extra = resume.fit(saved, HAVE, 'pol/|lore_')
  assert taken.keys() == {'pol/head'} and extra == ['lore_gone']
  with pytest.raises(errors.ConfigError, match='val/head is of shape'):
    resume.fit(saved, HAVE, '.*')
  with pytest.raises(errors.ConfigError, match='fits none of the 3 param'):
    resume.fit(saved, HAVE, 'enc/')


def configured(tmp_path, *argv):
  return configlib.resolve(
      ['--configs', 'minigrid', *argv, '--logdir', str(tmp_path)],
      configlib.load(upstream.find().configs))


@pytest.mark.parametrize('before, now, words', [
    (['lore'], [], '--lore.gate.beta_max 0'),
    ([], ['lore'], 'without lore'),
    (['lore', '--replay_context', '0'], ['lore'], '--replay_context 0'),
    (['lore'], ['lore', '--replay_context', '0'], '--replay_context 1'),
])
def test_replay_of_another_kind(tmp_path, before, now, words):
  found = upstream.find()
  config = configured(tmp_path, *now)
  # No run yet, or one that has saved nothing.
  checkpoint.check(config, found)
  configured(tmp_path, *before).save(elements.Path(tmp_path / 'config.yaml'))
  checkpoint.check(config, found)
  folder = checkpoint.folder(tmp_path, found.version)
  (folder / '1').mkdir(parents=True)
  checkpoint.check(config, found)
  (folder / '1' / 'done').touch()
  with pytest.raises(errors.ConfigError) as e:
    checkpoint.check(config, found)
  assert words in str(e.value) and str(tmp_path) in str(e.value)
  checkpoint.check(configured(tmp_path, *before), found)
  # Upstream's parallel script has another place.
  parallel = config.update(script='parallel')
  checkpoint.check(parallel, found)
  folder = checkpoint.folder(tmp_path, found.version, 'parallel')
  (folder / '1').mkdir(parents=True)
  (folder / '1' / 'done').touch()
  with pytest.raises(errors.ConfigError, match='trained with'):
    checkpoint.check(parallel, found)
  # Evaluation would write its configuration and episodes among a run's.
  with pytest.raises(errors.ConfigError, match='Give another --logdir'):
    checkpoint.check(config.update(script='eval_only'), found)
  # Elsewhere it reads no replay, and other file systems are not read.
  checkpoint.check(config.update(
      script='eval_only', logdir=str(tmp_path / 'new')), found)
  checkpoint.check(config.update(logdir='gs://bucket/run'), found)
  # What was written by half says nothing.
  (tmp_path / 'config.yaml').write_text('a: [1')
  checkpoint.check(config, found)


def test_a_refused_run_keeps_its_configuration(tmp_path):
  path = tmp_path / 'config.yaml'
  path.write_text('old')
  with pytest.raises(errors.ConfigError):
    with checkpoint.keep(tmp_path):
      path.write_text('new')
      raise errors.ConfigError('no')
  assert path.read_text() == 'old'
  with checkpoint.keep(tmp_path):
    path.write_text('new')
  assert path.read_text() == 'new'
  with pytest.raises(errors.ConfigError):
    with checkpoint.keep(tmp_path / 'none'):
      raise errors.ConfigError('no')
  assert not (tmp_path / 'none').exists()


def test_a_refused_run_leaves_nothing(tmp_path):
  (tmp_path / 'notes.txt').touch()
  (tmp_path / 'run.lock').touch()
  def write(trained):
    with pytest.raises(errors.EnvError), checkpoint.keep(tmp_path):
      for name in ('config.yaml', 'advice.sqlite', 'replay/x.npz', *trained):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
      raise errors.EnvError('no such task')
  # Other processes of script parallel save before the agent is there.
  write(['replay.pkl/latest', 'ckpt/replay/latest'])
  assert {x.name for x in tmp_path.iterdir()} == {'notes.txt', 'run.lock'}
  write(['ckpt/latest'])
  assert (tmp_path / 'config.yaml').exists()


def test_the_program_keeps_it(tmp_path, monkeypatch, capsys):
  path = tmp_path / 'config.yaml'
  path.write_text('task: old')
  def refuse(config, argv, **parts):
    path.write_text('task: new')
    raise errors.ConfigError('It does not fit.')
  monkeypatch.setattr(upstream, 'run', refuse)
  assert launch.main(['--configs', 'minigrid', '--logdir', str(tmp_path)]) == 2
  assert capsys.readouterr().err == 'lore: It does not fit.\n'
  assert path.read_text() == 'task: old'


class Saved:
  def save(self):
    return {'params': {}, 'counters': {}}

  load = save


def test_checkpoint_is_given_as_upstream_reads_it(tmp_path):
  cp = elements.Checkpoint(tmp_path / 'ckpt')
  cp.agent = Saved()
  cp.save()
  config = configured(
      tmp_path, '--run.from_checkpoint', str(tmp_path / 'ckpt'))
  def given(version, config=config):
    found = upstream.Upstream(tmp_path, version, None)
    result = checkpoint.start(config, found, tmp_path)
    return pathlib.Path(result.run.from_checkpoint)
  assert given('main').parent == tmp_path / 'ckpt'
  assert given('3.3.1').is_file()
  assert given(
      '3.3.1', config.update(script='eval_only')).parent == tmp_path / 'ckpt'
  # Other file systems are upstream's business.
  config = config.update({'run.from_checkpoint': 'gs://bucket/ckpt'})
  assert checkpoint.start(config, None, tmp_path) is config
  config = config.update({'run.from_checkpoint': ''})
  assert checkpoint.start(config, None, tmp_path) is config


def trained(tmp_path, *argv):
  """Makes the folder of a run with a whole checkpoint. Returns that."""
  tmp_path.mkdir(exist_ok=True)
  config = configured(tmp_path, *argv)
  config.save(elements.Path(tmp_path / 'config.yaml'))
  place = checkpoint.folder(tmp_path, upstream.find().version)
  cp = elements.Checkpoint(place)
  cp.agent = Saved()
  cp.save()
  return checkpoint.newest(place)


@pytest.mark.parametrize('now, words', [
    (['--task', 'minigrid_DoorKey-6x6'], '--task minigrid_DoorKey-5x5,'),
    (['--replay_context', '0'], '--replay_context 1,'),
    (['--agent.dyn.rssm.deter', '512', '--agent.enc.simple.mults', '1', '2'],
     '--agent.enc.simple.mults 2 3 4 4'),
    (['--env.minigrid.obs', 'image'], '--env.minigrid.obs symbolic,'),
])
def test_incompatible_keys(tmp_path, now, words):
  trained(tmp_path)
  found = upstream.find()
  checkpoint.check(configured(tmp_path, '--agent.opt.lr', '1e-5'), found)
  with pytest.raises(errors.ConfigError) as e:
    checkpoint.check(configured(tmp_path, *now), found)
  assert words in str(e.value) and len(str(e.value).splitlines()) == 1


def test_a_start_from_another_size(tmp_path):
  trained(tmp_path / 'one')
  argv = ['--run.from_checkpoint', str(tmp_path / 'one')]
  found = upstream.find()
  config = configured(
      tmp_path, 'lore', *argv, '--task', 'minigrid_DoorKey-6x6')
  given = checkpoint.start(config, found, tmp_path)
  assert given.run.from_checkpoint != config.run.from_checkpoint
  config = config.update({'agent.value.units': 32})
  with pytest.raises(errors.ConfigError, match='--agent.value.units 64'):
    checkpoint.start(config, found, tmp_path)
  # Who takes a part knows which.
  config = config.update({'run.from_checkpoint_regex': 'enc/'})
  checkpoint.start(config, found, tmp_path)
  # The script eval_only takes all, whatever is said.
  with pytest.raises(errors.ConfigError, match='was built otherwise'):
    checkpoint.start(config.update(script='eval_only'), found, tmp_path)


def test_a_start_from_the_root_of_a_file_system(tmp_path):
  # As a folder of checkpoints that a container mounts there.
  resume.check_start(configured(tmp_path, 'lore'), pathlib.Path('/stamp'))
  resume.check_start(configured(tmp_path, 'lore'), pathlib.Path('/ckpt/stamp'))


@pytest.mark.parametrize('size', [0, 1, 20, -1])
def test_a_damaged_checkpoint(tmp_path, size):
  path = trained(tmp_path) / 'agent.pkl'
  found = upstream.find()
  checkpoint.mend(configured(tmp_path), found)
  path.write_bytes(path.read_bytes()[:size])
  for fn in (
      lambda: checkpoint.mend(configured(tmp_path), found),
      lambda: checkpoint.start(configured(
          tmp_path, '--run.from_checkpoint', str(tmp_path)), found, tmp_path)):
    with pytest.raises(errors.ConfigError, match='agent.pkl.* is damaged'):
      fn()


def test_looking_through_a_pickle_runs_nothing(tmp_path):
  class Evil:
    def __reduce__(self):
      return pathlib.Path.touch, (tmp_path / 'evil',)
  values = {
      'a': np.arange(9).reshape(3, 3), 'b': {1, 2}, 'c': [Evil(), (1,)],
      'd': np.float32(1), 'e': elements.Counter(3).save(), 'f': b'x' * 10 ** 6,
      'g': pathlib.Path('x'), 'h': np.array(['a', 'bc']), 'i': {Evil(): 1}}
  (tmp_path / 'agent.pkl').write_bytes(pickle.dumps(values))
  checkpoint.check_whole(tmp_path)
  assert not (tmp_path / 'evil').exists()


class Plain:
  """What upstream's agent does when it is given a checkpoint."""

  params = params(pol__head=(2, 7), val__head=(3,))

  def load(self, data, regex=None):
    given = data['params']
    if regex is None:
      assert given.keys() == self.params.keys()
    for key in given:
      self.params[key]
    self.loaded = sorted(given)


@pytest.mark.parametrize('regex, loaded', [
    (None, ['pol/head', 'val/head']), ('.*', ['pol/head', 'val/head']),
    ('pol', ['pol/head'])])
def test_a_plain_agent_begins_from_an_advised_one(regex, loaded, capsys):
  agent = Plain()
  agent.load = resume.plain_load(agent)
  agent.load({'params': dict(HAVE), 'advisor': {}}, regex=regex)
  assert agent.loaded == loaded
  said = 'Left out of the checkpoint' in capsys.readouterr().out
  assert said == (regex != 'pol')
  with pytest.raises(errors.ConfigError, match='does not fit'):
    agent.load({'params': params(pol__head=(9, 9))})


def test_parallel_runs_are_mended(tmp_path):
  found = upstream.find()
  config = configured(tmp_path, '--script', 'parallel')
  places = checkpoint.folders(tmp_path, found.version, 'parallel')
  assert len(places) == 3
  for place in places:
    (place / '20260101T000000F000000').mkdir(parents=True)
    (place / '20260101T000000F000000' / 'done').touch()
    (place / 'latest').touch()
  checkpoint.mend(config, found)
  for place in places:
    assert (place / 'latest').read_text() == '20260101T000000F000000'
