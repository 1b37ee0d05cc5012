"""Upstream's own flags: what only an assertion answered, in one line."""

import dataclasses

import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import upstream
from lore_plugin.upstream import device
from lore_plugin.upstream import values

FOUND = upstream.find()


@pytest.fixture(scope='module')
def blocks():
  return configlib.load(FOUND.configs)


def check(blocks, *argv, found=FOUND):
  config = configlib.resolve(
      ['--configs', 'debug', '--jax.compute_dtype', 'float32', *argv], blocks)
  values.check(config, found)


BAD = [
    ('--batch_length 4', '--report_length 4, or --batch_length 5'),
    ('--batch_length 1 --report_length 1', 'batch_length is 1, but must be'),
    ('--report_length 1', '--report_length 2, or --agent.report False'),
    ('--consec_report 3', '--report_length 3, or --batch_length 15'),
    ('--replay.size 50', '--replay.size 88 or more'),
    ('--replay.size 400 --script train_eval', '--replay.size 480 or more'),
    ('--replay_context -1', 'replay_context is -1, but must be at least 0'),
    ('--seed 4294967296', 'less than 4294967296'),
    ('--seed -1', 'at least 0'),
    ('--logger.outputs jsonl csv', "'csv'. Choose from: jsonl, scope"),
    ('--logger.outputs expa', '--logger.outputs jsonl'),
    ('--script trian', "'trian'. Did you mean train? Choose from: train, "),
    ('--script eval_only', '--run.from_checkpoint LOGDIR'),
    ('--script train_eval --run.eval_envs 0', 'run.eval_envs is 0'),
    ('--script parallel --run.actor_batch 5', '--run.actor_batch -1'),
    ('--run.envs 0', 'run.envs is 0'),
    ('--run.steps nan', 'run.steps is nan'),
    ('--run.steps inf', 'run.steps is inf, but must be finite'),
    ('--jax.policy_devices 1', '--jax.policy_devices 0, or --jax.mock_dev'),
    ('--jax.train_devices 0 1', 'jax has 1 device, counted from 0'),
    ('--run.train_ratio nan', 'run.train_ratio is nan'),
    ('--run.train_ratio inf', 'run.train_ratio is inf, but must be finite'),
    ('--jax.compute_dtype f32', "'f32'. Did you mean float32? Choose"),
    ('--jax.platform gpuu', "'gpuu'. Did you mean gpu? Choose from: cpu"),
]


@pytest.mark.parametrize('argv, words', BAD)
def test_bad_values(blocks, argv, words):
  with pytest.raises(errors.ConfigError) as e:
    check(blocks, *argv.split())
  assert words in str(e.value) and '\n' not in str(e.value)


GOOD = [
    '', '--batch_length 5', '--replay.size 88', '--replay_context 0',
    '--seed 4294967295', '--logger.outputs jsonl scope', '--consec_report 2',
    '--report_length 1 --agent.report False', '--run.actor_batch 5',
    '--script train_eval --replay.size 480', '--script parallel',
    '--script eval_only --run.from_checkpoint x --batch_length 2',
    '--script parallel_env --jax.platform cuda',
    '--random_agent True --jax.platform cuda',
    '--jax.mock_devices 2 --jax.train_devices 0 1',
]


@pytest.mark.parametrize('argv', GOOD)
def test_good_values(blocks, argv):
  check(blocks, *argv.split())


@pytest.mark.parametrize('name, module', [
    ('tensorboard', 'tensorflow'), ('wandb', 'wandb')])
def test_a_writer_that_is_not_installed(blocks, monkeypatch, name, module):
  find = values.importlib.util.find_spec
  here = set()
  monkeypatch.setattr(
      values.importlib.util, 'find_spec',
      lambda x: (x in here or None) if x == module else find(x))
  with pytest.raises(errors.ConfigError) as e:
    check(blocks, '--logger.outputs', 'jsonl', name)
  assert f'pip install {module}, or --logger.outputs jsonl' in str(e.value)
  here.add(module)
  check(blocks, '--logger.outputs', 'jsonl', name)


def test_what_a_user_added_is_allowed(blocks, tmp_path):
  (tmp_path / 'main.py').write_text('''
def main(argv):
  if config.script == 'sweep':
    pass

def make_logger(config):
  return {'csv': 1, 'wandb': MyOutput}[config.logger.outputs[0]]
''')
  found = dataclasses.replace(FOUND, folder=tmp_path)
  check(blocks, '--script', 'sweep', found=found)
  # The user's own writer needs what it needs.
  check(blocks, '--logger.outputs', 'csv', 'wandb', found=found)
  with pytest.raises(errors.ConfigError, match="'sweet'"):
    check(blocks, '--script', 'sweet', found=found)


def test_without_a_gpu(blocks, monkeypatch):
  monkeypatch.setattr(device, 'gpus', lambda: 0)
  for platform in ('cuda', 'gpu'):
    with pytest.raises(errors.ConfigError, match='--jax.platform cpu'):
      check(blocks, '--jax.platform', platform)


def test_with_a_gpu_but_without_the_plugin(monkeypatch):
  monkeypatch.setattr(device, 'gpus', lambda: 1)
  monkeypatch.setattr(device.importlib.util, 'find_spec', lambda x: None)
  monkeypatch.setattr(
      device.importlib.metadata, 'entry_points', lambda group: [])
  assert 'lore-dreamerv3[cuda12]' in device.lacking('cuda')
  monkeypatch.setattr(
      device.importlib.metadata, 'entry_points', lambda group: ['x'])
  assert device.lacking('cuda') == '' == device.lacking('cpu')
  assert 'libtpu' in device.lacking('tpu')


def test_counting_gpus(monkeypatch):
  class Driver:
    def __init__(self, name):
      if name != 'nvcuda.dll':
        raise OSError

    def cuInit(self, flags):
      return 0

    def cuDeviceGetCount(self, count):
      count._obj.value = 3
      return 0
  monkeypatch.setattr(device.ctypes, 'CDLL', Driver)
  assert device.gpus() == 3
  monkeypatch.setattr(Driver, 'cuInit', lambda self, flags: 100)
  assert device.gpus() == 0


