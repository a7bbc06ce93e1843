#!/usr/bin/env python3
"""The comparison of the LoRA paper in its quick form, one seed: all six methods
train, their files load, their answers are scored by sacrebleu, and every method
learns. bench/measure_train_paper.py has the whole of it.

usage: check_paper.py --loratool BIN"""
import argparse, subprocess, sys

ap = argparse.ArgumentParser()
ap.add_argument("--loratool", required=True)
args = ap.parse_args()
sys.exit(subprocess.run([sys.executable, "bench/measure_train_paper.py", "--loratool", args.loratool, "--seeds", "1", "--check"]).returncode)
