//go:build fault

package checkpoint_test

// slowdown is 1 in the fault lane, which has the machine to itself.
const slowdown = 1
