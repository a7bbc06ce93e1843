package mmap

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

func mapped(t *testing.T, size int) (*Map, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, make([]byte, size), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	m, err := Open(f, int64(size))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, path
}

func sum(b []byte) (n int) {
	for _, c := range b {
		n += int(c)
	}
	return n
}

func TestGuardReportsTruncation(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("a mapped file cannot be cut there")
	}
	m, path := mapped(t, 1<<20)
	if err := os.Truncate(path, 4096); err != nil {
		t.Fatal(err)
	}
	dst, total := make([]byte, 1<<20), 0
	for name, read := range map[string]func(){
		"loop": func() { total += sum(m.Data) },
		"copy": func() { copy(dst, m.Data) },
	} {
		if err := Guard(read); !errors.Is(err, ErrFault) {
			t.Errorf("%s: got %v, want ErrFault", name, err)
		}
	}
	if err := Guard(func() { total = sum(m.Data[:4096]) }); err != nil || total != 0 {
		t.Errorf("what is left: sum %d, %v", total, err)
	}
}

func TestGuardPassesOtherPanics(t *testing.T) {
	var nothing *Map
	for name, read := range map[string]func(){
		"index": func() { copy(make([]byte, 1)[len(t.Name()):], "x") },
		"nil":   func() { nothing.Data[0] = 1 },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			_ = Guard(read)
		}()
	}
}

func TestEmpty(t *testing.T) {
	m, _ := mapped(t, 0)
	if len(m.Data) != 0 {
		t.Errorf("%d bytes", len(m.Data))
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}
