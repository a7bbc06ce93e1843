package safetensors

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/internal/mmap"
	"github.com/loratool/loratool/testdata/hostile"
)

func opened(t *testing.T, content []byte) *File {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, content, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

var twoTensors = append(hostile.File(hostile.Object(hostile.Entry("a", "U8", "[2]", "[0,2]"), hostile.Entry("b", "BOOL", "[3]", "[2,5]")), 0), 7, 8, 1, 0, 2)

func TestFile(t *testing.T) {
	f := opened(t, twoTensors)
	a, _ := f.Header().Lookup("a")
	if got := f.Bytes(a); len(got) != 2 || cap(got) != 2 || got[0] != 7 || got[1] != 8 {
		t.Errorf("a is %v", got)
	}
	if f.Size() != int64(len(twoTensors)) || filepath.Base(f.Path()) != "x.safetensors" {
		t.Errorf("%s of %d bytes", f.Path(), f.Size())
	}
	if err := f.Unchanged(); err != nil {
		t.Error(err)
	}
}

func TestCheckBools(t *testing.T) {
	w, err := opened(t, twoTensors).CheckBools()
	if err != nil || len(w) != 1 || w[0].Rule != "ST028" || w[0].Tensor != "b" {
		t.Errorf("%v, %v", w, err)
	}
}

func TestUnchanged(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"truncated": func(p string) error { return os.Truncate(p, 10) },
		"touched":   func(p string) error { return os.Chtimes(p, time.Time{}, time.Unix(1, 0)) },
		"removed":   os.Remove,
		"replaced": func(p string) error {
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			if err := os.WriteFile(p+"2", twoTensors, 0o666); err != nil {
				return err
			}
			if err := os.Chtimes(p+"2", time.Time{}, info.ModTime()); err != nil {
				return err
			}
			return os.Rename(p+"2", p)
		},
	} {
		f := opened(t, twoTensors)
		if err := change(f.Path()); err != nil {
			t.Fatal(err)
		}
		if err := f.Unchanged(); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// TestTruncatedMapping cuts a file off while it is open: reading it is an
// error, not a crash.
func TestTruncatedMapping(t *testing.T) {
	const n = 1 << 20
	f := opened(t, hostile.File(hostile.Object(hostile.Entry("a", "BOOL", fmt.Sprint("[", n, "]"), fmt.Sprint("[0,", n, "]"))), n))
	if err := os.Truncate(f.Path(), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := f.CheckBools(); !errors.Is(err, mmap.ErrFault) {
		t.Errorf("got %v, want a fault", err)
	}
}

func TestReadRegular(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x")
	if err := os.WriteFile(path, []byte("12345"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]string{4: "more than 4 bytes", 5: "", 6: ""} {
		data, err := ReadRegular(path, most)
		if want == "" && (err != nil || string(data) != "12345") {
			t.Errorf("at most %d bytes: got %q, %v", most, data, err)
		}
		if want != "" && (!errors.Is(err, rule.ErrUnsupported) || !strings.Contains(err.Error(), want)) {
			t.Errorf("at most %d bytes: got %v, want %q", most, err, want)
		}
	}
	var e *rule.Error
	if _, err := ReadRegular(dir, 10); !errors.As(err, &e) || e.Rule != "ST033" {
		t.Errorf("a folder: got %v", err)
	}
	if _, err := ReadRegular(filepath.Join(dir, "y"), 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: got %v", err)
	}
}

func TestOpenMissing(t *testing.T) {
	if _, err := Open(filepath.Join(t.TempDir(), "x")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}
