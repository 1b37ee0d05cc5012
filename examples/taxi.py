"""Gymnasium's Taxi in words: --lore.world taxi:TaxiWorld"""

import functools

from lore_plugin import Question, Situation, World

MAP = ('R: | : :G', ' : | : : ', ' : : : : ', ' | : | : ', 'Y| : |B: ')
STANDS = ((0, 0), (0, 4), (4, 0), (4, 3))
MOVES = ((1, 0), (-1, 0), (0, 1), (0, -1))  # South, north, east, west.
PLACES = {(row, column) for row in range(5) for column in range(5)}


class TaxiWorld(World):
  """The map is known; where taxi, passenger and destination are is seen."""

  version = 'taxi-1'
  actions = (
      'drive south', 'drive north', 'drive east', 'drive west',
      'let the passenger in', 'let the passenger out')

  def reset(self):
    pass  # Taxi shows everything, so there is nothing to remember.

  def observe(self, obs, action=None):
    rest, destination = divmod(int(obs['obs']), 4)
    place, passenger = divmod(rest, 5)
    here, ways = divmod(place, 5), {}
    aboard = passenger == 4
    if not aboard:
      there = STANDS[passenger]
      ways['pick up the passenger'] = way(here, there) or (4,)
    elif here == STANDS[destination]:
      ways['let the passenger out'] = (5,)
    if here != STANDS[destination]:
      ways['go to the destination'] = way(here, STANDS[destination])
    facts = 'You carry the passenger.' if aboard else 'You carry nobody.'
    question = Question(
        'take the passenger to the destination', facts, tuple(sorted(ways)))
    return Situation(question, tuple(ways[x] for x in question.choices))


@functools.cache
def way(here, goal):
  """Returns the moves that begin a shortest way."""
  far, queue = {goal: 0}, [goal]
  for place in queue:
    for _, there in neighbours(place):
      if there not in far:
        far[there] = far[place] + 1
        queue.append(there)
  return tuple(a for a, x in neighbours(here) if far[x] < far[here])


def neighbours(place):
  """Yields each move that no wall stops, and where it leads."""
  row, column = place
  for action, (down, right) in enumerate(MOVES):
    there = row + down, column + right
    if there in PLACES and MAP[row][2 * column + right] != '|':
      yield action, there
