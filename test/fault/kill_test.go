//go:build fault

package fault

import (
	"math/rand/v2"
	"os"
	"syscall"
	"testing"
	"time"
)

// TestKill kills merges at random moments, in every mode in turn. After each
// kill a whole run in the same folder must succeed and leave its output only.
func TestKill(t *testing.T) {
	l := newLab(t)
	rng := rand.New(rand.NewPCG(*seed, 0))
	killed, complete, debris := 0, 0, 0
	for i := range *kills {
		m := modes[i%len(modes)]
		dir, old := l.scene(t, m)
		wait := l.moment(rng, m)
		r := run(t, dir, append([]string{loratool}, m.args()...), func(p *os.Process) {
			time.Sleep(wait)
			p.Signal(syscall.SIGKILL) // an error says that it is over already
		})
		if r.code == -1 {
			killed++
		} else if r.code != 0 {
			t.Errorf("kill %d (%s): exit status %d: %s", i, m.name, r.code, r.stderr)
		}
		isNew, temps := l.check(t, dir, old, m)
		if r.code == 0 && !isNew {
			t.Errorf("kill %d (%s): success reported, output is not the new one", i, m.name)
		}
		if isNew {
			complete++
		}
		debris += temps
		again := mode{m.name, m.folder, true}
		l.took[m.folder] = merge(t, dir, again).took // the machine may be busier or less busy than before
		if isNew, temps := l.check(t, dir, "", again); !isNew || temps > 0 || len(names(t, dir)) != 1 {
			t.Errorf("kill %d (%s): the next run leaves %q, output new: %v", i, m.name, names(t, dir), isNew)
		}
		os.RemoveAll(dir)
	}
	t.Logf("%d runs, %d killed before their end, %d left a complete output, %d temporary names, all swept", *kills, killed, complete, debris)
	if killed < *kills/3 {
		t.Errorf("only %d of %d kills hit a running merge", killed, *kills)
	}
}

// TestSignals interrupts merges at random moments: exit status 130 or 143, no
// output, nothing left over.
func TestSignals(t *testing.T) {
	l := newLab(t)
	rng := rand.New(rand.NewPCG(*seed, 1))
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGTERM, 143}} {
		hit := 0
		for i := range *signals {
			m := modes[i%len(modes)]
			dir, old := l.scene(t, m)
			wait := 20*time.Millisecond + l.moment(rng, m)*3/4 // the handler is there by then
			r := run(t, dir, append([]string{loratool}, m.args()...), func(p *os.Process) {
				time.Sleep(wait)
				p.Signal(s.signal)
			})
			isNew, temps := l.check(t, dir, old, m)
			switch {
			case temps > 0:
				t.Errorf("%v after %v (%s): left over: %q", s.signal, wait, m.name, names(t, dir))
			case r.code == s.code && isNew && l.want[m.folder] != old:
				t.Errorf("%v after %v (%s): exit status %d, yet the output is there", s.signal, wait, m.name, r.code)
			case r.code == 0 && !isNew:
				t.Errorf("%v after %v (%s): success reported, output is not the new one", s.signal, wait, m.name)
			case r.code != 0 && r.code != s.code:
				t.Errorf("%v after %v (%s): exit status %d, want %d: %s", s.signal, wait, m.name, r.code, s.code, r.stderr)
			}
			if r.code == s.code {
				hit++
			}
			os.RemoveAll(dir)
		}
		t.Logf("%v: %d of %d runs were interrupted", s.signal, hit, *signals)
		if hit == 0 {
			t.Errorf("%v never hit a running merge", s.signal)
		}
	}
}
