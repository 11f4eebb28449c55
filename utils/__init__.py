"""What every other package may use; pytorch-template's helpers are imported from here directly."""

from utils.util import *
