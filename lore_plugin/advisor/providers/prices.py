"""What a model's tokens cost.

What the user says counts; a server on this machine costs nothing; else the
package genai-prices knows, a list that comes with it, so that nobody is asked.
"""

import dataclasses
import urllib.parse
from collections.abc import Mapping
from typing import Any

from . import http

UNKNOWN = -1.0
# Tokens for which the list is asked. Some models cost more for long texts,
# and no question of ours is one.
SAMPLE = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Prices:
  """What tokens cost.

  Attributes:
    input: US dollars for a token read; tokens that were cached count in full.
    output: US dollars for a token written.
    known: Whether it is known what calls cost; otherwise they count as free.
    source: Where the prices are from, in words.
  """
  input: float
  output: float
  known: bool = True
  source: str = ''

  def __call__(self, read: float, written: float) -> float:
    """Returns the US dollars of a call."""
    return self.input * read + self.output * written

  def __str__(self) -> str:
    if not self.known:
      return 'of unknown price'
    if not (self.input or self.output):
      return 'free of charge'
    return (
        f'${1e6 * self.input:g} and ${1e6 * self.output:g} for a million '
        f'tokens read and written, by {self.source}')


def find(
    config: Mapping[str, Any], provider: str, model: str,
    url: str = '') -> Prices:
  """Finds what a model costs.

  Args:
    config: Mapping with `price`: `input` and `output`, US dollars for a
      million tokens; a negative number is to be looked up.
    provider: `anthropic` or `openai`, whose interface is spoken.
    model: The model's name.
    url: The server, if it is not the provider's own.
  """
  price = config.get('price', None) or {}
  stated = [float(price.get(x, UNKNOWN)) for x in ('input', 'output')]
  host = urllib.parse.urlsplit(url).hostname or ''
  if min(stated) >= 0:
    found: tuple[float, float] | None = (stated[0] / 1e6, stated[1] / 1e6)
    source = 'lore.advisor.price'
  elif url and http.is_local(host):
    found, source = (0.0, 0.0), 'this machine'
  else:
    found, source = look_up(provider, model, url)
  if found is None:
    return Prices(0.0, 0.0, known=False)
  # One of both may be stated alone.
  read, written = (
      x / 1e6 if x >= 0 else y for x, y in zip(stated, found))
  return Prices(read, written, source=source)


def look_up(
    provider: str, model: str,
    url: str = '') -> tuple[tuple[float, float] | None, str]:
  """Returns US dollars for a token read and written, and who says so.

  None where the list lacks the model.
  """
  import genai_prices
  where: dict[str, Any] = (
      {'provider_api_url': url} if url else {'provider_id': provider})
  found = []
  for kind in ('input_tokens', 'output_tokens'):
    try:
      price = genai_prices.calc_price(
          genai_prices.Usage(**{kind: SAMPLE}), model, **where)
    except (LookupError, ValueError):
      return None, ''
    found.append(float(price.total_price) / SAMPLE)
  return (found[0], found[1]), f'genai-prices {genai_prices.__version__}'
