//go:build unix

package publish

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestPermissions checks 0666 and 0777 under two umasks, and that a file that
// is replaced passes its permissions on. It must not run beside other tests:
// the umask belongs to the process.
func TestPermissions(t *testing.T) {
	for _, umask := range []int{0o022, 0o077} {
		old := syscall.Umask(umask)
		dir := t.TempDir()
		fileErr := runFile(false)(disk{}, dir)
		sub := filepath.Join(dir, "sub")
		os.Mkdir(sub, 0o777)
		dirErr := runDir(false)(disk{}, sub)
		syscall.Umask(old)
		if fileErr != nil || dirErr != nil {
			t.Fatal(fileErr, dirErr)
		}
		checkMode(t, filepath.Join(dir, "out"), 0o666&^os.FileMode(umask))
		checkMode(t, filepath.Join(sub, "out"), 0o777&^os.FileMode(umask))
		checkMode(t, filepath.Join(sub, "out", "w"), 0o666&^os.FileMode(umask))
		checkMode(t, filepath.Join(sub, "out", "sub", "v"), 0o666&^os.FileMode(umask))
	}
}

func TestReplacedPermissions(t *testing.T) {
	dir := t.TempDir()
	setupFile(t, dir)
	out := filepath.Join(dir, "out")
	os.Chmod(out, 0o640)
	if err := runFile(true)(disk{}, dir); err != nil {
		t.Fatal(err)
	}
	checkMode(t, out, 0o640)
}

func checkMode(t *testing.T, path string, want os.FileMode) {
	t.Helper()
	fi, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if fi.Mode().Perm() != want {
		t.Errorf("%s: permissions %v, want %v", filepath.Base(path), fi.Mode().Perm(), want)
	}
}
