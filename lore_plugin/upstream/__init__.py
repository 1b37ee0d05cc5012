"""Every touch of the official dreamerv3, and the checks that it is that.

Upstream comes in two forms: the copy that `make setup` installs (3.3.1, as
published), and a git checkout (main). Neither is edited. What has to differ is
rebound in memory, in this process and, by portal's initialisers, in the
processes that upstream starts.

  find        where the copy is
  contract    the table of all that is relied on, with its checks
  source      what a user's main.py says of itself, without running it
  values      upstream's own flags, checked before anything is compiled
  device      whether there is the GPU that is named
  adapt       what today's jax and elements, and a clock, make necessary
  run         upstream's main() with functions of ours in its places
  checkpoint  the files that a run begins from and leaves behind
  resume      whether a run may go on from them
  bases       the classes that our agent is built of
  patch       the file that `python -m dreamerv3` needs
  malloc      memory on a CPU
"""

from .adapt import in_order
from .adapt import install
from .adapt import more_xla_flags
from .adapt import swapped
from .contract import check
from .contract import sampling_agent
from .find import INSTALL
from .find import KNOWN
from .find import Upstream
from .find import find
from .run import agent_class
from .run import drawing
from .run import end_children
from .run import makes
from .run import original
from .run import own_arguments
from .run import run
from .run import stop
from .run import stopped
from .run import unwrapped_env
from .run import wrap_env
