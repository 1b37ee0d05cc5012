"""A task whose picture shows what to do, and a model that sees it."""

import base64
import io

import gymnasium
import numpy as np
import PIL.Image
import servers

from lore_plugin.advisor import pictures

TASK = 'gymnasium_Lights-v0'


class Lights(gymnasium.Env):
  """One of three lamps shines red; press the button below it, five times."""

  observation_space = gymnasium.spaces.Box(0, 255, (24, 24, 3), np.uint8)
  action_space = gymnasium.spaces.Discrete(3)

  def __init__(self, named=True):
    if named:
      self.get_action_meanings = lambda: ['LEFT', 'MIDDLE', 'RIGHT_SIDE']

  def reset(self, *, seed=None, options=None):
    super().reset(seed=seed)
    self.steps, self.right = 0, 0
    return self.look(), {}

  def look(self):
    self.lamp = int(self.np_random.integers(3))
    image = np.full((24, 24, 3), 30, np.uint8)
    image[4:8, 8 * self.lamp + 2:8 * self.lamp + 6] = 255, 0, 0
    return image

  def step(self, action):
    self.steps += 1
    self.right += action == self.lamp
    done = self.steps == 5
    won = done and self.right == 5
    return self.look(), float(won), done, False, {'success': won}


def picture_of(body):
  """Returns the picture of a request, as a server gets it."""
  content = body['messages'][-1]['content']
  part, words = content
  if part['type'] == 'image':
    assert part['source']['media_type'] == 'image/png'
    data = part['source']['data']
  else:
    data = part['image_url']['url'].removeprefix(pictures.PREFIX)
  assert words['type'] == 'text' and 'Lights-v0' in words['text']
  return np.asarray(PIL.Image.open(io.BytesIO(base64.b64decode(data))))


def look_and_answer(body, number, kind):
  """A model that sees which lamp shines, and scores the buttons."""
  image = picture_of(body)
  # Enlarged, by a whole factor.
  assert image.shape in ((504, 504, 3), (512, 512, 3))
  lamp = int(image[..., 0].astype(int).sum(0).argmax()) * 3 // image.shape[1]
  text = body['messages'][-1]['content'][1]['text']
  plain = {**body, 'messages': [{'role': 'user', 'content': text}]}
  words = servers.words_of(plain)
  assert words == ['left', 'middle', 'right side']
  tag = servers.tag_of(plain) or servers.tag_of(body)
  scores = {f'score_{i + 1}': 100 * (i == lamp) for i in range(3)}
  if kind == 'messages':
    return 200, servers.message([{
        'type': 'tool_use', 'id': 't', 'name': 'advise',
        'input': {**scores, 'tag': tag}}])
  lead = f'{tag}: '
  return 200, servers.chat(lead + words[lamp], [
      servers.token(lead), servers.token(words[lamp], *(
          (x, 0.98 if i == lamp else 0.01) for i, x in enumerate(words)))])
