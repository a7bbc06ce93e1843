//go:build !fault

package checkpoint_test

// slowdown is how much longer than users should wait these tests may take:
// other work on the machine, or the race detector, must not fail them. The
// fault lane takes the time that counts.
const slowdown = 20
