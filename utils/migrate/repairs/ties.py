"""An epoch as good as the best one so far becomes the best, as in pytorch-template: ``model_best`` is the later one.

To give it up: delete this file and its line in base/__init__.py. Then the earlier one stays the best.
"""

import base.loop.monitor

better = base.loop.monitor.is_better
base.loop.monitor.is_better = lambda mode, value, best: value == best or better(mode, value, best)
