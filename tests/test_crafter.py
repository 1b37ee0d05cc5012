"""Crafter: seeds, sight, memory, skills, and what the words never tell."""

import collections
import re

import numpy as np
import pytest

pytest.importorskip('crafter')

from lore_plugin import errors  # noqa: E402
from lore_plugin.advisor import ground  # noqa: E402
from lore_plugin.advisor import prompts  # noqa: E402
from lore_plugin.advisor import types  # noqa: E402
from lore_plugin.advisor.providers import scripted  # noqa: E402
from lore_plugin.worlds.crafter import env as envlib  # noqa: E402
from lore_plugin.worlds.crafter import memory as memorylib  # noqa: E402
from lore_plugin.worlds.crafter import needs as needslib  # noqa: E402
from lore_plugin.worlds.crafter import rules  # noqa: E402
from lore_plugin.worlds.crafter import shelter as shelterlib  # noqa: E402
from lore_plugin.worlds.crafter import sight  # noqa: E402
from lore_plugin.worlds.crafter import skills  # noqa: E402
from lore_plugin.worlds.crafter import world as worldlib  # noqa: E402

CODE = memorylib.CODE


def follow(situation, rng):
  """Returns what the rules do; an action of nobody's choice while asleep."""
  found = {
      k: v for k, v in zip(situation.question.choices, situation.skills) if v}
  ranked = rules.ranking(situation.question.facts)
  best = next((x for x in ranked if x in found), None)
  return best, int(rng.choice(found[best])) if best else 0


def game(steps=400, seed=0):
  """Yields (environment, world, situation, choice, action) of played steps."""
  env = envlib.Crafter(seed=seed)
  world = worldlib.CrafterWorld(env, 'reward')
  rng = np.random.default_rng(seed)
  obs, action = {'is_last': True}, None
  for _ in range(steps):
    if obs['is_last']:
      obs = env.step({'reset': True, 'action': 0})
      world.reset()
      action = None
    situation = world.observe(obs, action)
    choice, action = follow(situation, rng)
    yield env, world, situation, choice, action
    obs = env.step({'reset': False, 'action': action})


def random_play(env, steps, seed=0):
  rng = np.random.default_rng(seed)
  obs = env.step({'reset': True, 'action': 0})
  out = []
  for _ in range(steps):
    out.append({k: np.asarray(v).tolist() for k, v in obs.items()})
    obs = env.step({
        'reset': False, 'action': int(rng.integers(17))})
  return out


@pytest.mark.parametrize('obs', envlib.OBS)
def test_a_seed_makes_one_game(obs):
  # A world takes a second to make.
  play = lambda **kw: random_play(envlib.Crafter(obs=obs, **kw), 20)
  one = play(seed=1)
  assert one == play(seed=1)
  if obs == 'symbolic':
    assert one != play(seed=2)
    assert one != play(seed=1, index=1)
    assert one != play(seed=1, heldout=True)


def test_observations_keep_their_spaces():
  env = envlib.Crafter()
  obs = env.step({'reset': True, 'action': 0})
  assert obs['is_first'] and obs.keys() == env.obs_space.keys()
  for _ in range(50):
    obs = env.step({'reset': False, 'action': 5})
    for key, space in env.obs_space.items():
      assert obs[key] in space, (key, obs[key])


def test_time_limit_is_no_death():
  env = envlib.Crafter(length=5)
  env.step({'reset': True, 'action': 0})
  ends = [env.step({'reset': False, 'action': 0}) for _ in range(5)]
  assert ends[-1]['is_last'] and not ends[-1]['is_terminal']
  env.env._player.health = 0
  env.step({'reset': True, 'action': 0})
  env.env._player.health = 0
  end = env.step({'reset': False, 'action': 0})
  assert end['is_last'] and end['is_terminal']


def test_unknown_task_is_said():
  with pytest.raises(errors.EnvError, match='Choose from: reward, noreward'):
    envlib.Crafter('fun')


def test_looking_changes_nothing():
  def play(look):
    env = envlib.Crafter(seed=3)
    env.step({'reset': True, 'action': 0})
    for _ in range(60):
      if look:
        sight.see(env.env)
      env.env.step(1)
    return env.env._world.random.get_state()[1].tolist()
  assert play(True) == play(False)


def test_night_hides_the_border_and_never_what_is_beside():
  assert not sight.hidden(0.5).any()
  dark = sight.hidden(0.0)
  x, y = sight.HERE
  assert dark[0, 0] and dark[-1, -1]
  assert not dark[x - 1:x + 2, y - 1:y + 2].any()
  assert sight.hidden(0.2).sum() < dark.sum()


def test_the_player_knows_where_it_is_and_what_it_did():
  """In played episodes: positions and deeds of the simulator, few questions.

  The choices are the same at every step, and what begins one is an action.
  """
  questions, played = set(), collections.Counter()
  missed = set()
  for env, world, situation, choice, _ in game(900):
    where = tuple(int(x) - 32 for x in env.env._player.pos)
    assert where == tuple(
        p - s for p, s in zip(world.memory.pos, memorylib.START))
    done = {k for k, v in env.env._player.achievements.items() if v}
    assert world.memory.done <= done
    missed |= done - world.memory.done
    assert situation.question.choices == worldlib.CHOICES
    assert all(0 <= x < 17 for way in situation.skills for x in way)
    assert world.memory.asleep or any(situation.skills)
    questions.add(situation.question)
    played[choice] += 1
  # A zombie that an arrow killed, or that died out of sight, is not noticed.
  assert missed <= {'defeat_zombie', 'defeat_skeleton'}, missed
  assert len(questions) <= 50, len(questions)
  assert len(played) >= 10, played
  assert len(set(worldlib.CHOICES)) == len(worldlib.CHOICES)


def test_words_never_tell_what_was_not_seen():
  """Two games that differ only in cells nobody has seen yet say the same."""
  env = envlib.Crafter(seed=5)
  world = worldlib.CrafterWorld(env, 'reward')
  obs = env.step({'reset': True, 'action': 0})
  first = world.observe(obs)
  x, y = (int(v) for v in env.env._player.pos)
  hidden = env.env._world._mat_map.copy()
  changed = np.full_like(hidden, 3)
  changed[x - 4:x + 5, y - 3:y + 4] = hidden[x - 4:x + 5, y - 3:y + 4]
  assert (changed != hidden).any()
  env.env._world._mat_map[:] = changed
  world.reset()
  assert world.observe(obs) == first


def test_a_reset_forgets_everything():
  *_, (env, world, *_) = game(60, seed=2)
  obs = env.step({'reset': True, 'action': 0})
  world.reset()
  fresh = worldlib.CrafterWorld(env, 'reward')
  assert world.observe(obs) == fresh.observe(obs)


def test_a_shelter_is_dug_and_closed():
  """In rock with a pickaxe the rules end up in a closed room."""
  memory = memorylib.Memory()
  memory.inventory = {'wood_pickaxe': 1, 'stone': 0, 'energy': 5}
  memory.cells[:] = CODE['stone']
  x, y = memorylib.START
  memory.cells[x - 3:x + 1, y] = CODE['grass']
  shelter = shelterlib.Shelter()
  for _ in range(30):
    search = skills.Search(memory, {}, {}, frontier=False)
    action = shelter.action(memory, search.to)
    if action == 'sleep':
      break
    dx, dy = memorylib.DIRECTIONS.get(action, (0, 0))
    if action in memorylib.DIRECTIONS:
      memory.facing = dx, dy
      if memory.free((memory.pos[0] + dx, memory.pos[1] + dy)):
        memory.pos = memory.pos[0] + dx, memory.pos[1] + dy
    elif action == 'do':
      assert memory.cells[memory.front] == CODE['stone']
      memory.cells[memory.front] = CODE['path']
      memory.inventory['stone'] += 1
    else:
      assert action == 'place_stone', action
      memory.cells[memory.front] = CODE['stone']
      memory.inventory['stone'] -= 1
  assert action == 'sleep' and shelterlib.closed(memory)


def test_recipes_are_the_games_own():
  recipes = needslib.Recipes.read()
  from crafter import constants
  assert recipes.place['table'] == constants.place['table']['uses']
  assert recipes.nearby['iron_sword'] == ('table', 'furnace')
  memory = memorylib.Memory()
  memory.inventory = {k: 0 for k in constants.items}
  needs = needslib.Needs(memory, recipes)
  # Six tools take a piece of wood each; a table comes before them.
  table = constants.place['table']['uses']['wood']
  assert needs.enough('wood', tables=True) == 6
  assert needs.enough('wood', tables=False) == min(9, 6 + table)
  assert not needs.can('iron') and needs.can('tree')


def test_the_manual_says_what_the_game_asks_for():
  """The prompt's numbers are the game's, and its examples the world's."""
  from crafter import constants
  parts = prompts.load(worldlib.CrafterWorld.version)
  for thing, text in (('table', 'A table takes (\\d) wood'),
                      ('furnace', 'A furnace takes (\\d) stone')):
    used, = constants.place[thing]['uses'].values()
    assert int(re.search(text, parts['system']).group(1)) == used
  made = re.search(
      'of wood for (.*), of stone for (.*), of iron for (.*), these',
      parts['system']).groups()
  for kind, text in zip(('wood', 'stone', 'iron'), made):
    for tool in ('pickaxe', 'sword'):
      uses = constants.make[f'{kind}_{tool}']['uses']
      assert uses == {x: int(n) for n, x in re.findall(r'(\d) (\w+)', text)}
  answers = set(re.findall('^Next: (.*)$', parts['prefix'], re.M))
  assert answers <= set(worldlib.CHOICES) and len(answers) > 15
  # Contexts of small models are short.
  assert len(parts['prefix']) < 4000


def test_what_is_impossible_says_nothing_about_the_rest():
  """The best that can be begun leads, however low it ranks."""
  names = worldlib.CHOICES
  options = tuple(
      types.Option(x, (1,) if x == worldlib.EXPLORE else
                   (2,) if x == worldlib.COLLECT['tree'] else ())
      for x in names)
  words = ('noop', 'move left', 'move right')
  text = 'You have no pickaxe.'
  desc = types.Description(
      text, 'm', words, options, (), worldlib.CrafterWorld.version)
  scores = scripted.score(types.Query(desc, names, 'subgoal'))
  logits = ground.ground(desc, 'subgoal', names, scores, {})
  assert np.argmax(logits) == 2 and logits[2] - logits[1] > 3
