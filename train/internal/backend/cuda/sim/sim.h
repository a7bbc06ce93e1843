// What the simulated driver knows of the host twins of the kernels.
#pragma once

struct Twin {
  const char *name;
  int parameters;
  void (*call)(void **params); // runs one thread
  bool barriers;
};

const Twin *find_twin(const char *name);

// run_twin runs a grid of blocks one after another. Order permutes the threads.
bool run_twin(const Twin *twin, unsigned grid, unsigned block, void **params, unsigned long order);
