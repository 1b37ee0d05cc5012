"""The one table of options: laws, what is retired, and the page made of it."""

import pathlib

import elements
import pytest

from lore_plugin import config as configlib
from lore_plugin import errors
from lore_plugin import options
from lore_plugin import retired

ROOT = pathlib.Path(__file__).parent.parent
UPSTREAM = configlib.read(configlib.folder('patches') / 'dreamerv3.yaml')


@pytest.mark.parametrize('option', options.TABLE.values(), ids=lambda x: x.key)
def test_every_option_is_whole(option):
  option.check(option.default)
  assert option.help.endswith('.') and option.help[0] not in ' "'
  assert option.key.startswith(('lore.', 'env.', 'run.', 'jax.'))
  assert option.key not in retired.KEYS
  # A configuration has no None, and tells numbers by their types.
  assert type(option.default) in (bool, int, float, str, tuple)
  if option.choices:
    assert option.default in option.choices


def test_no_option_is_upstreams():
  flat = elements.Config(UPSTREAM['defaults']).flat
  assert not flat.keys() & options.TABLE.keys()


def test_choices_that_are_gone_are_not_allowed():
  for (key, value), (now, _) in retired.CHOICES.items():
    assert now in (options.TABLE[key].choices or [now])
    options.check({key: now})
    with pytest.raises(errors.ConfigError, match='is gone'):
      options.check({key: value})


@pytest.mark.parametrize('key, value, match', [
    ('lore.gate.beta_max', -1.0,
     'at least 0. Ceiling of beta.* Its default is 3.0'),
    ('lore.gate.beta_max', float('nan'), 'is nan'),
    ('lore.trust.control', 0.91, 'at least 0 and at most 0.9'),
    ('lore.temperature.value', 0.0, 'more than 0'),
    ('lore.advisor.timeout', 0.0, 'more than 0'),
    ('lore.kl.schedule.mode', 'sucess', "'sucess'.*none, steps, success"),
    ('lore.gate.ceiling', 1.0, 'is gone: lore.kl.hard'),
    ('lore.world', 'minigrid-view', 'Type --lore.world minigrid'),
    ('lore.temperature.mode', 'scale', 'Choose from: match, '),
])
def test_refuses(key, value, match):
  with pytest.raises(errors.ConfigError, match=match) as e:
    options.check({key: value})
  assert '\n' not in str(e.value)


def test_nested_sections_are_checked():
  options.check({'calls': 5, 'policy': {'macro': True}}, 'lore.advisor')
  with pytest.raises(errors.ConfigError, match='lore.advisor.calls is -2'):
    options.check({'calls': -2}, 'lore.advisor')
  options.check({'seed': -1, 'mine': {'calls': -2}})


@pytest.mark.parametrize('key', retired.KEYS)
def test_retired_key_on_the_command_line_or_in_a_block(key):
  blocks = configlib.load()
  for argv, extra in (
      ([f'--{key}', '1'], {}), ([f'--{key}=1'], {}),
      (['--configs', 'x'], {'x': {key: 1}})):
    with pytest.raises(errors.ConfigError) as e:
      configlib.resolve(argv, {**blocks, **extra})
    assert retired.KEYS[key].instead in str(e.value)
    assert '\n' not in str(e.value)


def test_retired_key_in_upstreams_own_file(tmp_path):
  path = tmp_path / 'configs.yaml'
  path.write_text('defaults: {lore: {kl: {init: 1.0}}}\n')
  with pytest.raises(errors.ConfigError, match='lore.kl.init is gone'):
    configlib.load(path)


def test_finished_run_is_read_without_retired_keys():
  flat = {
      'seed': 3, 'lore.gate.ceiling': 0.0, 'lore.kl.damp': 1.0,
      'lore.temperature.mode': 'scale', 'lore.world': 'minigrid-view'}
  now, told = retired.modernise(flat)
  assert now == {
      'seed': 3, 'lore.temperature.mode': 'match', 'lore.world': 'minigrid'}
  assert len(told) == 3
  assert told[0].startswith('lore.kl.damp was 1.0 and is gone')
  assert told[1].startswith('lore.temperature.mode was scale, which is gone')


def test_resumed_run_may_hold_defaults_of_retired_keys_only():
  assert retired.check_resumed({'seed': 3}, 'x') == ''
  note = retired.check_resumed(
      {'lore.gate.ceiling': 0.0, 'lore.kl.init': 0}, 'x')
  assert note.startswith('2 options') and 'lore.gate.ceiling' in note
  with pytest.raises(errors.ConfigError, match='ceiling was 2.0.*--logdir'):
    retired.check_resumed({'lore.gate.ceiling': 2.0}, 'x')


def test_listing_finds_by_name_and_by_meaning():
  assert options.listing('gate.kappa') == (
      '--lore.gate.kappa  (2.0; at least 0)\n    Steepness of the gate.')
  assert '--lore.advisor.account' in options.listing('share their caps')
  assert options.listing().count('\n    ') == len(options.TABLE)
  with pytest.raises(errors.ConfigError, match='No option has'):
    options.listing('xyzzy')
  with pytest.raises(errors.ConfigError, match=r'mean lore\.gate\.kappa\?'):
    options.listing('lore.gate.kapa')
  with pytest.raises(errors.ConfigError, match='is gone'):
    options.listing('lore.kl.init')


def test_page_is_made_from_the_table():
  page = (ROOT / 'docs' / 'options.md').read_text(encoding='utf-8')
  assert page == options.markdown(), (
      'Type python -m lore_plugin options --markdown > docs/options.md')
