//go:build !race

package merge

// slowdown is how much longer tests may take than users should wait.
const slowdown = 1
