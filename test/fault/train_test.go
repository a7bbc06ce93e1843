//go:build fault

package fault

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// trainArgs is a run of some tenths of a second that saves after every step.
func trainArgs(t *testing.T, dir string) []string {
	t.Helper()
	base, err := filepath.Abs("../../testdata/stories260k/base")
	must(t, err)
	var b strings.Builder
	for i := range 12 {
		fmt.Fprintf(&b, "{\"text\": \"Once upon a time there was a robot dragon number %d.\"}\n", i)
	}
	must(t, os.WriteFile(filepath.Join(dir, "data.jsonl"), []byte(b.String()), 0o666))
	return []string{loratool, "train", "--base", base, "--data", "data.jsonl", "-o", "out", "--targets", "all-linear",
		"--steps", "25", "--batch", "4", "--lr", "1e-3", "--save-every", "1"}
}

// finish resumes a run, if there is a state, and returns the digest of its
// output; nothing temporary may be left over.
func finish(t *testing.T, dir string, args []string) string {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "out.state")); err == nil {
		args = append(args, "--resume")
	}
	if r := run(t, dir, append(args, "--force"), nil); r.code != 0 {
		t.Fatalf("the next run: exit status %d: %s", r.code, r.stderr)
	}
	if left := names(t, dir); hasTemp(left) || slices.Contains(left, "out.state") {
		t.Errorf("the next run leaves %q", left)
	}
	return digest(t, filepath.Join(dir, "out"))
}

// TestTrainKill kills trainings at random moments, among them those of a save.
// The next run must go on from the last state and end with the bytes of a run
// that was left alone.
func TestTrainKill(t *testing.T) {
	dir := t.TempDir()
	args := trainArgs(t, dir)
	whole := run(t, dir, args, nil)
	if whole.code != 0 {
		t.Fatalf("exit status %d: %s", whole.code, whole.stderr)
	}
	want := digest(t, filepath.Join(dir, "out"))
	rng := rand.New(rand.NewPCG(*seed, 3))
	killed, resumed := 0, 0
	for i := range max(10, *kills/5) {
		dir := t.TempDir()
		args := trainArgs(t, dir)
		wait := time.Duration(rng.Float64() * 1.1 * float64(whole.took))
		r := run(t, dir, args, func(p *os.Process) {
			time.Sleep(wait)
			p.Signal(syscall.SIGKILL) // an error says that it is over already
		})
		if r.code == -1 {
			killed++
		}
		if _, err := os.Stat(filepath.Join(dir, "out.state")); err == nil {
			resumed++
		}
		if got := finish(t, dir, args); got != want {
			t.Errorf("kill %d after %v: the next run ends with other bytes", i, wait)
		}
	}
	t.Logf("%d killed before their end, %d of them resumed", killed, resumed)
	if killed == 0 || resumed == 0 {
		t.Errorf("%d runs killed, %d resumed", killed, resumed)
	}
}

// TestTrainKillInProof kills a training whose adapter is written while the
// copy that proves it is there: the next run sweeps the copy.
func TestTrainKillInProof(t *testing.T) {
	dir := t.TempDir()
	args := append(trainArgs(t, dir), "--steps", "1", "--save-every", "0")
	hit := false
	for range 20 {
		r := run(t, dir, append(args, "--force"), func(p *os.Process) {
			for range 5000 {
				if entries := names(t, dir); slices.Contains(entries, "out") && hasTemp(entries) {
					break
				}
				time.Sleep(200 * time.Microsecond)
			}
			p.Signal(syscall.SIGKILL) // an error says that it is over already
		})
		if hit = r.code == -1 && hasTemp(names(t, dir)); hit {
			break
		}
		must(t, os.RemoveAll(filepath.Join(dir, "out")))
	}
	if !hit {
		t.Fatal("no run was killed in its proof")
	}
	finish(t, dir, args)
}

// hasTemp reports whether one of the names is temporary.
func hasTemp(names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, ".loratool-") })
}

// TestTrainSignal interrupts a training: its state is kept, which is said.
func TestTrainSignal(t *testing.T) {
	dir := t.TempDir()
	args := append(trainArgs(t, dir), "--steps", "100000", "--save-every", "0")
	r := run(t, dir, args, func(p *os.Process) {
		time.Sleep(time.Second)
		p.Signal(syscall.SIGINT)
	})
	if r.code != 130 || !strings.Contains(r.stderr, "out.state holds the state after step") {
		t.Errorf("exit status %d: %s", r.code, r.stderr)
	}
	if _, err := os.Stat(filepath.Join(dir, "out.state")); err != nil {
		t.Error(err)
	}
}

// TestTrainDiskFull limits the size of files (ulimit -f) so that the state
// does not fit: one line, and no part of a file is left over.
func TestTrainDiskFull(t *testing.T) {
	dir := t.TempDir()
	command := "ulimit -f 100; exec " + strings.Join(trainArgs(t, dir), " ")
	r := run(t, dir, []string{"bash", "-c", command}, nil)
	if r.code != 1 || r.crashed() || strings.Count(strings.TrimSpace(r.stderr), "\n") > 1 {
		t.Errorf("exit status %d: %s", r.code, r.stderr)
	}
	if left := names(t, dir); hasTemp(left) || slices.Contains(left, "out") {
		t.Errorf("left over: %q", left)
	}
	t.Log(strings.TrimSpace(r.stderr))
}
