//go:build fault

// Package fault kills, starves and interrupts the built command and looks at
// what is left: an output is complete or not there, and nothing else remains.
// It knows the command by its flags and exit statuses only, and writes its
// inputs byte by byte.
package fault

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	kills   = flag.Int("kills", 100, "how often to kill the command at a random moment")
	signals = flag.Int("signals", 20, "how often to interrupt it")
	cuts    = flag.Int("cuts", 20, "how often to truncate an input while it is read")
	seed    = flag.Uint64("seed", 1, "of the random moments")
)

// runLimit bounds one run of the command; it takes well under a second.
const runLimit = 60 * time.Second

// loratool is the command under test, built once.
var loratool string

func TestMain(m *testing.M) {
	flag.Parse()
	dir, err := os.MkdirTemp("", "loratool-fault")
	if err == nil {
		loratool = filepath.Join(dir, "loratool")
		build := exec.Command("go", "build", "-o", loratool, "../../cmd/loratool")
		build.Stderr = os.Stderr
		err = build.Run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build the command:", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A mode is one way to call merge: what the base is and whether an output is
// there already.
type mode struct {
	name   string
	folder bool
	force  bool
}

var modes = []mode{
	{"new file", false, false},
	{"new folder", true, false},
	{"replace file", false, true},
	{"replace folder", true, true},
}

// args are the arguments of a merge in a folder beside the inputs. Paths are
// relative, so that a record of them in the output is the same in every run.
func (m mode) args() []string {
	base := "../base.safetensors"
	if m.folder {
		base = "../base"
	}
	args := []string{"merge", base, "../adapter", "-o", "out"}
	if m.force {
		args = append(args, "--force")
	}
	return args
}

// A result is how a run ended.
type result struct {
	code   int // -1 if a signal ended it
	stderr string
	took   time.Duration
}

// crashed reports whether the program itself broke.
func (r result) crashed() bool {
	for _, mark := range []string{"panic:", "fatal error:", "goroutine ", "SIGBUS", "SIGSEGV"} {
		if strings.Contains(r.stderr, mark) {
			return true
		}
	}
	return r.code == 2 && strings.Contains(r.stderr, ".go:")
}

// run runs a command in dir and calls during with its process once it runs.
func run(t *testing.T, dir string, argv []string, during func(*os.Process)) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if during != nil {
		during(cmd.Process)
	}
	err := cmd.Wait()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%q took more than %v", argv, runLimit)
	}
	return result{cmd.ProcessState.ExitCode(), stderr.String(), time.Since(start)}
}

// merge runs a merge to its end and wants it to succeed.
func merge(t *testing.T, dir string, m mode) result {
	t.Helper()
	r := run(t, dir, append([]string{loratool}, m.args()...), nil)
	if r.code != 0 {
		t.Fatalf("merge (%s): exit status %d: %s", m.name, r.code, r.stderr)
	}
	return r
}

// A lab is a folder with inputs and the digests of what a merge of them is.
type lab struct {
	root string
	want map[bool]string        // digest of the output, by mode.folder
	took map[bool]time.Duration // of a whole run
}

// newLab writes the inputs and merges them twice, which must agree.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{root: t.TempDir(), want: map[bool]string{}, took: map[bool]time.Duration{}}
	writeInputs(t, l.root)
	for _, m := range modes[:2] {
		for range 2 {
			dir := l.dir(t)
			took := merge(t, dir, m).took
			if l.took[m.folder] == 0 || took < l.took[m.folder] {
				l.took[m.folder] = took
			}
			d := digest(t, filepath.Join(dir, "out"))
			if l.want[m.folder] != "" && d != l.want[m.folder] {
				t.Fatalf("two merges (%s) differ", m.name)
			}
			l.want[m.folder] = d
			os.RemoveAll(dir)
		}
	}
	t.Logf("a merge takes %v (file), %v (folder)", l.took[false], l.took[true])
	return l
}

// dir makes an empty folder beside the inputs to merge in.
func (l *lab) dir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(l.root, "run")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// scene makes a folder to merge in, with an old output if the mode replaces
// one, and returns the old output's digest.
func (l *lab) scene(t *testing.T, m mode) (dir, old string) {
	t.Helper()
	dir = l.dir(t)
	if !m.force {
		return dir, ""
	}
	path := filepath.Join(dir, "out")
	if m.folder {
		if err := os.Mkdir(path, 0o777); err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(path, "model.safetensors")
	}
	if err := os.WriteFile(path, []byte("an old output"), 0o666); err != nil {
		t.Fatal(err)
	}
	return dir, digest(t, filepath.Join(dir, "out"))
}

// check looks at a folder after a run was cut short: the output is the old one
// (or none) or the whole new one, and what else lies there has a temporary
// name. It returns whether the output is new and how many temporary names
// there are.
func (l *lab) check(t *testing.T, dir, old string, m mode) (isNew bool, debris int) {
	t.Helper()
	got := digest(t, filepath.Join(dir, "out"))
	if got != old && got != l.want[m.folder] {
		t.Errorf("%s: output is neither the old nor the new one", m.name)
	}
	for _, name := range names(t, dir) {
		switch {
		case name == "out":
		case tempName.MatchString(name):
			debris++
		default:
			t.Errorf("%s: left over: %q", m.name, name)
		}
	}
	return got == l.want[m.folder], debris
}

// moment returns a random moment of a run, or just after it.
func (l *lab) moment(rng *rand.Rand, m mode) time.Duration {
	return time.Duration(rng.Float64() * 1.1 * float64(l.took[m.folder]))
}
