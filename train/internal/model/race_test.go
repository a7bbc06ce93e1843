//go:build race

package model

// race says that the race detector makes everything ten times slower.
const race = true
