"""Write a checkpoint directory with the MTP module of train_mtp.py. Every other byte of it stays as it is.

usage: replace_module.py MODEL_DIR OUT.pt OUT_DIR      (OUT_DIR may be MODEL_DIR)
"""
import sys
import torch
from checkpoint import load_model, write_with_module


def main(folder, module, out):
    model = load_model(folder)
    model.mtp.load_state_dict(torch.load(module)["module"])
    write_with_module(folder, out, model)


if __name__ == "__main__":
    main(*sys.argv[1:])
