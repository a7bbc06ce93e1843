package publish

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A faulty disk fails from its n-th call on.
type faulty struct {
	n          int  // call that fails, from 1
	persistent bool // and every later one: what a kill leaves behind
	late       bool // the call is made and then reported as failed
	noExchange bool // a file system that cannot swap two names
	calls      int
}

func (f *faulty) disk() disk { return disk{around: f.around} }

func (f *faulty) around(op, path string, call func() error) error {
	if f.noExchange && op == "exchange" {
		return errors.ErrUnsupported
	}
	f.calls++
	if f.calls == f.n || f.persistent && f.calls > f.n {
		if f.late && f.calls == f.n {
			call()
		}
		return &fs.PathError{Op: op, Path: path, Err: syscall.EIO}
	}
	return call()
}

func (f *faulty) reached() bool { return f.calls >= f.n }

const (
	oldText = "old contents"
	newText = "new contents, longer than the old"
)

// A scenario publishes newText as dir/out, or as dir/out/w and dir/out/sub/v.
type scenario struct {
	name  string
	setup func(t *testing.T, dir string)
	run   func(d disk, dir string) error
	state func(dir string) string // "absent", "old", "new", or what is wrong
}

func writeFile(path, data string) error { return os.WriteFile(path, []byte(data), 0o666) }

func runFile(force bool) func(disk, string) error {
	return func(d disk, dir string) error {
		f, err := createFile(d, filepath.Join(dir, "out"), force)
		if err != nil {
			return err
		}
		defer f.Abort()
		if err := f.Preallocate(int64(len(newText))); err != nil {
			return err
		}
		if _, err := f.Handle().WriteString(newText); err != nil {
			return err
		}
		return f.Commit()
	}
}

func runDir(force bool) func(disk, string) error {
	return func(d disk, dir string) error {
		out, err := createDir(d, filepath.Join(dir, "out"), force)
		if err != nil {
			return err
		}
		defer out.Abort()
		f, err := out.Create("w")
		if err != nil {
			return err
		}
		_, err = f.WriteString(newText)
		f.Close()
		if err != nil {
			return err
		}
		out.Expect("w", int64(len(newText)))
		if err := os.Mkdir(out.Path("sub"), 0o777); err != nil {
			return err
		}
		if _, err := copyFile(context.Background(), d, out.Path("sub/v"), out.Path("w"), func(int64) {}); err != nil {
			return err
		}
		return out.Commit()
	}
}

func fileState(path string) string {
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "absent"
	case err != nil:
		return err.Error()
	case string(data) == oldText:
		return "old"
	case string(data) == newText:
		return "new"
	}
	return fmt.Sprintf("torn: %q", data)
}

func dirState(dir string) string {
	out := filepath.Join(dir, "out")
	if _, err := os.Stat(out); err != nil {
		return "absent"
	}
	w, v := fileState(filepath.Join(out, "w")), fileState(filepath.Join(out, "sub", "v"))
	switch {
	case w == "new" && v == "new":
		return "new"
	case w == "old" && v == "absent":
		return "old"
	}
	return w + " and " + v
}

func setupDir(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "out"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(filepath.Join(dir, "out", "w"), oldText); err != nil {
		t.Fatal(err)
	}
}

func setupFile(t *testing.T, dir string) {
	t.Helper()
	if err := writeFile(filepath.Join(dir, "out"), oldText); err != nil {
		t.Fatal(err)
	}
}

func setupNone(*testing.T, string) {}

func scenarios() []scenario {
	file := func(dir string) string { return fileState(filepath.Join(dir, "out")) }
	return []scenario{
		{"new file", setupNone, runFile(false), file},
		{"replace file", setupFile, runFile(true), file},
		{"new folder", setupNone, runDir(false), dirState},
		{"replace folder", setupDir, runDir(true), dirState},
	}
}

// TestFaults makes every I/O call of every scenario fail once, and fail from
// then on, as SQLite's tests do (FAULTSIM io errors): at the final name lies
// what lay there before or the whole new output, an output that was reported
// as written is there, and what is left over has a temporary name that a later
// run sweeps.
func TestFaults(t *testing.T) {
	for _, sc := range scenarios() {
		for mode := range 8 {
			persistent, late, noExchange := mode&1 != 0, mode&2 != 0, mode&4 != 0
			name := fmt.Sprintf("%s/persistent=%v/late=%v/noExchange=%v", sc.name, persistent, late, noExchange)
			t.Run(name, func(t *testing.T) {
				for n := 1; ; n++ {
					f := &faulty{n: n, persistent: persistent, late: late, noExchange: noExchange}
					faultOnce(t, sc, f)
					if !f.reached() {
						if n < 8 {
							t.Fatalf("only %d calls went through the disk", n-1)
						}
						return
					}
				}
			})
		}
	}
}

// faultOnce runs a scenario on a faulty disk and checks what it leaves.
func faultOnce(t *testing.T, sc scenario, f *faulty) {
	t.Helper()
	dir := t.TempDir()
	sc.setup(t, dir)
	before := sc.state(dir)
	err := sc.run(f.disk(), dir)
	if f.persistent && f.noExchange {
		// The one moment without an output is mended by the next run.
		SweepStale(dir)
	}
	after := sc.state(dir)
	if after != before && after != "new" {
		t.Fatalf("fault at call %d: output is %s, was %s before (error: %v)", f.n, after, before, err)
	}
	if err == nil && after != "new" {
		t.Fatalf("fault at call %d: success reported, output is %s", f.n, after)
	}
	if !f.reached() && err != nil {
		t.Fatalf("no fault was left to hit, got error %v", err)
	}
	if left := leftovers(t, dir); len(left) > 0 && !f.persistent && !f.late && f.n > 0 && !removeFailed(err) {
		t.Fatalf("fault at call %d (error: %v): left over: %v", f.n, err, left)
	}
	if _, err := SweepStale(dir); err != nil {
		t.Fatalf("sweep: %v", err)
	}
	if left := leftovers(t, dir); len(left) > 0 {
		t.Fatalf("fault at call %d: not swept: %v", f.n, left)
	}
}

// removeFailed reports whether the one call that failed was the removal
// itself, which no program can mend.
func removeFailed(err error) bool {
	pathErr, ok := errors.AsType[*fs.PathError](err)
	return ok && pathErr.Op == "remove"
}

// leftovers lists everything in dir but the output.
func leftovers(t *testing.T, dir string) (left []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "out" {
			left = append(left, e.Name())
		}
	}
	return left
}

// TestDiskFull checks the message of a full disk, at each call that may meet it.
func TestDiskFull(t *testing.T) {
	for _, op := range []string{"fallocate", "sync", "close"} {
		d := disk{around: func(o, path string, call func() error) error {
			if o == op {
				return &fs.PathError{Op: o, Path: path, Err: syscall.ENOSPC}
			}
			return call()
		}}
		err := runFile(false)(d, t.TempDir())
		space, ok := errors.AsType[*SpaceError](err)
		if !ok {
			t.Errorf("%s: got %v, want a *SpaceError", op, err)
			continue
		}
		if space.Needed != int64(len(newText)) || space.Free <= 0 {
			t.Errorf("%s: needed %d, free %d", op, space.Needed, space.Free)
		}
		if msg := err.Error(); !strings.Contains(msg, "needs 33 B, ") || !strings.Contains(msg, "no space left") {
			t.Errorf("%s: message %q", op, msg)
		}
	}
}
