package merge

import (
	"context"
	"errors"
	"math/rand/v2"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// mostPatience is how long one waits for the end of what was interrupted.
const mostPatience = slowdown * 100 * time.Millisecond

// TestStops interrupts merging, taking out and verifying of adapters whose
// elements all go down the exact path, so that one chunk would take minutes.
func TestStops(t *testing.T) {
	const rows, cols, rank = 1024, 1024, 160 // 8 MiB of F64
	r := rand.New(rand.NewPCG(71, 71))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.F64, 0.02, rows, cols)))
	factors := func() []safetensors.NamedData {
		return []safetensors.NamedData{named("x.lora_A.weight", values(r, dtype.F32, 0.1, rank, cols)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, rows, rank))}
	}
	plain := openWeighted(t, writeAdapter(t, map[string]any{"r": rank}, factors()...))
	scaled := openWeighted(t, writeAdapter(t, map[string]any{"r": rank, "use_dora": true}, append(factors(), named("x.lora_magnitude_vector", values(r, dtype.F32, 1, rows)))...))
	apply := func(ws []Weighted, o Options) func(context.Context, string) error {
		return func(ctx context.Context, out string) error {
			o.Record = out + ".record"
			_, err := Apply(ctx, out, fixture.Open(t, base), ws, o)
			return err
		}
	}
	for name, run := range map[string]func(ctx context.Context, out string) error{
		"merge":    apply(plain, Options{}),
		"DoRA":     apply(scaled, Options{}),
		"narrower": apply(scaled, Options{DType: dtype.BF16, Rounding: Stochastic}),
		"unmerge": func(ctx context.Context, out string) error {
			u, err := NewLossyUnmerge(fixture.Open(t, base), plain, UnmergeOptions{})
			if err != nil {
				return err
			}
			_, err = u.Write(ctx, out)
			return err
		},
		"verify": func(ctx context.Context, out string) error {
			_, err := Verify(ctx, fixture.Open(t, base), fixture.Open(t, base), plain, VerifyOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			dir := t.TempDir()
			var cancelled atomic.Int64
			time.AfterFunc(50*time.Millisecond, func() {
				cancelled.Store(time.Now().UnixNano())
				cancel()
			})
			err := run(ctx, filepath.Join(dir, "out.safetensors"))
			took := time.Since(time.Unix(0, cancelled.Load()))
			if cancelled.Load() == 0 {
				t.Fatalf("done before it was interrupted: %v", err)
			}
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%v", err)
			}
			if took > mostPatience {
				t.Errorf("went on for %v, at most %v are allowed", took, mostPatience)
			}
			if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
				t.Errorf("left %q behind", left)
			}
		})
	}
}
