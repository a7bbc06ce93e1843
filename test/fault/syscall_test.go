//go:build fault && linux

package fault

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// publishCalls are the system calls that an output goes through until it has
// its name, and how many of each a thread is let make before it is stopped.
var publishCalls = map[string]int{
	"chmod,fchmodat":  1,
	"copy_file_range": 2,
	"fallocate":       2,
	"flock":           3,
	"fsync":           4,
	"mkdirat":         1,
	"renameat2":       2,
	"rename,renameat": 1,
	"unlinkat":        3,
}

// needStrace skips a test where system calls cannot be tampered with.
func needStrace(t *testing.T) {
	t.Helper()
	if err := exec.Command("strace", "-f", "-o", os.DevNull, "true").Run(); err != nil {
		t.Skipf("NOT RUN: needs strace that may trace (apt-get install strace): %v", err)
	}
}

// tampered is the command line of a merge during which strace does something
// to the n-th of some system calls. It counts the calls of each thread for
// itself, so that which call of the process it is depends on the run; the
// checks hold for all of them.
func tampered(m mode, calls, what string, n int) []string {
	inject := fmt.Sprintf("inject=%s:%s:when=%d", calls, what, n)
	argv := []string{"strace", "-f", "-qq", "-o", os.DevNull, "-e", "trace=" + calls, "-e", inject, loratool}
	return append(argv, m.args()...)
}

// TestKillAtCall kills merges at the system calls of publishing, which random
// moments seldom hit.
func TestKillAtCall(t *testing.T) {
	needStrace(t)
	l := newLab(t)
	killed, complete := 0, 0
	for calls, count := range publishCalls {
		for n := 1; n <= count; n++ {
			for _, m := range modes {
				dir, old := l.scene(t, m)
				r := run(t, dir, tampered(m, calls, "signal=KILL", n), nil)
				isNew, _ := l.check(t, dir, old, m)
				if r.code == 0 && !isNew {
					t.Errorf("%s, %s %d: success reported, output is not the new one", m.name, calls, n)
				}
				if r.code != 0 {
					killed++
				}
				if isNew {
					complete++
				}
				again := mode{m.name, m.folder, true}
				merge(t, dir, again)
				if isNew, temps := l.check(t, dir, "", again); !isNew || temps > 0 {
					t.Errorf("%s, %s %d: the next run leaves %q, output new: %v", m.name, calls, n, names(t, dir), isNew)
				}
				os.RemoveAll(dir)
			}
		}
	}
	t.Logf("%d merges killed at a call, %d outputs were complete", killed, complete)
	if killed == 0 {
		t.Error("no call was hit")
	}
}

// TestCallFails lets the system calls of publishing fail: an error and no
// output, or a complete output; nothing left over unless removing failed.
func TestCallFails(t *testing.T) {
	needStrace(t)
	l := newLab(t)
	for _, tt := range []struct{ calls, errno string }{
		{"copy_file_range", "EIO"},
		{"fallocate", "ENOSPC"},
		{"fallocate", "EOPNOTSUPP"},
		{"flock", "ENOLCK"},
		{"fsync", "EIO"},
		{"pwrite64", "EIO"},
		{"renameat2", "EIO"},
		{"renameat2", "EINVAL"}, // a file system without the flags
		{"unlinkat", "EIO"},
	} {
		for _, m := range modes {
			dir, old := l.scene(t, m)
			r := run(t, dir, tampered(m, tt.calls, "error="+tt.errno, 1), nil)
			isNew, temps := l.check(t, dir, old, m)
			what := fmt.Sprintf("%s, %s=%s", m.name, tt.calls, tt.errno)
			switch {
			case r.crashed():
				t.Errorf("%s: crash: %s", what, r.stderr)
			case r.code == 0 && (!isNew || temps > 0):
				t.Errorf("%s: success reported, left %q, output new: %v", what, names(t, dir), isNew)
			case r.code != 0 && r.code != 1:
				t.Errorf("%s: exit status %d: %s", what, r.code, r.stderr)
			case temps > 0 && tt.calls != "unlinkat":
				t.Errorf("%s: exit status %d, left %q", what, r.code, names(t, dir))
			}
			if got := digest(t, filepath.Join(dir, "out")); r.code != 0 && got == "" && old != "" {
				t.Errorf("%s: the old output is gone", what)
			}
			os.RemoveAll(dir)
		}
	}
}
