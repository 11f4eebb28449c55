from trainer.trainer import *
