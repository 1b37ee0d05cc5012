from .api import Advisor as Advisor
from .api import Agent as Agent
from .api import Answer as Answer
from .api import Run as Run
from .api import load as load
from .api import train as train
from .errors import LoreError as LoreError
from .worlds.base import Question as Question
from .worlds.base import Situation as Situation
from .worlds.base import World as World
from .worlds.check import check_world as check_world
from .worlds.outward import wrap as wrap

__version__: str
__all__: list[str]
