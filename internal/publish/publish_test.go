package publish

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestCreateFileRefuses(t *testing.T) {
	dir := t.TempDir()
	setupFile(t, dir)
	os.Symlink("out", filepath.Join(dir, "link"))
	os.Symlink("nowhere", filepath.Join(dir, "broken"))
	os.Mkdir(filepath.Join(dir, "folder"), 0o777)
	tests := []struct {
		name, path string
		force      bool
		want       string
	}{
		{"taken", "out", false, "file already exists"},
		{"link", "link", true, "symbolic link"},
		{"broken link", "broken", true, "symbolic link"},
		{"folder", "folder", true, "is a folder"},
		{"no parent", "none/out", false, "none\": file does not exist"},
		{"parent is a file", "out/out", false, "not a directory"},
	}
	for _, tt := range tests {
		f, err := CreateFile(filepath.Join(dir, tt.path), tt.force)
		if err == nil {
			f.Abort()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := CreateFile(os.DevNull, true); err == nil {
		t.Error("a device was accepted as output")
	}
	if _, err := CreateFile("/", true); err == nil {
		t.Error("the root folder was accepted as output")
	}
	if left := leftovers(t, dir); len(left) != 3 {
		t.Errorf("left over: %v", left)
	}
}

func TestCreateDirRefuses(t *testing.T) {
	dir := t.TempDir()
	setupDir(t, dir)
	writeFile(filepath.Join(dir, "file"), oldText)
	tests := []struct {
		name, path string
		force      bool
		want       string
	}{
		{"taken", "out", false, "file already exists"},
		{"file", "file", true, "is a file"},
		{"working directory", ".", true, "working directory"},
		{"above the working directory", "..", true, "working directory"},
	}
	t.Chdir(dir)
	for _, tt := range tests {
		d, err := CreateDir(tt.path, tt.force)
		if err == nil {
			d.Abort()
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %q", tt.name, err, tt.want)
		}
	}
	d, err := CreateDir("new", false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Abort()
	for _, name := range []string{"../x", "/x", "a/../../x", ""} {
		if f, err := d.Create(name); err == nil {
			f.Close()
			t.Errorf("file name %q was accepted", name)
		}
	}
}

// TestEmptyFolder checks that an empty folder may be given as output and that
// its permissions stay.
func TestEmptyFolder(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.Mkdir(out, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := runDir(false)(disk{}, dir); err != nil {
		t.Fatal(err)
	}
	if got := dirState(dir); got != "new" {
		t.Errorf("output is %s", got)
	}
	if fi, _ := os.Stat(out); fi.Mode().Perm() != 0o700 {
		t.Errorf("permissions are %v, want 0700", fi.Mode().Perm())
	}
}

// TestFilledMeanwhile checks that a folder which was empty at the start and is
// not at the end is kept.
func TestFilledMeanwhile(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	os.Mkdir(out, 0o777)
	d, err := CreateDir(out, false)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(filepath.Join(out, "w"), oldText)
	if err := d.Commit(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if got := dirState(dir); got != "old" {
		t.Errorf("output is %s", got)
	}
}

func TestCommitChecksSize(t *testing.T) {
	dir := t.TempDir()
	f, err := CreateFile(filepath.Join(dir, "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	f.Expect(10)
	f.Handle().WriteString("123")
	if err := f.Commit(); err == nil || !strings.Contains(err.Error(), "3 bytes were written, expected 10") {
		t.Errorf("file: got %v", err)
	}
	d, err := CreateDir(filepath.Join(dir, "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	d.Expect("w", 10)
	writeFile(d.Path("w"), "123")
	if err := d.Commit(); err == nil || !strings.Contains(err.Error(), "3 bytes were written, expected 10") {
		t.Errorf("folder: got %v", err)
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 0 {
		t.Errorf("left over: %v", entries)
	}
}

// TestOneWins lets several writers publish under one name at once.
func TestOneWins(t *testing.T) {
	for _, run := range []func(disk, string) error{runFile(false), runDir(false)} {
		dir := t.TempDir()
		const writers = 8
		errs := make([]error, writers)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = run(disk{}, dir) })
		}
		wg.Wait()
		wins := 0
		for _, err := range errs {
			if err == nil {
				wins++
			} else if !errors.Is(err, fs.ErrExist) {
				t.Errorf("loser got %v, want fs.ErrExist", err)
			}
		}
		if wins != 1 {
			t.Errorf("%d writers won, want 1", wins)
		}
		if left := leftovers(t, dir); len(left) > 0 {
			t.Errorf("left over: %v", left)
		}
	}
}

func TestCommitTwice(t *testing.T) {
	f, err := CreateFile(filepath.Join(t.TempDir(), "out"), false)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	f.Abort()
	if err := f.Commit(); err == nil {
		t.Error("second Commit succeeded")
	}
}

func TestSweepStale(t *testing.T) {
	dir := t.TempDir()
	live, err := CreateFile(filepath.Join(dir, "a"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer live.Abort()
	liveDir, err := CreateDir(filepath.Join(dir, "b"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer liveDir.Abort()
	scratch, err := CreateScratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	stale := func(name string, isDir bool) {
		path := filepath.Join(dir, ".loratool-4242-0123456789abcdef."+name)
		if isDir {
			os.Mkdir(path, 0o777)
			path = filepath.Join(path, "w")
		}
		if err := writeFile(path, oldText); err != nil {
			t.Fatal(err)
		}
	}
	stale("tmp", false)
	stale("old-out", true)   // its name is free: it comes back
	stale("old-other", true) // its name is taken: it goes
	os.Mkdir(filepath.Join(dir, "other"), 0o777)
	writeFile(filepath.Join(dir, "other", "w"), newText)
	writeFile(filepath.Join(dir, ".loratool-notes.tmp"), "not ours")
	os.Symlink("other", filepath.Join(dir, ".loratool-1-00000000000000aa.tmp"))

	swept, err := SweepStale(dir)
	if swept != 3 || err != nil {
		t.Errorf("swept %d, %v; want 3", swept, err)
	}
	if got := fileState(filepath.Join(dir, "out", "w")); got != "old" {
		t.Errorf("folder moved away is %s after the sweep", got)
	}
	if got := fileState(filepath.Join(dir, "other", "w")); got != "new" {
		t.Errorf("folder that took a name is %s after the sweep", got)
	}
	if _, err := os.Stat(filepath.Join(dir, ".loratool-notes.tmp")); err != nil {
		t.Errorf("a file of somebody else: %v", err)
	}
	if err := live.Commit(); err != nil {
		t.Errorf("live file: %v", err)
	}
	if err := liveDir.Commit(); err != nil {
		t.Errorf("live folder: %v", err)
	}
	if err := writeFile(filepath.Join(scratch.Path(), "w"), newText); err != nil {
		t.Errorf("live scratch folder: %v", err)
	}
	scratch.Remove()
	if _, err := os.Stat(scratch.Path()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("scratch folder after its end: %v", err)
	}
	left, err := CreateScratch(dir)
	if err != nil {
		t.Fatal(err)
	}
	closeLock(left.lock) // as a kill does
	if swept, err := SweepStale(dir); swept != 1 || err != nil {
		t.Errorf("swept %d, %v; want the scratch folder", swept, err)
	}
}

func TestCopyFile(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	data := strings.Repeat("0123456789abcdef", 1<<16)
	if err := writeFile(src, data); err != nil {
		t.Fatal(err)
	}
	if _, err := CopyFile(dst, src); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(dst); string(got) != data {
		t.Error("copy differs")
	}
	if _, err := CopyFile(dst, src); !errors.Is(err, fs.ErrExist) {
		t.Errorf("over a file: got %v, want fs.ErrExist", err)
	}
	if _, err := CopyFile(filepath.Join(dir, "x"), dir); err == nil {
		t.Error("a folder was copied")
	}
	if _, err := CopyFile(filepath.Join(dir, "x"), filepath.Join(dir, "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing source: got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "x")); err == nil {
		t.Error("failed copies left a file")
	}
}

func TestRequire(t *testing.T) {
	dir := t.TempDir()
	if err := Require(dir, 1); err != nil {
		t.Errorf("one byte: %v", err)
	}
	free, err := FreeSpace(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = Require(dir, free+1<<40)
	if _, ok := errors.AsType[*SpaceError](err); !ok {
		t.Errorf("more than there is: got %v, want a *SpaceError", err)
	}
}

func TestPreallocateKeepsLength(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := Preallocate(f, 1<<20); err != nil {
		t.Fatal(err)
	}
	if fi, _ := f.Stat(); fi.Size() != 0 {
		t.Errorf("length is %d, want 0", fi.Size())
	}
}

// TestCopyCancelled copies a file of three pieces and stops after the first.
func TestCopyCancelled(t *testing.T) {
	dir := t.TempDir()
	src, dst := filepath.Join(dir, "src"), filepath.Join(dir, "dst")
	f, err := os.Create(src)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const size = 2*copyPiece + 5
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	sum := int64(0)
	if _, err := CopyFileContext(t.Context(), dst, src, func(n int64) { sum += n }); err != nil || sum != size {
		t.Fatalf("copied %d bytes, %v; want %d", sum, err, size)
	}
	if fi, err := os.Stat(dst); err != nil || fi.Size() != size {
		t.Errorf("copy: %v, %v", fi, err)
	}
	os.Remove(dst)
	noClone := disk{around: func(op, _ string, call func() error) error {
		if op == "clone" {
			return errors.ErrUnsupported
		}
		return call()
	}}
	ctx, cancel := context.WithCancelCause(t.Context())
	stop := errors.New("stopped")
	if _, err := copyFile(ctx, noClone, dst, src, func(int64) { cancel(stop) }); !errors.Is(err, stop) {
		t.Errorf("got %v, want the cause of the context", err)
	}
	if _, err := os.Lstat(dst); err == nil {
		t.Error("a cancelled copy left its file")
	}
}

// TestLinkNoReplace tests what is used where a rename cannot refuse to replace.
func TestLinkNoReplace(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "out")
	writeFile(from, newText)
	if err := linkNoReplace(from, to); err != nil {
		t.Fatal(err)
	}
	if fileState(from) != "absent" || fileState(to) != "new" {
		t.Errorf("from is %s, to is %s", fileState(from), fileState(to))
	}
	writeFile(from, oldText)
	if err := linkNoReplace(from, to); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want fs.ErrExist", err)
	}
	if fileState(from) != "old" || fileState(to) != "new" {
		t.Errorf("from is %s, to is %s", fileState(from), fileState(to))
	}
}
