package rule

import (
	"strings"
	"testing"
)

func TestTableIsComplete(t *testing.T) {
	seen := map[ID]bool{}
	for _, family := range families() {
		last := ID("")
		for _, r := range family {
			if seen[r.ID] || r.ID <= last || len(r.ID) != 5 {
				t.Errorf("%s after %s", r.ID, last)
			}
			seen[r.ID], last = true, r.ID
			if r.Title == "" || !strings.HasSuffix(r.Summary, ".") || strings.HasSuffix(r.Cure, ".") || r.Severity > Unhandled {
				t.Errorf("%s: incomplete row", r.ID)
			}
			if got, ok := Lookup(r.ID); !ok || got != r || Cure(r.ID) != r.Cure {
				t.Errorf("%s is not found", r.ID)
			}
		}
	}
	if _, ok := Lookup("XX000"); ok || Cure("XX000") != "" {
		t.Error("found XX000")
	}
}
