package merge

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/hostile"
)

const (
	mostTime  = slowdown * 5 * time.Second
	mostBytes = 512 << 20
)

// TestHostileAdapters merges every adapter case into the base beside it and
// holds verdict, rule, warnings, time and allocated bytes against what is
// expected. A refused adapter leaves no output.
func TestHostileAdapters(t *testing.T) {
	for _, c := range hostile.AdapterCases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.Big && testing.Short() {
				t.Skip("big")
			}
			dir := t.TempDir()
			path, err := c.Create(dir)
			if err != nil {
				t.Skip(err)
			}
			peak := watchHeap()
			start := time.Now()
			r, err := mergeHostile(dir, path)
			took := time.Since(start)
			most := peak()
			if got := verdict(err); got != c.Want {
				t.Errorf("got %s, want %s: %v", got, c.Want, err)
			}
			for _, w := range c.Warn {
				if err == nil && !slices.ContainsFunc(r.Warnings, func(s string) bool { return strings.HasSuffix(s, "["+w+"]") }) {
					t.Errorf("no warning %s among %q", w, r.Warnings)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*out*")); err != nil && len(left) > 0 {
				t.Errorf("left %q behind", left)
			}
			if took > mostTime {
				t.Errorf("took %v, at most %v are allowed", took, mostTime)
			}
			if most > mostBytes {
				t.Errorf("held %d MiB, at most %d are allowed", most>>20, mostBytes>>20)
			} else if took > time.Second/2 {
				t.Logf("%v, %d MiB", took, most>>20)
			}
		})
	}
	if _, err := os.Stat("/tmp/loratool_pwned"); err == nil {
		t.Error("a pickle was run")
	}
}

// watchHeap starts to watch the bytes of heap objects; the function it returns
// ends that and says by how much they grew at most.
func watchHeap() (peak func() uint64) {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	before, most := m.HeapAlloc, m.HeapAlloc
	done, stopped := make(chan bool), make(chan bool)
	go func() {
		defer close(stopped)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for {
			runtime.ReadMemStats(&m)
			most = max(most, m.HeapAlloc)
			select {
			case <-done:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(done)
		<-stopped
		return most - before
	}
}

func mergeHostile(dir, path string) (*Report, error) {
	base, err := checkpoint.Open(filepath.Join(dir, hostile.BaseName), checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer base.Close()
	a, err := dialect.OpenPEFT(path)
	if err != nil {
		return nil, err
	}
	defer a.Close()
	return Apply(context.Background(), filepath.Join(dir, "out.safetensors"), base, []Weighted{{Adapter: a.Adapter, Weight: 1}}, Options{})
}

// verdict names what an error means, in the words of hostile.Case.
func verdict(err error) string {
	switch e, ok := errors.AsType[*rule.Error](err); {
	case err == nil:
		return "accept"
	case ok:
		return string(e.Rule)
	case errors.Is(err, rule.ErrUnsupported):
		return "unsupported"
	}
	return "error"
}

// TestHostileCoversAdapterRules makes sure that each rule that a merge can
// report has a case.
func TestHostileCoversAdapterRules(t *testing.T) {
	have := map[string]bool{}
	names := map[string]bool{}
	for _, c := range hostile.AdapterCases() {
		have[c.Want] = true
		for _, w := range c.Warn {
			have[w] = true
		}
		if names[c.Name] {
			t.Errorf("two cases are named %s", c.Name)
		}
		names[c.Name] = true
	}
	for _, id := range []string{"AD001", "AD002", "AD003", "AD004", "AD005", "AD006", "AD008", "AD009", "AD011", "AD012", "AD013", "AD014", "AD015", "AD017",
		"AD023", "AD025", "AD026", "AD027", "AD028", "AD031", "AD035", "AD036", "AD045", "AD046", "AD047"} {
		if _, known := rule.Lookup(rule.ID(id)); !known || !have[id] {
			t.Errorf("%s: in the table %v, has a case %v", id, known, have[id])
		}
	}
	t.Logf("%d cases", len(names))
}
