package loratool_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// requirePattern matches one requirement of a go.mod file.
var requirePattern = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+) (v\S+)`)

// rowPattern matches one row of the tables in docs/dependencies.md: module,
// version, licence, reason.
var rowPattern = regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (v[^ |]+) \\| ([^|]+) \\| ([^|]+) \\|")

// TestDependencies checks that every module of go.mod, at its version, has a
// row with its licence and its reason in docs/dependencies.md, and that no row
// has lost its module.
func TestDependencies(t *testing.T) {
	required := map[string]string{}
	for _, m := range requirePattern.FindAllStringSubmatch(read(t, "go.mod"), -1) {
		required[m[1]] = m[2]
	}
	if len(required) == 0 {
		t.Fatal("no requirement found in go.mod")
	}
	rows := map[string]string{}
	for _, m := range rowPattern.FindAllStringSubmatch(read(t, "docs/dependencies.md"), -1) {
		rows[m[1]] = m[2]
		if strings.TrimSpace(m[3]) == "" || strings.TrimSpace(m[4]) == "" {
			t.Errorf("%s: licence or reason is empty", m[1])
		}
	}
	for name, version := range required {
		if rows[name] != version {
			t.Errorf("go.mod requires %s %s, docs/dependencies.md says %q", name, version, rows[name])
		}
	}
	for name := range rows {
		if _, ok := required[name]; !ok {
			t.Errorf("docs/dependencies.md lists %s, which go.mod does not require", name)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
