package checkpoint_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/rule"
	"github.com/loratool/loratool/testdata/hostile"
)

var update = flag.Bool("update", false, "write testdata/hostile/manifest.tsv")

const (
	mostTime  = slowdown * 5 * time.Second
	mostBytes = 512 << 20
)

// TestHostile opens every case and holds verdict, rule, warnings, time and
// allocated bytes against what is expected.
func TestHostile(t *testing.T) {
	for _, c := range hostile.Cases() {
		t.Run(c.Name, func(t *testing.T) {
			if c.Big && testing.Short() {
				t.Skip("big")
			}
			path, err := c.Create(t.TempDir())
			if err != nil {
				t.Skip(err)
			}
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := time.Now()
			cp, err := checkpoint.Open(path, checkpoint.Options{})
			took := time.Since(start)
			runtime.ReadMemStats(&after)
			if err == nil {
				defer cp.Close()
			}
			if got := verdict(err); got != c.Want {
				t.Errorf("got %s, want %s: %v", got, c.Want, err)
			}
			checkMessage(t, err)
			for _, w := range c.Warn {
				if err == nil && !warned(cp, w) {
					t.Errorf("no warning %s among %v", w, cp.Warnings())
				}
			}
			if err == nil && len(c.Warn) == 0 && len(cp.Warnings()) > 0 && !harmless(cp) {
				t.Errorf("unexpected warnings %v", cp.Warnings())
			}
			if took > mostTime {
				t.Errorf("took %v, at most %v are allowed", took, mostTime)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > mostBytes {
				t.Errorf("allocated %d MiB, at most %d are allowed", n>>20, mostBytes>>20)
			} else if c.Big {
				t.Logf("%v, %d MiB", took, n>>20)
			}
		})
	}
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

// checkMessage holds messages to the house rules: one line that a terminal
// can print, for a rule that the table knows.
func checkMessage(t *testing.T, err error) {
	t.Helper()
	if err == nil {
		return
	}
	if s := err.Error(); strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == 0x7F || r == 0x202E }) && !strings.Contains(t.Name(), "nul") {
		t.Errorf("message holds control characters: %q", s)
	} else if len(s) > 4000 {
		t.Errorf("message of %d bytes", len(s))
	}
	if e, ok := errors.AsType[*rule.Error](err); ok {
		if _, known := rule.Lookup(e.Rule); !known {
			t.Errorf("rule %s is not in the table", e.Rule)
		}
	}
}

func warned(cp *checkpoint.Checkpoint, id string) bool {
	return slices.ContainsFunc(cp.Warnings(), func(e *rule.Error) bool { return string(e.Rule) == id })
}

// harmless reports whether there is nothing but information.
func harmless(cp *checkpoint.Checkpoint) bool {
	return !slices.ContainsFunc(cp.Warnings(), func(e *rule.Error) bool {
		r, _ := rule.Lookup(e.Rule)
		return r.Severity != rule.Info
	})
}

// TestHostileCoversRules makes sure that each rule of the table has a case.
func TestHostileCoversRules(t *testing.T) {
	have := map[string]bool{"ST028": true} // needs the data: TestCheckBools
	names := map[string]bool{}
	for _, c := range hostile.Cases() {
		have[c.Want] = true
		for _, w := range c.Warn {
			have[w] = true
		}
		if names[c.Name] {
			t.Errorf("two cases are named %s", c.Name)
		}
		names[c.Name] = true
	}
	for _, r := range rule.All() {
		if family := r.ID[:2]; !have[string(r.ID)] && (family == "ST" || family == "SH") {
			t.Errorf("no case for %s", r.ID)
		}
	}
	t.Logf("%d cases", len(names))
}

// TestHostileManifest makes sure that the list for readers is up to date.
func TestHostileManifest(t *testing.T) {
	var b strings.Builder
	b.WriteString("case\tverdict\twarnings\n")
	for _, c := range slices.Concat(hostile.Cases(), hostile.AdapterCases()) {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", c.Name, c.Want, strings.Join(c.Warn, " "))
	}
	path := filepath.Join("..", "..", "testdata", "hostile", "manifest.tsv")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != b.String() {
		t.Errorf("%s is not up to date: go test ./format/checkpoint -run Manifest -update", path)
	}
}
