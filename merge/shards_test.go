package merge

import (
	"context"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/loratool/loratool/format/dialect"
	"github.com/loratool/loratool/format/dtype"
	"github.com/loratool/loratool/format/safetensors"
	"github.com/loratool/loratool/testdata/fixture"
)

// TestShardsOfHalfBytes fills shards by the bytes of tensors whose elements are
// smaller than one.
func TestShardsOfHalfBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	base := t.TempDir()
	tensors := []safetensors.NamedData{named("q.weight", values(r, dtype.F32, 1, 2, 2))}
	for _, name := range []string{"a", "b", "c"} {
		tensors = append(tensors, safetensors.NamedData{Name: name, DType: dtype.F4, Shape: []int{8, 4}, Data: make([]byte, 16)})
	}
	fixture.Write(t, filepath.Join(base, "model.safetensors"), tensors...)
	a, err := dialect.OpenPEFT(writeAdapter(t, nil, named("q.lora_A.weight", values(r, dtype.F32, 1, 4, 2)), named("q.lora_B.weight", values(r, dtype.F32, 1, 2, 4))))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	out := filepath.Join(t.TempDir(), "out")
	if _, err := Apply(context.Background(), out, fixture.Open(t, base), []Weighted{{a.Adapter, 1}}, Options{MaxShardBytes: 32}); err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(out, "*.safetensors"))
	if err != nil || len(files) != 2 {
		t.Errorf("%d shards of at most 32 bytes for 64 bytes, %v", len(files), err)
	}
}
