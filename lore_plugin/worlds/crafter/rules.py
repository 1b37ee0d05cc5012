"""Good advice for Crafter without a model: what an expert would rank highest.

A control, like the rules for MiniGrid: it knows no more than the question.
"""

from . import needs
from . import world as w

# What to do when nothing presses, the most urgent first. Tools come before
# what they are made of, and what is rare before what is everywhere.
ORDER = (
    w.PLANT, *(w.MAKE[x] for x in reversed(needs.TOOLS)),
    w.SLEEP, w.COLLECT['diamond'], w.PLACE['plant'], w.COLLECT['iron'],
    w.COLLECT['coal'], w.PLACE['stone'], w.PLACE['furnace'],
    w.PLACE['table'], w.DRINK, w.COW, w.COLLECT['tree'], w.COLLECT['stone'],
    w.COLLECT['grass'], w.SHOOT, w.FIGHT, w.EXPLORE)


def ranking(facts: str) -> tuple[str, ...]:
  """Returns all choices, the best first, at one stage of the game.

  Args:
    facts: The text of the question.
  """
  says = lambda word: word in facts
  first = [w.FIGHT] if says('zombie is beside') else []
  starving = says('thirsty') or says('hungry')
  if says('night') and not starving:
    first.append(w.SLEEP)
  if says('thirsty'):
    first.append(w.DRINK)
  if says('hungry'):
    first += [w.PLANT, w.COW]
  if starving:
    first.append(w.EXPLORE)
  if says('tired') or says('hurt'):
    first.append(w.SLEEP)
  return tuple(dict.fromkeys((*first, *ORDER)))
