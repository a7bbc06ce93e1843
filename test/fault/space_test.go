//go:build fault && linux

package fault

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// mountSmall mounts a file system of some bytes beside the inputs.
func (l *lab) mountSmall(t *testing.T, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT RUN: only root may mount the small file system that this test fills")
	}
	dir := l.dir(t)
	must(t, syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error("unmount:", err)
		}
	})
	return dir
}

// outputSize returns the bytes of the base, which the output has too.
func (l *lab) outputSize(t *testing.T) int64 {
	t.Helper()
	fi, err := os.Stat(filepath.Join(l.root, "base.safetensors"))
	must(t, err)
	return fi.Size()
}

// wantFull checks how a merge ended on a full disk.
func wantFull(t *testing.T, r result, dir string) {
	t.Helper()
	if r.code != 1 || r.crashed() {
		t.Errorf("exit status %d, want 1: %s", r.code, r.stderr)
	}
	for _, word := range []string{"needs ", " free"} {
		if !strings.Contains(r.stderr, word) {
			t.Errorf("message lacks %q: %s", word, r.stderr)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}

// TestNoSpace merges to a disk that is too small from the start: an error
// before the work.
func TestNoSpace(t *testing.T) {
	l := newLab(t)
	dir := l.mountSmall(t, l.outputSize(t)/2)
	for _, m := range modes[:2] {
		r := run(t, dir, append([]string{loratool}, m.args()...), nil)
		wantFull(t, r, dir)
		t.Logf("%s: refused after %v: %s", m.name, r.took, strings.TrimSpace(r.stderr))
	}
}

// TestDiskFills fills the disk while the merge runs, at several moments: an
// error and nothing left over, or a complete output if the room was reserved
// in time.
func TestDiskFills(t *testing.T) {
	l := newLab(t)
	dir := l.mountSmall(t, l.outputSize(t)+l.outputSize(t)/8)
	filler := filepath.Join(dir, ".filler")
	failed := 0
	for i := range 12 {
		m := modes[i%2]
		wait := l.took[m.folder] * time.Duration(i) / 12
		r := run(t, dir, append([]string{loratool}, m.args()...), func(*os.Process) {
			time.Sleep(wait)
			f, err := os.Create(filler)
			must(t, err)
			defer f.Close()
			for block := make([]byte, 1<<20); err == nil; {
				_, err = f.Write(block)
			}
		})
		os.Remove(filler)
		switch {
		case r.code == 0:
			if digest(t, filepath.Join(dir, "out")) != l.want[m.folder] {
				t.Errorf("%s, filled after %v: success reported, output is wrong", m.name, wait)
			}
			os.RemoveAll(filepath.Join(dir, "out"))
		default:
			failed++
			wantFull(t, r, dir)
		}
	}
	t.Logf("%d of 12 merges met a full disk", failed)
}

// TestFileSizeLimit merges under a limit on the size of files (ulimit -f),
// which fails writes in the middle of a file.
func TestFileSizeLimit(t *testing.T) {
	l := newLab(t)
	for _, m := range modes {
		dir, old := l.scene(t, m)
		command := fmt.Sprintf("ulimit -f %d; exec %s %s", 4<<10, loratool, strings.Join(m.args(), " "))
		r := run(t, dir, []string{"bash", "-c", command}, nil)
		isNew, temps := l.check(t, dir, old, m)
		if r.code != 1 || isNew || temps > 0 || r.crashed() {
			t.Errorf("%s: exit status %d, output new: %v, left %q: %s", m.name, r.code, isNew, names(t, dir), r.stderr)
		}
		os.RemoveAll(dir)
	}
}
