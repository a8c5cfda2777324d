"""Launcher of Hydra: `python train.py -m lr=1e-4,5e-5 hydra/launcher=berth`."""
