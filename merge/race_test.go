//go:build race

package merge

// slowdown is how much longer the race detector may take.
const slowdown = 10
