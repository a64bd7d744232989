"""The short way: ``load`` a checkpoint and get an object that does what the checkpoint is for."""
