import importlib.util
import os
import pathlib
import re

import elements
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope='module')
def blocks():
  return configlib.load()


def fails(match, argv, blocks):
  with pytest.raises(errors.ConfigError, match=match) as info:
    configlib.resolve(argv, blocks)
  return str(info.value)


@pytest.mark.needs(
    'LORE_UPSTREAM_CONFIGS', 'LORE_UPSTREAM_CONFIGS=PATH make test')
def test_our_values_are_upstreams():
  path = pathlib.Path(os.environ['LORE_UPSTREAM_CONFIGS'])
  ours = configlib.read(configlib.folder('patches') / 'dreamerv3.yaml')
  theirs = configlib.read(path)
  assert ours == theirs
  # Numbers compare equal across types, which a configuration tells apart.
  kinds = lambda x: (
      {k: kinds(v) for k, v in x.items()} if isinstance(x, dict)
      else [kinds(v) for v in x] if isinstance(x, list) else type(x))
  assert kinds(ours) == kinds(theirs)


@pytest.mark.parametrize('name', [
    'size1m', 'size12m', 'size400m', 'crafter', 'atari', 'atari100k', 'dmlab',
    'minecraft', 'dmc_proprio', 'dmc_vision', 'multicpu', 'debug'])
def test_upstream_blocks_are_there(name, blocks):
  assert configlib.resolve(['--configs', name], blocks)


def test_flags_are_read_as_upstream_reads_them(blocks):
  argv = ['--configs', 'crafter', 'size12m', '--seed', '7', '--run.steps',
          '1e4', '--logger.outputs', 'jsonl,scope', '--jax.jit=False',
          r'--.*\.layers', '2', '--env.crafter.size', '32', '32',
          '--logger.outputs+', 'wandb']
  parsed, other = elements.Flags(configs=['defaults']).parse_known(argv)
  config = elements.Config(blocks['defaults'])
  for name in parsed.configs:
    config = config.update(blocks[name])
  assert configlib.resolve(argv, blocks) == elements.Flags(config).parse(other)


def test_defaults_are_upstreams_plus_ours(blocks):
  plain = configlib.read(configlib.folder('patches') / 'dreamerv3.yaml')
  config = configlib.resolve([], blocks)
  for key, value in elements.Config(plain['defaults']).flat.items():
    assert config.flat[key] == value
  assert config.lore.enabled is False
  assert config.flat['lore.gate.beta_max'] >= 0


def test_upstreams_file_rules(tmp_path):
  path = tmp_path / 'configs.yaml'
  plain = configlib.read(configlib.folder('patches') / 'dreamerv3.yaml')
  path.write_text(
      'defaults: {logdir: here, seed: 5, lore: {text_bytes: 1024}}\n'
      'minigrid: {seed: 6}\n')
  blocks = configlib.load(path)
  assert plain['defaults']['seed'] != 5
  assert blocks['defaults']['seed'] == 5
  assert blocks['defaults']['lore.text_bytes'] == 1024
  assert blocks['minigrid'] == {'seed': 6}
  assert 'lore.enabled' in blocks['defaults']
  assert 'batch_size' not in blocks['defaults']


def test_our_blocks_apply(blocks):
  names = [k for k in configlib.read(configlib.folder('configs') / 'lore.yaml')
           if k != 'defaults']
  for name in names:
    configlib.resolve(['--configs', name], blocks)
  if 'lore' in names:
    config = configlib.resolve(['--configs', 'lore'], blocks)
    assert config.lore.enabled is True


def test_lore_adds_advice_and_nothing_else(blocks):
  plain = configlib.resolve(['--configs', 'minigrid'], blocks).flat
  lore = configlib.resolve(['--configs', 'minigrid', 'lore'], blocks).flat
  changed = [k for k in plain if plain[k] != lore[k]]
  assert all(k.startswith('lore.') for k in changed), changed


@pytest.mark.parametrize('argv, match', [
    (['--configs', 'minigird'], "block 'minigird'.*Did you mean minigrid"),
    (['--configs', 'size10m'], 'Did you mean size1'),
    (['--lore.gate.beta', '1'], r'Unknown flag --lore.gate.beta\..*beta_max'),
    (['--lore.gates.kappa', '1'], 'Did you mean lore.gate.kappa'),
    (['--beta_max', '1'], 'Did you mean lore.gate.beta_max'),
    (['--sed', '1'], 'Did you mean seed'),
    (['--xyzzy', '1'], r'Unknown flag --xyzzy\.$'),
    (['--lore.enabled'], '--lore.enabled needs a value'),
    (['--configs'], '--configs needs a value.*--configs minigrid lore'),
    (['--lore.enabled', 'yes'], "Expected bool but got 'yes'"),
    (['--lore.text_bytes', 'many'], "Expected int but got 'many'"),
    (['--lore.gate', '1'], 'whole dict'),
    (['--seed', '1', '2'], 'single value'),
    (['minigrid', '--seed', '1'], "'minigrid' before any flag"),
    (['--lore.gate.beta_max', '-1'], 'beta_max is -1.0, but must be at least'),
    (['--lore.gate.beta_max', 'nan'], 'beta_max is nan'),
    (['--lore.gate.tau', 'nan'], 'tau is nan, but must be finite'),
    (['--lore.gate.tau', '-inf'], 'tau is -inf, but must be finite'),
    (['--run.save_every', 'inf'], '--run.save_every takes a whole number'),
    (['--lore.temperature.value', '0'], 'more than 0'),
    (['--lore.temperature.mode', 'mach'], "'mach'.*match, fixed"),
    (['--lore.imagination.beta', '1'], 'imagination never sees advice'),
    (['--lore.gate.warmup', '500'], 'lore.gate.warmup is gone'),
    (['--lore.kl.schedule.mode', 'success', '--lore.trust.control', '0'],
     '--lore.trust.control 0.1'),
    (['--lore.deterministic', 'True', '--script', 'parallel'],
     'Type --script train'),
    (['--lore.advisor.mode', 'x'], 'subgoal, action'),
    (['--lore.advisor.calls', '-2'], 'at least -1'),
])
def test_bad_arguments(argv, match, blocks):
  blocks = {'minigrid': {}, **blocks}
  fails(match, argv, blocks)


@pytest.mark.parametrize('block, match', [
    ({'lore': {'gate': {'beta_maks': 1}}},
     "Unknown key 'lore.gate.beta_maks'.*in block 'x'.*lore.gate.beta_max"),
    ({'lore.gate.kapa': 1}, 'Did you mean lore.gate.kappa'),
    ({r'.*\.unitz': 8}, 'unitz'),
    ({'lore': {'enabled': 'no'}}, "lore.enabled can't be 'no'"),
    ({'lore': {'text_bytes': 'a'}}, "Cannot convert 'a'"),
    ({'batch_size': 1.5}, "'1.5'.*batch_size"),
])
def test_bad_blocks(block, match, blocks):
  fails(match, ['--configs', 'x'], {**blocks, 'x': block})


@pytest.mark.parametrize('text', ['- a\n', 'defaults: 3\n', 'a: {b\n', ''])
def test_bad_file(text, tmp_path):
  path = tmp_path / 'configs.yaml'
  path.write_text(text)
  with pytest.raises(errors.ConfigError, match=re.escape(str(path))):
    configlib.load(path)


def test_file_without_defaults(tmp_path):
  path = tmp_path / 'configs.yaml'
  path.write_text('other: {a: 1}\n')
  with pytest.raises(errors.ConfigError, match='no block named defaults'):
    configlib.load(path)


def test_auto_is_resolved_only_where_written(blocks, monkeypatch):
  def kinds(argv):
    jax = configlib.resolve(argv, blocks).jax
    return jax.platform, jax.compute_dtype
  auto = ['--jax.platform', 'auto', '--jax.compute_dtype', 'auto']
  monkeypatch.setattr(configlib, 'has_cuda', lambda: False)
  assert kinds([]) == ('cuda', 'bfloat16')
  assert kinds(auto) == ('cpu', 'float32')
  assert kinds(auto[:2]) == ('cpu', 'bfloat16')
  assert kinds(auto[2:]) == ('cuda', 'bfloat16')
  assert kinds(['--jax.platform', 'cpu', *auto[2:]]) == ('cpu', 'float32')
  monkeypatch.setattr(configlib, 'has_cuda', lambda: True)
  assert kinds(auto) == ('cuda', 'bfloat16')


def test_no_gpu_without_plugin():
  if importlib.util.find_spec('jax_cuda12_plugin'):
    pytest.skip('CUDA is installed')
  assert not configlib.has_cuda()


def test_every_key_that_may_be_automatic_exists(blocks):
  assert [k for k in configlib.AUTO if k not in blocks['defaults']] == []


def test_a_file_is_a_block(blocks, tmp_path):
  path = tmp_path / 'mine.yaml'
  path.write_text('mine:\n  lore.gate.tau: 0.5\n  seed: 3\n')
  config = configlib.resolve(
      ['--configs', 'minigrid', 'lore', str(path), '--seed', '4'], blocks)
  assert (config.lore.gate.tau, config.seed) == (0.5, 4)
  # Later blocks count more, files as well.
  other = tmp_path / 'other.yaml'
  other.write_text('other: {lore.gate.tau: 0.25}\n')
  config = configlib.resolve(['--configs', str(path), str(other)], blocks)
  assert config.lore.gate.tau == 0.25


@pytest.mark.parametrize('text, match', [
    ('a: {seed: 1}\nb: {seed: 2}\n', 'holds 2 blocks \\(a, b\\)'),
    ('{}', 'holds 0 blocks \\(none\\)'),
    ('seed: 1', 'must hold named blocks'),
    ('a: {sead: 1}', "Unknown key 'sead' .in block '.*mine.yaml'"),
    (None, "Can't read .*mine.yaml"),
])
def test_a_file_that_is_no_block(text, match, blocks, tmp_path):
  path = tmp_path / 'mine.yaml'
  if text is not None:
    path.write_text(text)
  fails(match, ['--configs', str(path)], blocks)


@pytest.mark.parametrize('argv, words', [
    (['--config', 'minigrid'], 'Did you mean configs'),
    (['--lore.advisor.dollars', '3'], 'Did you mean lore.advisor.money'),
    (['--lore.advisor.money', '$5'], 'dollars.*--lore.advisor.money 5'),
    (['--lore.advisor.money', '1', '2'], 'dollars.*--lore.advisor.money 5'),
    (['--lore.advisor.money', '-3'], '-1 has no limit'),
    (['--lore.advisor.money'], 'for example: --lore.advisor.money 5'),
])
def test_a_wrong_flag_is_told_what_the_key_means(argv, words, blocks):
  fails(words, argv, blocks)
