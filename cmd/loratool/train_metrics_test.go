package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/train"
)

// TestMetrics opens the metrics of a run that was killed while it wrote the
// event of step 4, with the state of step 2.
func TestMetrics(t *testing.T) {
	const lines = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st"
	for _, c := range []struct {
		name string
		old  string
		done int
		want string
	}{
		{"a new run", "", 0, "{\"step\":7"},
		{"begun anew", lines, 0, "{\"step\":7"},
		{"resumed", lines, 2, "{\"step\":1}\n{\"step\":2}\n{\"step\":7"},
		{"resumed with a torn line", lines, 9, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"step\":7"},
		{"resumed, the end of a line is missing", "{\"step\":1}\n{\"step\":2}", 2, "{\"step\":1}\n{\"step\":7"},
		{"resumed without metrics", "", 2, "{\"step\":7"},
	} {
		path := filepath.Join(t.TempDir(), "metrics.jsonl")
		if c.old != "" {
			if err := os.WriteFile(path, []byte(c.old), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		m, err := openMetrics(path, c.done)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.write(train.Event{Step: 7}); err != nil {
			t.Fatal(err)
		}
		m.Close()
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := min(len(got), len(c.want)); string(got[:n]) != c.want {
			t.Errorf("%s: %q, want it to begin with %q", c.name, got, c.want)
		}
	}
}
