package mmap

import (
	"os"
	"strconv"
	"strings"
	"testing"
)

// resident returns how many KiB of a mapped file this process holds.
func resident(t *testing.T, path string) int {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Skip(err)
	}
	_, of, found := strings.Cut(string(maps), path+"\n")
	_, of, rss := strings.Cut(of, "\nRss:")
	fields := strings.Fields(of)
	if !found || !rss {
		t.Fatalf("%s is not in smaps", path)
	}
	n, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRelease(t *testing.T) {
	const size = 1 << 20
	m, path := mapped(t, size)
	if n := sum(m.Data); n != 0 {
		t.Fatalf("the sum is %d, want 0", n)
	}
	if n := resident(t, path); n != size>>10 {
		t.Fatalf("%d KiB of %d are resident after reading", n, size>>10)
	}
	m.Release(1, 1)
	m.Release(5000, 6000) // no whole page
	if n := resident(t, path); n != size>>10 {
		t.Errorf("%d KiB are left, though no page was let go of", n)
	}
	page := os.Getpagesize()
	m.Release(1, size-1)
	if n := resident(t, path); n != 2*page>>10 {
		t.Errorf("%d KiB are left, want the first page and the last", n)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("\x01", size)), 0o666); err != nil {
		t.Fatal(err)
	}
	if n := sum(m.Data); n != size {
		t.Errorf("read again: the sum is %d, want %d", n, size)
	}
}
