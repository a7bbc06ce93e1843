package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
)

// The tests of this file run the command lines of the files that CI systems
// read, as these would, with this command in the path.

// ciFolder makes a repository with a good and a bad adapter, and a path with
// the command in it.
func ciFolder(t *testing.T) (dir string, env []string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(self, filepath.Join(bin, "loratool")); err != nil {
		t.Skip(err)
	}
	dir = t.TempDir()
	for name, r := range map[string]string{"good": "2", "bad": "3"} {
		folder := filepath.Join(dir, name)
		if err := os.Mkdir(folder, 0o777); err != nil {
			t.Fatal(err)
		}
		config := `{"peft_type": "LORA", "r": ` + r + `, "lora_alpha": 4, "target_modules": ["q"], "base_model_name_or_path": "o/b"}`
		if err := os.WriteFile(filepath.Join(folder, "adapter_config.json"), []byte(config), 0o666); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(filepath.Join(folder, "adapter_model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		a := normal("base_model.model.l.q.lora_A.weight", 1, 1, dtype.F32, 2, 3)
		b := normal("base_model.model.l.q.lora_B.weight", 1, 1, a.DType, 4, 2)
		if err := safetensors.Write(f, []safetensors.NamedData{a, b}, map[string]string{"format": "pt"}); err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	return dir, append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"))
}

// inShell runs lines in bash and returns the exit status.
func inShell(t *testing.T, dir string, env []string, script string) (status int, out string) {
	t.Helper()
	c := exec.Command("bash", "-eo", "pipefail", "-c", script)
	c.Dir, c.Env = dir, env
	b, err := c.CombinedOutput()
	if c.ProcessState == nil {
		t.Skip(err)
	}
	return c.ProcessState.ExitCode(), string(b)
}

func readRepo(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestPreCommit runs the entries with the files that their pattern picks, as
// pre-commit does.
func TestPreCommit(t *testing.T) {
	dir, env := ciFolder(t)
	hooks := readRepo(t, ".pre-commit-hooks.yaml")
	entries := regexp.MustCompile(`(?m)^  entry: (.*)$`).FindAllStringSubmatch(hooks, -1)
	patterns := regexp.MustCompile(`(?m)^  files: (.*)$`).FindAllStringSubmatch(hooks, -1)
	if len(entries) != 2 || len(patterns) != 2 {
		t.Fatalf("%d entries, %d patterns", len(entries), len(patterns))
	}
	for i, e := range entries {
		files := regexp.MustCompile(patterns[i][1])
		for _, c := range []struct {
			folder string
			status int
		}{{"good", 0}, {"bad", 3}} {
			var names []string
			for _, f := range []string{"adapter_config.json", "adapter_model.safetensors", "README.md"} {
				if name := c.folder + "/" + f; files.MatchString(name) {
					names = append(names, name)
				}
			}
			if len(names) != 2 {
				t.Errorf("the pattern picks %v", names)
			}
			if status, out := inShell(t, dir, env, e[1]+" "+strings.Join(names, " ")); status != c.status {
				t.Errorf("%s %v: exit status %d, want %d\n%s", e[1], names, status, c.status, out)
			}
		}
	}
}

// TestGitHubAction runs the step of action.yml.
func TestGitHubAction(t *testing.T) {
	dir, env := ciFolder(t)
	_, script, ok := strings.Cut(readRepo(t, "action.yml"), "      run: |\n")
	if !ok {
		t.Fatal("action.yml has no step")
	}
	for _, c := range []struct {
		paths  string
		status int
	}{{"good", 0}, {"good bad", 3}} {
		step := append(env, "LORATOOL_PATHS="+c.paths, "LORATOOL_ARGS=--deep", "LORATOOL_SARIF=out.sarif", "LORATOOL_VERSION=none", "RUNNER_TEMP=/nonexistent")
		status, out := inShell(t, dir, step, script)
		if status != c.status || c.status == 3 && !strings.Contains(out, "::error file=bad,title=AD012%3A") {
			t.Errorf("%s: exit status %d, want %d\n%s", c.paths, status, c.status, out)
		}
		data, err := os.ReadFile(filepath.Join(dir, "out.sarif"))
		if err != nil || !json.Valid(data) {
			t.Errorf("%s: SARIF %v", c.paths, err)
		}
	}
}

// TestGitLab runs the script of the template.
func TestGitLab(t *testing.T) {
	dir, env := ciFolder(t)
	_, rest, _ := strings.Cut(readRepo(t, "docs/ci/loratool.gitlab-ci.yml"), "  before_script:\n")
	rest, _, ok := strings.Cut(rest, "  artifacts:\n")
	if !ok {
		t.Fatal("the template has no scripts")
	}
	var lines []string
	for l := range strings.Lines(rest) {
		if l, ok := strings.CutPrefix(strings.TrimSpace(l), "- "); ok {
			lines = append(lines, l)
		}
	}
	for _, c := range []struct {
		paths  string
		status int
	}{{"good", 0}, {".", 3}} {
		status, out := inShell(t, dir, append(env, "LORATOOL_PATHS="+c.paths, "LORATOOL_ARGS=", "LORATOOL_VERSION=none"), strings.Join(lines, "\n"))
		if status != c.status {
			t.Errorf("%s: exit status %d, want %d\n%s", c.paths, status, c.status, out)
		}
		for _, report := range []string{"gl-code-quality-report.json", "loratool-junit.xml"} {
			if data, err := os.ReadFile(filepath.Join(dir, report)); err != nil || len(data) == 0 {
				t.Errorf("%s: %s: %v", c.paths, report, err)
			}
		}
	}
}
