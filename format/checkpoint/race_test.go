//go:build race

package checkpoint_test

// slowdown is how much longer the race detector may take.
const slowdown = 10
