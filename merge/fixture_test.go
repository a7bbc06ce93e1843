package merge

import (
	"context"
	"encoding/json"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// values makes n random values as they are after rounding to d, with their
// bytes.
func values(r *rand.Rand, d dtype.DType, scale float64, shape ...int) safetensors.NamedData {
	n := 1
	for _, s := range shape {
		n *= s
	}
	x := make([]float64, n)
	for i := range x {
		x[i] = r.NormFloat64() * scale
	}
	data := make([]byte, n*d.Bits()/8)
	d.Encode64(data, x)
	return safetensors.NamedData{DType: d, Shape: shape, Data: data}
}

func named(name string, t safetensors.NamedData) safetensors.NamedData {
	t.Name = name
	return t
}

func floats(t safetensors.NamedData) []float64 {
	n := 1
	for _, s := range t.Shape {
		n *= s
	}
	x := make([]float64, n)
	t.DType.Decode64(x, t.Data)
	return x
}

// writeAdapter writes a PEFT folder; config fields go over the defaults.
func writeAdapter(t testing.TB, config map[string]any, tensors ...safetensors.NamedData) string {
	t.Helper()
	dir := t.TempDir()
	c := map[string]any{"peft_type": "LORA", "r": 4, "lora_alpha": 6, "peft_version": "0.21.2"}
	maps.Copy(c, config)
	data, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "adapter_config.json"), data, 0o666); err != nil {
		t.Fatal(err)
	}
	for i := range tensors {
		tensors[i].Name = "base_model.model." + tensors[i].Name
	}
	fixture.Write(t, filepath.Join(dir, "adapter_model.safetensors"), tensors...)
	return dir
}

// mergeFile merges adapters into a base of one file and opens the result.
func mergeFile(t testing.TB, o Options, base string, adapters ...string) (*safetensors.File, *Report, error) {
	t.Helper()
	b := fixture.Open(t, base)
	var ws []Weighted
	for i, path := range adapters {
		a, err := dialect.OpenPEFT(path)
		if err != nil {
			return nil, nil, err
		}
		defer a.Close()
		ws = append(ws, Weighted{a.Adapter, []float64{1, -0.3, 2.5}[i]})
	}
	out := filepath.Join(t.TempDir(), "out.safetensors")
	r, err := Apply(context.Background(), out, b, ws, o)
	if err != nil {
		return nil, nil, err
	}
	f, err := safetensors.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f, r, nil
}

// tensorOf returns a tensor of a file as data.
func tensorOf(t testing.TB, f *safetensors.File, name string) safetensors.NamedData {
	t.Helper()
	v, ok := f.Header().Lookup(name)
	if !ok {
		t.Fatalf("output has no tensor %q", name)
	}
	return safetensors.NamedData{Name: name, DType: v.DType, Shape: v.Shape, Data: f.Bytes(v)}
}

func compareBits(t testing.TB, what string, got safetensors.NamedData, want []byte) {
	t.Helper()
	width := got.DType.Bits() / 8
	if len(got.Data) != len(want) {
		t.Fatalf("%s: %d bytes, want %d", what, len(got.Data), len(want))
	}
	bad := 0
	for i := 0; i < len(want); i += width {
		if string(got.Data[i:i+width]) != string(want[i:i+width]) {
			if bad == 0 {
				t.Errorf("%s: element %d = %x, want %x", what, i/width, got.Data[i:i+width], want[i:i+width])
			}
			bad++
		}
	}
	if bad > 0 {
		t.Errorf("%s: %d of %d elements differ from the correctly rounded result", what, bad, len(want)/width)
	}
}

var inf = math.Inf(1)
