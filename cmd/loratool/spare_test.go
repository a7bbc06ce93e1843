package main

import (
	"runtime"
	"testing"
)

func TestProcessors(t *testing.T) {
	for _, c := range []struct {
		now      int
		variable string
		want     int
	}{
		{1, "", 2},
		{2, "", 3},
		{64, "", 65},
		{2, "2", 2},
		{1, "1", 1},
		{7, "7", 7},
		{2, "0", 3}, // as if it were not set
		{2, "-1", 3},
		{2, "all", 3},
		{2, "99999999999", 3},
	} {
		if got := processors(c.now, c.variable); got != c.want {
			t.Errorf("GOMAXPROCS=%q on %d: %d, want %d", c.variable, c.now, got, c.want)
		}
	}
}

// TestSpare checks that the runtime does what processors says, and that a
// second command of the process adds nothing.
func TestSpare(t *testing.T) {
	before := runtime.GOMAXPROCS(0)
	defer runtime.GOMAXPROCS(before)
	for variable, want := range map[string]int{"": before + 1, "3": before} {
		t.Setenv("GOMAXPROCS", variable)
		spare()
		if got := runtime.GOMAXPROCS(before); got != want {
			t.Errorf("GOMAXPROCS=%q: %d of %d, want %d", variable, got, before, want)
		}
	}
	t.Setenv("GOMAXPROCS", "")
	spareProcessor() // or an earlier test did
	once := runtime.GOMAXPROCS(0)
	spareProcessor()
	if got := runtime.GOMAXPROCS(0); got != once || got > before+1 {
		t.Errorf("%d, then %d, then %d", before, once, got)
	}
}
