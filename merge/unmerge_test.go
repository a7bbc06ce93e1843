package merge

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/loratool/loratool/format/adapter"
	"github.com/loratool/loratool/format/checkpoint"
	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// openWeighted opens adapters with the weights that mergeFile gives them.
func openWeighted(t testing.TB, paths ...string) (ws []Weighted) {
	t.Helper()
	for i, path := range paths {
		a, err := dialect.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { a.Close() })
		ws = append(ws, Weighted{a.Adapter, []float64{1, -0.3, 2.5}[i]})
	}
	return ws
}

// mergeRecorded merges with a record and returns the paths of both.
func mergeRecorded(t testing.TB, o Options, base string, ws []Weighted) (merged, record string) {
	t.Helper()
	dir := t.TempDir()
	merged, record = filepath.Join(dir, "merged"), filepath.Join(dir, "record")
	o.Record = record
	if _, err := Apply(context.Background(), merged, fixture.Open(t, base), ws, o); err != nil {
		t.Fatal(err)
	}
	return merged, record
}

// unmergeTo restores the base at out.
func unmergeTo(t testing.TB, out, merged, record string, ws []Weighted) (*UnmergeReport, error) {
	t.Helper()
	m, err := checkpoint.Open(merged, checkpoint.Options{})
	if err != nil {
		return nil, err
	}
	defer m.Close()
	r, f, err := OpenRecord(record)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := NewUnmerge(m, ws, r, UnmergeOptions{})
	if err != nil {
		return nil, err
	}
	return u.Write(context.Background(), out)
}

// roundTrip merges, unmerges and compares every file with the base's.
func roundTrip(t testing.TB, o Options, base string, adapters ...string) {
	t.Helper()
	ws := openWeighted(t, adapters...)
	merged, record := mergeRecorded(t, o, base, ws)
	out := filepath.Join(t.TempDir(), "restored")
	if _, err := unmergeTo(t, out, merged, record, ws); err != nil {
		t.Fatal(err)
	}
	compareTrees(t, out, base)
}

func compareTrees(t testing.TB, got, want string) {
	t.Helper()
	err := filepath.WalkDir(want, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(want, path)
		if err != nil {
			return err
		}
		w, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		g, err := os.ReadFile(filepath.Join(got, rel))
		if err != nil {
			return err
		}
		if !bytes.Equal(g, w) {
			t.Errorf("%s: restored file differs: %d bytes of %d", rel, differing(g, w), len(w))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func differing(a, b []byte) (n int) {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			n++
		}
	}
	return n + max(len(a), len(b)) - min(len(a), len(b))
}

// hostileValues makes a tensor of everything that a dtype can hold: random
// bits, and values of one magnitude, with all special ones among them.
func hostileValues(r *rand.Rand, d dtype.DType, scale float64, shape ...int) safetensors.NamedData {
	v := values(r, d, scale, shape...)
	width := d.Bits() / 8
	special := []uint64{0, d.SignBit(), 1, d.SignBit() | 1, 2, d.SignBit() - 1, 2*d.SignBit() - 1}
	if mantissa, _ := d.Precision(); true {
		special = append(special, 1<<mantissa, 1<<mantissa-1, 1<<mantissa+1, d.SignBit()|1<<mantissa)
	}
	for i := range len(v.Data) / width {
		bits := d.Bits64(v.Data, i)
		switch r.IntN(8) {
		case 0:
			bits = special[r.IntN(len(special))]
		case 1: // any bits, but not so large that a delta overflows
			bits = r.Uint64() >> (64 - d.Bits()) &^ (d.SignBit() >> 2)
		case 2: // a power of two
			mantissa, _ := d.Precision()
			bits = bits >> mantissa << mantissa
		}
		putBits(v.Data[i*width:(i+1)*width], bits)
	}
	return v
}

var restorable = []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64, dtype.F8_E4M3, dtype.F8_E5M2, dtype.F8_E4M3FNUZ, dtype.F8_E5M2FNUZ}

// TestUnmergeRestoresEveryBit merges and unmerges hostile values of every
// dtype with deltas from tiny to huge.
func TestUnmergeRestoresEveryBit(t *testing.T) {
	for _, d := range restorable {
		for _, fd := range []dtype.DType{dtype.F32, dtype.BF16, dtype.F64} {
			for _, rounding := range []Rounding{Nearest, Stochastic} {
				for _, scale := range []float64{1e-6, 1e-3, 0.05, 1} {
					if fd != dtype.F32 && scale != 0.05 {
						continue
					}
					t.Run(fmt.Sprintf("%v/%v/%d/%g", d, fd, rounding, scale), func(t *testing.T) {
						r := rand.New(rand.NewPCG(11, uint64(d)))
						const out, in, rank = 27, 101, 3
						base := filepath.Join(t.TempDir(), "base.safetensors")
						fixture.Write(t, base, named("x.weight", hostileValues(r, d, 0.5, out, in)), named("other", values(r, d, 1, 7)))
						a := writeAdapter(t, map[string]any{"r": rank}, named("x.lora_A.weight", values(r, fd, scale, rank, in)), named("x.lora_B.weight", values(r, fd, 0.2, out, rank)))
						roundTrip(t, Options{Rounding: rounding, Seed: 42}, base, a)
					})
				}
			}
		}
	}
}

// TestUnmergeTrained: the record of what another method than LoRA trained names
// the files of that, and gives the base back.
func TestUnmergeTrained(t *testing.T) {
	r := rand.New(rand.NewPCG(35, 35))
	base := filepath.Join(t.TempDir(), "base.safetensors")
	fixture.Write(t, base, named("x.weight", values(r, dtype.BF16, 0.02, 8, 6)), named("x.bias", values(r, dtype.BF16, 0.02, 8)))
	v := values(r, dtype.F32, 0.1, 8)
	a := filepath.Join(t.TempDir(), "bitfit")
	trained := &dialect.Trained{Method: "bitfit", Tensors: []adapter.Tensor{{Name: "x.bias", DType: v.DType, Shape: v.Shape, Bytes: v.Data}}}
	if err := dialect.WriteTrained(a, trained, dialect.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	roundTrip(t, Options{}, base, a)
}

// TestWriteAgain: a plan that is written twice says the same of both.
func TestWriteAgain(t *testing.T) {
	base := golden("linear", "base")
	p, err := NewPlan(fixture.Open(t, base), openWeighted(t, golden("linear", "adapter")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var totals [2]TensorReport
	for i := range totals {
		r, err := p.Write(context.Background(), filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		totals[i] = r.Total
	}
	if fmt.Sprint(totals[0]) != fmt.Sprint(totals[1]) || totals[0].Changed == 0 {
		t.Errorf("total %+v, then %+v", totals[0], totals[1])
	}
}

// TestUnmergeSeveral sums three adapters, of which one has weight −0.3.
func TestUnmergeSeveral(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	for _, d := range []dtype.DType{dtype.BF16, dtype.F32} {
		const out, in = 70, 1100 // more than one block of 65,536 elements
		base := filepath.Join(t.TempDir(), "base.safetensors")
		fixture.Write(t, base, named("x.weight", hostileValues(r, d, 0.02, out, in)))
		var adapters []string
		for _, rank := range []int{2, 5, 16} {
			adapters = append(adapters, writeAdapter(t, map[string]any{"r": rank}, named("x.lora_A.weight", values(r, dtype.F16, 0.05, rank, in)), named("x.lora_B.weight", values(r, dtype.F16, 0.05, out, rank))))
		}
		roundTrip(t, Options{}, base, adapters...)
	}
}

// TestUnmergeZeroDelta restores what an untrained adapter left alone.
func TestUnmergeZeroDelta(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	for _, d := range restorable {
		base := filepath.Join(t.TempDir(), "base.safetensors")
		fixture.Write(t, base, named("x.weight", hostileValues(r, d, 0.02, 16, 33)))
		b := values(r, dtype.F32, 1, 16, 2)
		clear(b.Data[:len(b.Data)/2])
		a := writeAdapter(t, map[string]any{"r": 2}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 33)), named("x.lora_B.weight", b))
		roundTrip(t, Options{}, base, a)
	}
}

// TestUnmergeDType restores a base that was merged into another dtype.
func TestUnmergeDType(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, from := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64} {
		for _, to := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64} {
			base := filepath.Join(t.TempDir(), "base.safetensors")
			x, y := values(r, from, 0.5, 16, 33), values(r, from, 0.5, 5, 20)
			for _, v := range []safetensors.NamedData{x, y} {
				w := from.Bits() / 8
				putBits(v.Data[:w], from.SignBit())      // −0
				putBits(v.Data[w:2*w], from.SignBit()-1) // a NaN with all its bits set
				putBits(v.Data[2*w:3*w], 1)              // the smallest value
			}
			fixture.Write(t, base, named("x.weight", x), named("other", y))
			a := writeAdapter(t, map[string]any{"r": 2}, named("x.lora_A.weight", values(r, dtype.F32, 0.1, 2, 33)), named("x.lora_B.weight", values(r, dtype.F32, 0.1, 16, 2)))
			for _, rounding := range []Rounding{Nearest, Stochastic} {
				t.Run(fmt.Sprintf("%v to %v, %d", from, to, rounding), func(t *testing.T) {
					roundTrip(t, Options{DType: to, Rounding: rounding, Seed: 7}, base, a)
				})
			}
		}
	}
}

// TestUnmergeDoRA restores rows that were scaled, with magnitudes that are
// positive, negative and zero.
func TestUnmergeDoRA(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	const out, in, rank = 20, 90, 3
	for _, d := range []dtype.DType{dtype.BF16, dtype.F16, dtype.F32, dtype.F64, dtype.F8_E4M3} {
		for _, rounding := range []Rounding{Nearest, Stochastic} {
			t.Run(fmt.Sprintf("%v/%d", d, rounding), func(t *testing.T) {
				w := values(r, d, 0.5, out, in)
				putBits(w.Data[:d.Bits()/8], d.SignBit()) // −0
				norms := make([]float64, out)
				for i, x := range floats(w) {
					norms[i/in] += x * x
				}
				m := values(r, dtype.F32, 1, out)
				for i := range norms {
					norms[i] = math.Sqrt(norms[i]) * []float64{1, 1.001, 0.999, 0.3, 1.7, -1, 0}[i%7]
				}
				dtype.F32.Encode64(m.Data, norms)
				base := filepath.Join(t.TempDir(), "base.safetensors")
				fixture.Write(t, base, named("x.weight", w))
				a := writeAdapter(t, map[string]any{"r": rank, "use_dora": true}, named("x.lora_A.weight", values(r, dtype.F32, 0.05, rank, in)),
					named("x.lora_B.weight", values(r, dtype.F32, 0.05, out, rank)), named("x.lora_magnitude_vector", m))
				roundTrip(t, Options{Rounding: rounding, Seed: 3}, base, a)
			})
		}
	}
}

// TestRecordSize holds the indices of weights from a normal distribution
// against what they must need (percent of the tensor).
func TestRecordSize(t *testing.T) {
	for _, c := range []struct {
		dtype    dtype.DType
		relative float64
		percent  float64
	}{
		{dtype.BF16, 1e-3, 0.026}, {dtype.BF16, 1e-2, 0.183}, {dtype.BF16, 1e-1, 1.17},
		{dtype.F16, 1e-3, 0.016}, {dtype.F16, 1e-2, 0.153}, {dtype.F16, 1e-1, 1.12},
	} {
		for _, random := range []bool{false, true} {
			ch := benchmarkChange(c.dtype, c.relative, random)
			wr := &writer{}
			k := newWorker(wr, new(atomic.Bool))
			f, err := fillRecorded(k, make([]byte, len(ch.source)), ch)
			if err != nil {
				t.Fatal(err)
			}
			size := len(f.bits.Bytes)
			for _, b := range f.blocks { // whose lengths are there too
				size += len(binary.AppendUvarint(nil, uint64(b.n+7)/8))
			}
			percent := 100 * float64(size) / float64(len(ch.source))
			t.Logf("%v, relative %g, random %v: %.4f %%", c.dtype, c.relative, random, percent)
			if percent > 1.1*c.percent {
				t.Errorf("%v, relative %g, random %v: %.4f %%, expected at most 1.1 × %g %%", c.dtype, c.relative, random, percent, c.percent)
			}
		}
	}
}
