//go:build fault && linux

package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestTrainDiskFills trains on a disk with room for one state, but not for the
// next beside it, so that the save after the second step meets a full disk:
// one line that says so, and the first state is kept, from which the run goes
// on once there is room.
func TestTrainDiskFills(t *testing.T) {
	free := t.TempDir()
	args := trainArgs(t, free)
	if r := run(t, free, append(args, "--stop-at", "1"), nil); r.code != 0 {
		t.Fatalf("exit status %d: %s", r.code, r.stderr)
	}
	first := digest(t, filepath.Join(free, "out.state"))
	fi, err := os.Stat(filepath.Join(free, "out.state"))
	must(t, err)
	want := finish(t, free, args)

	dir := (&lab{root: t.TempDir()}).mountSmall(t, fi.Size()*3/2)
	args = trainArgs(t, dir)
	r := run(t, dir, args, nil)
	if r.code != 1 || r.crashed() || !strings.Contains(r.stderr, `folder ".": 0 B free`) || strings.Count(strings.TrimSpace(r.stderr), "\n") > 1 {
		t.Errorf("exit status %d: %s", r.code, r.stderr)
	}
	if left := names(t, dir); hasTemp(left) || slices.Contains(left, "out") {
		t.Errorf("left over: %q", left)
	}
	if digest(t, filepath.Join(dir, "out.state")) != first {
		t.Error("the state of the first step is not kept")
	}
	t.Log(strings.TrimSpace(r.stderr))
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT, fmt.Sprintf("size=%d", 64<<20)))
	if got := finish(t, dir, args); got != want {
		t.Error("the resumed run ends with other bytes")
	}
}
