//go:build !race

package checkpoint_test

// slowdown is how much longer tests may take than users should wait.
const slowdown = 1
