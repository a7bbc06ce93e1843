//go:build fault

package fault

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestTruncatedInput cuts an input short while it is read: an error without a
// crash and without an output, or the right output if the cut came too late to
// matter.
func TestTruncatedInput(t *testing.T) {
	l := newLab(t)
	rng := rand.New(rand.NewPCG(*seed, 2))
	victims := map[bool][]string{
		false: {"base.safetensors", "adapter/adapter_model.safetensors"},
		true:  {"base/model-00001-of-00003.safetensors", "base/model-00002-of-00003.safetensors", "adapter/adapter_model.safetensors"},
	}
	refused := 0
	for i := range *cuts {
		m := modes[i%2]
		list := victims[m.folder]
		victim := filepath.Join(l.root, list[i/2%len(list)])
		whole, err := os.ReadFile(victim)
		must(t, err)
		dir, old := l.scene(t, m)
		wait := l.moment(rng, m)
		size := rng.Int64N(int64(len(whole)))
		r := run(t, dir, append([]string{loratool}, m.args()...), func(*os.Process) {
			time.Sleep(wait)
			must(t, os.Truncate(victim, size))
		})
		must(t, os.WriteFile(victim, whole, 0o666))
		isNew, temps := l.check(t, dir, old, m)
		where := filepath.Base(victim)
		switch {
		case r.crashed() || r.code < 0:
			t.Errorf("%s cut to %d bytes after %v (%s): crash: %s", where, size, wait, m.name, r.stderr)
		case r.code == 0 && !isNew:
			t.Errorf("%s cut to %d bytes after %v (%s): success reported, output is wrong", where, size, wait, m.name)
		case r.code != 0 && (isNew || temps > 0):
			t.Errorf("%s cut to %d bytes after %v (%s): exit status %d, left %q", where, size, wait, m.name, r.code, names(t, dir))
		}
		if r.code > 0 {
			refused++
		}
		os.RemoveAll(dir)
	}
	t.Logf("%d of %d cuts were refused, the others came too late to matter", refused, *cuts)
}
