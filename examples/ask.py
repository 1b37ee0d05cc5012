"""An advisor without an agent: what a model makes of words, before training.

  python examples/ask.py [PROVIDER]
"""

import sys

from lore_plugin import Advisor, Question

MISSION = 'take the passenger to the destination'
CHOICES = ('go to the destination', 'pick up the passenger')

with Advisor(*sys.argv[1:] or ['local']) as advisor:
  for facts in ('You carry nobody.', 'The passenger is still waiting.'):
    answer = advisor.ask(Question(MISSION, facts, CHOICES))
    print(f'{facts:<34}{answer.choice}, {answer.probs[answer.choice]:.2f}')
  print(advisor.spent())
